"""The verifying core: pure, and fit to be vendored.

Everything here is a function of bytes and a reference time. No module of this package opens a
file or a socket, reads a clock or writes a log, and none needs more than the standard library,
tuf's and securesystemslib's pure parts and packaging.

Example: a driver in a few lines (`store` and `get` are yours).

    session = Session(bootstrap, now=datetime.now(timezone.utc))
    drive(session)
    lookup = session.lookup("simple/flask/index.json")
    drive(lookup)
    entry = lookup.wants().result       # TargetEntry, or NotListed
"""

from indextrust.trust.document import ProjectDocument, parse_document
from indextrust.trust.freshness import Policy, Times
from indextrust.trust.incidents import Incidents
from indextrust.trust.known import Known
from indextrust.trust.limits import Limits
from indextrust.trust.lookup import NotListed, check_target_path
from indextrust.trust.memory import (
    Acknowledged,
    Changed,
    FirstSeen,
    KnownBad,
    Remembered,
    Unchanged,
    judge,
)
from indextrust.trust.notices import Notice
from indextrust.trust.search import Lookup, Trusted
from indextrust.trust.session import Session
from indextrust.trust.verdict import TargetEntry
from indextrust.trust.wants import ABSENT, STORED, Absent, Done, Fetch, Load, Persist, Stored

__all__ = [
    "ABSENT",
    "STORED",
    "Absent",
    "Acknowledged",
    "Changed",
    "Done",
    "Fetch",
    "FirstSeen",
    "Incidents",
    "Known",
    "KnownBad",
    "Limits",
    "Load",
    "Lookup",
    "NotListed",
    "Notice",
    "Persist",
    "Policy",
    "ProjectDocument",
    "Remembered",
    "Session",
    "Stored",
    "TargetEntry",
    "Times",
    "Trusted",
    "Unchanged",
    "check_target_path",
    "judge",
    "parse_document",
]
