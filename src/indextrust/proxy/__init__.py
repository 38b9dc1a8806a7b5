"""The verifying proxy for unmodified pip and uv.

`run_child` runs one pip or uv command with everything it installs verified; `VerifyingProxy`
serves a verified index on loopback for other uses. Needs the extra ``proxy``.
"""

from indextrust.errors import MissingExtraError

try:
    import aiohttp as _aiohttp  # noqa: F401 - asked for here, once for the whole room
except ModuleNotFoundError as missing:
    raise MissingExtraError("proxy", missing.name or "aiohttp") from missing

from indextrust.proxy.report import Failure, RemovedFile, Summary, VerifiedFile
from indextrust.proxy.run import RunResult, run_child
from indextrust.proxy.server import VerifyingProxy
from indextrust.proxy.source import Source

__all__ = [
    "Failure",
    "RemovedFile",
    "RunResult",
    "Source",
    "Summary",
    "VerifiedFile",
    "VerifyingProxy",
    "run_child",
]
