"""Wheels and sdists as archives: the one metadata file inside, from an archive that every tool
reads alike.

An index that serves an archive which two tools unpack differently has served two archives under
one hash. What is refused for that reason is said in `members` (names and bounds), `zip_layout`
and `tar_layout`. Nothing is unpacked to disk, and no more than the metadata is kept in memory.

Every function raises `DistributionError`.

Source: PEP 427; PEP 625 (sdists).
"""

from __future__ import annotations

from typing import BinaryIO

from indextrust.repository.members import MAX_METADATA, Names, Unpacked, refuse
from indextrust.repository.tar_layout import read_tar
from indextrust.repository.zip_layout import read_directory, read_members

__all__ = ["MAX_METADATA", "sdist_metadata", "wheel_metadata"]


def wheel_metadata(file: BinaryIO, size: int, where: str) -> tuple[str, bytes]:
    """The name of a wheel's ``.dist-info`` folder and the bytes of the METADATA in it.

    Args:
        file: the wheel, seekable.
        size: its bytes.
        where: its name, for messages.
    """
    names = Names(where, ignore_case=True)
    members, start = read_directory(file, size, names, where)
    folders = sorted(top for top in names.tops if top.endswith(".dist-info"))
    if len(folders) != 1:
        refuse(where, f"expected one .dist-info folder, got {folders[:4]}")
    wanted = f"{folders[0]}/METADATA"
    core = read_members(file, members, start, wanted, Unpacked(size, where), where)
    return folders[0], _found(core, wanted, where)


def sdist_metadata(file: BinaryIO, size: int, where: str) -> bytes:
    """The bytes of an sdist's PKG-INFO. Arguments as for `wheel_metadata`."""
    names = Names(where, ignore_case=False)
    unpacked = Unpacked(size, where)
    if where.endswith(".zip"):
        members, start = read_directory(file, size, names, where)
        wanted = f"{names.top()}/PKG-INFO"
        core = read_members(file, members, start, wanted, unpacked, where)
    else:
        file.seek(0)
        core = read_tar(file, names, unpacked, where)
        wanted = f"{names.top()}/PKG-INFO"
    return _found(core, wanted, where)


def _found(core: bytes | None, wanted: str, where: str) -> bytes:
    if core is None:
        refuse(where, f"no {wanted}")
    return core
