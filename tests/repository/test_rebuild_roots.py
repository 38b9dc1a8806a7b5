"""Rebuilding from a later root: what the public folder says of the earlier ones."""

from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from indextrust.errors import IndextrustError
from tests.repository.place import Place, everything
from tests.repository.test_rebuild import rebuild


def test_a_forged_first_root_below_a_true_later_one_is_refused(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.online = CryptoSigner.generate_ed25519()
    roles = place.rotation(place.online)
    place.repository.install(roles, place.online)
    thief = CryptoSigner.generate_ed25519()
    path = place.public / "metadata" / "1.root.json"
    forged = Metadata[Root].from_bytes(path.read_bytes())
    forged.signed.add_key(thief.public_key, "root")
    forged.signed.roles["root"].threshold = 1
    forged.signatures.clear()
    forged.sign(thief)
    path.unlink()
    path.write_bytes(forged.to_bytes())
    before = everything(place.repository.folder)
    with pytest.raises(IndextrustError, match=r"1\.root\.json"):
        rebuild(place, root=roles.root[-1])
    assert everything(place.repository.folder) == before
