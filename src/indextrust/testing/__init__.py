"""For tests and drills: a repository in memory, a server that tampers, a thief.

Nothing here uses indextrust's own `Repository` or `Client`: metadata is made with python-tuf's
``tuf.api``, everything else is raw bytes. What stops these attackers therefore stops somebody
else's code.

* `MetadataRepository`: TUF metadata in memory, signed anew at will, for testing clients.
* `TamperingServer`: serves a folder over loopback HTTP and, asked to, other bytes than it holds.
* `OnlineKeyThief`: a stolen online key and write access to the served folder; `SigningThief`: any
  key that signs files.
* `Scribe`: whoever writes the state database, and has no key.
* `Usurper`: stolen root keys; `forge_role`: stolen keys tried in one role.
* `make_wheel`: a small wheel that pip installs; `malicious_wheel`: one that installs like the one
  it is made from, and is not it.
"""

from indextrust.testing.forgery import forge_role
from indextrust.testing.metadata import MetadataRepository
from indextrust.testing.scribe import Scribe
from indextrust.testing.server import TamperingServer
from indextrust.testing.thief import OnlineKeyThief, SigningThief
from indextrust.testing.usurper import Usurper
from indextrust.testing.wheels import make_wheel, malicious_wheel

__all__ = [
    "MetadataRepository",
    "OnlineKeyThief",
    "Scribe",
    "SigningThief",
    "TamperingServer",
    "Usurper",
    "forge_role",
    "make_wheel",
    "malicious_wheel",
]
