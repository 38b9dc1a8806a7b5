"""``python -m indextrust`` and the ``indextrust`` command.

The command line lives in an extra. What it needs is looked for before any of it is imported, so
that a plain ``pip install indextrust`` answers with the extra's name and not with a traceback.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from indextrust.errors import MissingExtraError

__all__ = ["main"]

_NEEDED = ("click", "rich", "sqlalchemy", "aiohttp")
_MISSING_EXTRA = 40
"""The exit code of `MissingExtraError`; its table can't be imported without click."""


def main() -> int:
    """Run the command line with the process's arguments.

    Returns:
        The exit code, as listed in docs/command-line.md.
    """
    for module in _NEEDED:
        if find_spec(module) is None:
            print(f"indextrust: {MissingExtraError('cli', module)}", file=sys.stderr)
            return _MISSING_EXTRA
    from indextrust.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
