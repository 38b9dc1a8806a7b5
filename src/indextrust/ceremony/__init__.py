"""The keyholders' side: keys, and the signing events of root, targets and bins.

>>> from datetime import UTC, datetime
>>> from securesystemslib.signer import CryptoSigner
>>> from indextrust.names import BinScheme
>>> ann, bob, eve, online = (CryptoSigner.generate_ed25519() for _ in range(4))
>>> now = datetime.now(UTC)
>>> roles = genesis([ann, bob, eve], 2, online.public_key, bins=BinScheme.of(256), now=now)
>>> new = CryptoSigner.generate_ed25519()
>>> roles = rotate(roles, [ann, eve], new.public_key, now=now)  # `online` is revoked

These two are for keyholders who sit at one machine. Where each signs at a time and place of their
own, a signing event travels as a file: `propose_genesis` or `propose_next`, then `read_event`,
`judge` and `add_signature` at each keyholder's, `update_event` with `merge` to put that into the
file, and `check_finished` and `outputs` at the end (``indextrust ceremony``,
``specs/ceremony.md``).

Keys are kept in files by `generate_key` and `load_signer`, or anywhere a securesystemslib
signer can reach.
"""

from indextrust.ceremony.check import OfflineRoles, check_event, read_roles
from indextrust.ceremony.event import Event, Proposed, RootSignature
from indextrust.ceremony.event_file import create_event, create_folder, read_event, update_event
from indextrust.ceremony.finish import check_finished, outputs
from indextrust.ceremony.gather import add_signature, merge
from indextrust.ceremony.judge import judge
from indextrust.ceremony.judged import Group, Judged
from indextrust.ceremony.proposal import Change, propose_genesis, propose_next
from indextrust.ceremony.signing_event import genesis, rotate
from indextrust.names import BinScheme
from indextrust.repository.keys import generate_key, load_signer, public_path
from indextrust.repository.public_keys import load_public
from indextrust.repository.roles import SignedRoles

__all__ = [
    "BinScheme",
    "Change",
    "Event",
    "Group",
    "Judged",
    "OfflineRoles",
    "Proposed",
    "RootSignature",
    "SignedRoles",
    "add_signature",
    "check_event",
    "check_finished",
    "create_event",
    "create_folder",
    "generate_key",
    "genesis",
    "judge",
    "load_public",
    "load_signer",
    "merge",
    "outputs",
    "propose_genesis",
    "propose_next",
    "public_path",
    "read_event",
    "read_roles",
    "rotate",
    "update_event",
]
