"""indextrust: sign a Python package index with TUF (PEP 458), and verify it.

The public names live in the rooms of the package:

* `indextrust.client`: `TufClient`, `Client` (for installers);
* `indextrust.repository`: `Repository` (for index operators);
* `indextrust.ceremony`: `genesis`, `rotate` (for keyholders);
* `indextrust.trust`: the pure core, fit to be vendored;
* `indextrust.errors`: every exception.
"""
