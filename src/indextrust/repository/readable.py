"""What clients would refuse to read in a project's document is refused before anything. PURE.

A client reads a document strictly (`indextrust.trust.parse_document`): what it asks of a file it
asks of each by itself; and of all together, that no two have names which only case tells apart,
and that the whole is not too large. So a document of which all but a few files were published
before, as they are, is readable if those few are, if the names are distinct, and if it is small.
That the others are as they were published is what `provenance.check_project` proves.

Left to others: whether the files are what was queued.
"""

from __future__ import annotations

from collections.abc import Mapping

from indextrust.distribution import DistributionFile
from indextrust.errors import RefusedError, RepositoryError
from indextrust.repository.documents import document_bytes
from indextrust.repository.plan import ProjectPlan
from indextrust.trust.document import parse_document

__all__ = ["check_readable"]

_SMALL = 1_000_000
"""Bytes of a document that is far from every limit of the reader: on its length, and on its
values, of which no entry has more than a few dozen in some 300 bytes."""


def check_readable(plan: ProjectPlan, before: Mapping[str, DistributionFile]) -> None:
    """Refuse a document that clients would refuse to read.

    Args:
        plan: of one project.
        before: its files as they are published, by name; none if that is not known.

    Raises:
        RepositoryError: with the client's reason.
    """
    names = before.keys() - {file.filename for file in plan.removed}
    names |= {file.filename for file in plan.added}
    document = plan.document
    if before and len(document) <= _SMALL and len({n.casefold() for n in names}) == len(names):
        new = {file.filename: file for file in (*plan.added, *plan.changed, *plan.rehashed)}
        document = document_bytes(plan.project, new.values())
    try:
        parse_document(plan.project, document)
    except RefusedError as error:
        raise RepositoryError(f"not published, a client would refuse it: {error}") from error
