"""The server knows every root: a key that one of them dropped is not taken back by a later one."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, SignedRoles, genesis, rotate
from indextrust.errors import RepositoryError
from indextrust.repository import Repository
from tests.ceremony.parties import NOW


@pytest.mark.parametrize("what", ["lost root key", "stolen online key"])
def test_a_key_that_an_earlier_root_dropped_is_not_taken_back(what: str, tmp_path: Path) -> None:
    """The third root was made from the second alone, so nobody in the room could tell."""
    ann, bob, cid, first, fresh = (CryptoSigner.generate_ed25519() for _ in range(5))
    everybody = [one.public_key for one in (ann, bob, cid)]
    roles = genesis([ann, bob, cid], 2, first.public_key, bins=BinScheme.of(4), now=NOW)
    repository = Repository.create(tmp_path / "index", roles, online=first, clock=lambda: NOW)
    lost = what == "lost root key"
    online = first if lost else fresh
    fewer = [everybody[0], everybody[2]] if lost else None
    second = rotate(roles, [ann, cid], online.public_key, new_root_keys=fewer, now=NOW)
    repository.install(second, online)
    cut = SignedRoles(second.root, second.targets, second.bins)  # the first root is left out
    third = rotate(cut, [ann, cid], first.public_key, new_root_keys=everybody, now=NOW)
    with pytest.raises(RepositoryError, match="was dropped"):
        repository.install(third, first)
    assert not (repository.public / "metadata" / "3.root.json").exists()
