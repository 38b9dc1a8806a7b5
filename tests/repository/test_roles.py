"""The roles on their way from the ceremony to the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from indextrust.errors import InputError, StoreError
from indextrust.repository import SignedRoles
from tests.repository.place import Place


def test_what_is_saved_is_loaded(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "usb"
    names = [path.name for path in place.roles.save(folder)]
    assert names == ["1.root.json", "1.targets.json", "1.bins.json"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert SignedRoles.load(folder) == place.roles


def test_saving_again_is_fine_and_saving_other_roles_over_them_is_refused(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "usb"
    place.roles.save(folder)
    place.roles.save(folder)
    other = SignedRoles((place.roles.root[0] + b" ",), place.roles.targets, place.roles.bins)
    with pytest.raises(StoreError, match="exists with other bytes"):
        other.save(folder)
    assert SignedRoles.load(folder) == place.roles


def test_a_folder_with_two_ceremonies_gives_all_roots_and_the_newest_rest(
    place: Place, tmp_path: Path
) -> None:
    rotated = place.rotation(place.online)
    place.roles.save(tmp_path / "usb")
    rotated.save(tmp_path / "usb")
    (tmp_path / "usb" / "notes.txt").write_text("not a role")
    assert SignedRoles.load(tmp_path / "usb") == SignedRoles(
        (*place.roles.root, *rotated.root), rotated.targets, rotated.bins
    )


def test_an_incomplete_folder_is_refused(place: Place, tmp_path: Path) -> None:
    place.roles.save(tmp_path / "usb")
    (tmp_path / "usb" / "1.bins.json").unlink()
    with pytest.raises(InputError, match=r"has no N\.bins\.json"):
        SignedRoles.load(tmp_path / "usb")
    with pytest.raises(StoreError, match="No such file"):
        SignedRoles.load(tmp_path / "elsewhere")


@pytest.mark.parametrize("data", [b"", b"{}", b'{"signed":{"version":true}}', b"[" * 100_000])
def test_a_role_without_a_version_is_not_saved(place: Place, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match="expected a signed role with a version"):
        SignedRoles((data,), place.roles.targets, place.roles.bins).save(tmp_path / "usb")
    assert not (tmp_path / "usb").exists()
