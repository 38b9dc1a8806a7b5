"""The project document: a verified target whose content is read strictly as well.

A document is signed by an online key, and whoever steals that key writes documents. So every
file in it must belong to the project, in one spelling, with a sha256 and a size, and its URL
is not taken from the document at all: the target path follows from the names.

Source: PEP 691 (JSON pages), PEP 700 (sizes, upload times), PEP 592 (yanks), PEP 658 and 714
(core metadata); the rules beyond them are our profile's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indextrust.distribution import DistributionFile, is_plain_text
from indextrust.errors import InputError, MalformedError, ProfileError
from indextrust.names import NormalizedName, parse_filename
from indextrust.trust.reader import read

__all__ = ["ProjectDocument", "parse_document"]


@dataclass(frozen=True)
class ProjectDocument:
    """A project's verified document.

    Args:
        name: normalised project name.
        versions: PEP 440 versions as listed.
        files: file name to what is vouched for, in the document's order.
    """

    name: NormalizedName
    versions: tuple[str, ...]
    files: Mapping[str, DistributionFile]


def parse_document(
    project: NormalizedName, data: bytes, *, max_length: int = 32_000_000
) -> ProjectDocument:
    """Read `project`'s document.

    Args:
        project: the project that was asked for; another one's document is refused.
        data: the target's bytes, verified against its entry.
        max_length: bytes; more is refused unread.

    Raises:
        LengthError, MalformedError: not strict JSON of the document's shape.
        ProfileError: against the profile's rules on names, hashes and texts.
    """
    where = f"document of {project}"
    tree = read(data, where=where, max_length=max_length)
    meta = _field(tree, "meta", dict, where)
    api_version = _field(meta, "api-version", str, where)
    if api_version.partition(".")[0] != "1":
        raise ProfileError("unknown api-version", where=where, expected="1.x", got=api_version)
    if tree.get("name") != project:
        raise ProfileError("another project", where=where, expected=project, got=tree.get("name"))
    versions = _field(tree, "versions", list, where)
    for version in versions:
        _check_text(version, f"{where}: versions")
    files: dict[str, DistributionFile] = {}
    twins: set[str] = set()
    for number, entry in enumerate(_field(tree, "files", list, where)):
        file = _file(project, entry, f"{where}: files[{number}]")
        twin = file.filename.casefold()
        if twin in twins:
            raise ProfileError("listed twice", where=where, got=file.filename)
        twins.add(twin)
        files[file.filename] = file
    return ProjectDocument(project, tuple(versions), files)


def _file(project: NormalizedName, tree: Any, where: str) -> DistributionFile:
    filename = _text(tree, "filename", where)
    try:
        owner, version = parse_filename(filename)
    except InputError as error:
        raise ProfileError("not a distribution's file name", where=where, got=str(error)) from None
    if owner != project:
        raise ProfileError(
            "belongs to another project", where=where, expected=project, got=filename
        )
    hashes = _field(tree, "hashes", dict, where)
    requires = _text(tree, "requires-python", where) if "requires-python" in tree else None
    core = _core_metadata(tree, where)
    try:
        return DistributionFile(
            project=project,
            filename=filename,
            version=version,
            size=_field(tree, "size", int, where),
            sha256=_field(hashes, "sha256", str, f"{where}: hashes"),
            upload_time=_text(tree, "upload-time", where),
            requires_python=requires,
            metadata_sha256=None if core is None else core["sha256"],
            yanked=_yanked(tree, where),
            sha512=_sha512(hashes, f"{where}: hashes"),
            metadata_sha512=None if core is None else _sha512(core, f"{where}: core-metadata"),
        )
    except InputError as error:
        raise ProfileError("against the profile", where=where, got=str(error)) from None


def _core_metadata(tree: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
    """Hashes of the core metadata, a sha256 among them; None if there are none."""
    core = tree.get("core-metadata", False)
    if core is False:
        return None
    _field(core, "sha256", str, f"{where}: core-metadata")
    hashes: Mapping[str, Any] = core
    return hashes


def _sha512(hashes: Mapping[str, Any], where: str) -> str | None:
    """The sha512 beside a sha256; what is listed will be compared."""
    return _field(hashes, "sha512", str, where) if "sha512" in hashes else None


def _yanked(tree: Mapping[str, Any], where: str) -> str | None:
    yanked = tree.get("yanked", False)
    if yanked is False:
        return None
    return "" if yanked is True else _text(tree, "yanked", where)


def _field(tree: Any, name: str, kind: type, where: str) -> Any:
    value = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise MalformedError(
            "missing or of the wrong type",
            where=f"{where}: {name}",
            expected=kind.__name__,
            got=value,
        )
    return value


def _text(tree: Any, name: str, where: str) -> str:
    """A text that a person or another tool will see: bounded, NFC, printable."""
    text: str = _field(tree, name, str, where)
    _check_text(text, f"{where}: {name}")
    return text


def _check_text(text: Any, where: str) -> None:
    if not isinstance(text, str):
        raise MalformedError("expected a string", where=where, got=text)
    if not is_plain_text(text):
        raise ProfileError("not plain text", where=where, expected="printable, in NFC", got=text)
