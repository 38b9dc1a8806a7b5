"""The names of things: roles, projects, target paths, bins.

Everything here is a pure function of strings. A target path is built in one place, by
`document_path` and `file_path`, and nothing that is not a normalised project name or a plain
file name can get into one.

Sources: TUF specification 4.1 and 4.5.1 (role names, paths); TAP 15 (succinct hashed bins);
PEP 458, "PyPI and TUF Metadata"; the packaging specifications on names and file names.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from indextrust.errors import InputError

# packaging is imported where a name is parsed: plain TUF needs none of it.
if TYPE_CHECKING:
    from packaging.utils import NormalizedName
    from packaging.version import Version
else:
    NormalizedName = str  # what a NewType of str is at run time

__all__ = [
    "BINS",
    "BIN_PREFIX",
    "CLASSIC_BINS_LIMIT",
    "HASHES",
    "LAYOUTS",
    "LONGEST_SERVED",
    "LONGEST_WITH_SHA512",
    "METADATA_SUFFIX",
    "REHEARSAL_FIELD",
    "REHEARSAL_ROOT",
    "ROOT",
    "SNAPSHOT",
    "TARGETS",
    "TARGET_PATHS",
    "TIMESTAMP",
    "TOP_LEVEL_ROLES",
    "BinScheme",
    "Hashes",
    "Layout",
    "NormalizedName",
    "check_filename",
    "document_path",
    "file_identity",
    "file_path",
    "has_room_for_sha512",
    "hash_prefixed",
    "is_target_path",
    "layout_of",
    "metadata_filename",
    "metadata_path",
    "parse_filename",
    "project_name",
    "project_of_filename",
    "target_paths",
]

Layout = Literal["pep458", "projects"]
"""What is a target. ``pep458``: project documents, distribution files and core metadata, as the
PEP has it. ``projects``: documents alone, whose hashes vouch for the files; for large indexes."""

LAYOUTS: tuple[Layout, Layout] = ("pep458", "projects")

Hashes = Literal["sha256", "both"]
"""Which hashes an index lists of what is new. ``both``: sha512 beside sha256, the transition of
PEP 458."""

HASHES: tuple[Hashes, Hashes] = ("sha256", "both")

TARGET_PATHS: Mapping[Layout, tuple[str, ...]] = {
    "pep458": ("simple/*/*", "files/*/*"),
    "projects": ("simple/*/*",),
}
"""The paths that targets hands to bins. They tell the layout, under the signature of targets."""

REHEARSAL_FIELD = "x-indextrust-rehearsal"
"""Field of a root that was made to practise, and of each key in it. Signed with the root, so
nobody can take it away from there."""

REHEARSAL_ROOT = 900_000_001
"""Version of a rehearsal's first root. Roots are followed one by one, so from a real root no
client gets there, whichever keys were used to practise."""

ROOT = "root"
TIMESTAMP = "timestamp"
SNAPSHOT = "snapshot"
TARGETS = "targets"
TOP_LEVEL_ROLES = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)
BINS = "bins"
BIN_PREFIX = "bin"
CLASSIC_BINS_LIMIT = 256
"""Up to here path-hash prefixes, which every TUF client reads; above, TAP 15 succinct roles."""

METADATA_SUFFIX = ".metadata"
"""What the core metadata beside a distribution file has after that file's name (PEP 658)."""

_NORMALISED = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9]))*", re.ASCII)
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.!+-]*", re.ASCII)
_UNQUOTED = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*", re.ASCII)  # quote() leaves it as it is
_MAX_NAME = 200
_LONGEST_NAME = 255
_AROUND = len(".") + len(METADATA_SUFFIX)
LONGEST_SERVED = _LONGEST_NAME - 64 - _AROUND
LONGEST_WITH_SHA512 = _LONGEST_NAME - 128 - _AROUND
"""Characters of a distribution's file name that a file system takes with a SHA-256, or a SHA-512,
before it, and with what its core metadata has after it."""
_MAX_TAGS = 256


@lru_cache(maxsize=1_024)
def project_name(name: str) -> NormalizedName:
    """Return `name` as a `NormalizedName`, if it is already in normalised form.

    The profile has one spelling for each project: ``Flask`` and ``zope.interface`` are not
    corrected here but refused, since a twin spelling is an attack's tool. Use
    `packaging.utils.canonicalize_name` on what a person typed.

    Raises:
        InputError: not a normalised project name of at most 200 characters.
    """
    from packaging.utils import canonicalize_name

    if len(name) > _MAX_NAME or not _NORMALISED.fullmatch(name) or canonicalize_name(name) != name:
        raise InputError(
            f"expected a normalised project name (lower-case letters, digits, single hyphens; "
            f"at most {_MAX_NAME}), got {name[: _MAX_NAME + 1]!r}"
        )
    return NormalizedName(name)


def check_filename(filename: str) -> str:
    """Return `filename` if it is a plain file name: ASCII, no separator, no leading dot.

    Raises:
        InputError: anything else.
    """
    if len(filename) > _LONGEST_NAME or not _FILENAME.fullmatch(filename):
        raise InputError(f"expected a plain ASCII file name, got {filename[:256]!r}")
    return filename


def parse_filename(filename: str) -> tuple[NormalizedName, str]:
    """The normalised project and version in a wheel's or sdist's file name.

    Raises:
        InputError: not the file name of a wheel or an sdist, or one with more than 256 tags
            (their sets multiply: a hostile name must not cost seconds).
    """
    project, version, *_ = _parsed(filename)
    return project, str(version)


def file_identity(filename: str) -> Hashable:
    """What two spellings of one file's name have in common: project, version, build, tags.

    ``Demo-1.0-py3-none-any.whl`` and ``demo-1.0.0-py3-none-any.whl`` install the same; installers
    take either. Raises as `parse_filename`.
    """
    return _parsed(filename)


def _parsed(filename: str) -> tuple[NormalizedName, Version, object, object]:
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    check_filename(filename)
    tags = [part.count(".") + 1 for part in filename.removesuffix(".whl").split("-")[-3:]]
    if filename.endswith(".whl") and math.prod(tags) > _MAX_TAGS:
        raise InputError(f"expected at most {_MAX_TAGS} tags, got {math.prod(tags)}: {filename!r}")
    try:
        if filename.endswith(".whl"):
            name, version, build, supported = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
            build, supported = (), frozenset()
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise InputError(
            f"expected the name of a wheel or an sdist, got {filename!r}: {error}"
        ) from None
    return project_name(name), version, build, supported


def project_of_filename(filename: str) -> NormalizedName:
    """The normalised project in a wheel's or sdist's file name. Raises as `parse_filename`."""
    return parse_filename(filename)[0]


def document_path(project: NormalizedName) -> str:
    """Target path of a project's canonical document."""
    return f"simple/{project_name(project)}/index.json"


def file_path(project: NormalizedName, filename: str) -> str:
    """Target path of a distribution file (or of its PEP 658 file, by its own name)."""
    return f"files/{project_name(project)}/{check_filename(filename)}"


def metadata_path(project: NormalizedName, filename: str) -> str:
    """Target path of the core metadata beside a distribution file (PEP 658)."""
    return file_path(project, filename) + METADATA_SUFFIX


def target_paths(layout: Layout) -> list[str]:
    """The path patterns of a layout, as targets delegates them to bins.

    Raises:
        InputError: no such layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"expected one of the layouts {', '.join(LAYOUTS)}, got {layout!r:.80}")
    return list(TARGET_PATHS[layout])


def layout_of(paths: Iterable[str]) -> Layout:
    """The layout whose path patterns these are: what `target_paths` wrote.

    Raises:
        InputError: those of no layout.
    """
    paths = tuple(paths)
    for layout in LAYOUTS:
        if TARGET_PATHS[layout] == paths:
            return layout
    raise InputError(f"expected the path patterns of a layout, got {paths!r:.200}")


def is_target_path(path: str, layout: Layout) -> bool:
    """Whether a client would look for `path` in the bins at all."""
    first, *others = path.split("/")
    return len(others) == 2 and f"{first}/*/*" in TARGET_PATHS[layout]


def hash_prefixed(path: str, digest: str) -> str:
    """`path` with `digest` (hex) before its last component (TUF specification 6.2)."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{digest}.{name}"


def has_room_for_sha512(filename: str) -> bool:
    """Whether a distribution file and its core metadata can lie under a name with their SHA-512.

    A client may ask by any hash that is listed (TUF specification 5.7.3), so of a longer name no
    SHA-512 is listed.
    """
    return len(filename) <= LONGEST_WITH_SHA512


def metadata_filename(role: str, version: int | None = None) -> str:
    """The file name of a role's metadata: ``3.bins.json``, or ``timestamp.json`` without version.

    The role name is percent-encoded, so a role called ``../x`` stays one file name.
    """
    name = role
    if not _UNQUOTED.fullmatch(role):
        name = quote(role, safe="")
        if name.strip(".") == "":  # quote() leaves dots alone
            name = name.replace(".", "%2E")
    return f"{name}.json" if version is None else f"{version}.{name}.json"


def _bin_name(bits: int, number: int) -> str:
    return f"{BIN_PREFIX}-{number:0{(bits + 3) // 4}x}"


@lru_cache(maxsize=4)
def _bin_names(bits: int) -> tuple[str, ...]:
    """All names; kept, because a publication of one file goes through them several times."""
    return tuple(_bin_name(bits, number) for number in range(2**bits))


@dataclass(frozen=True)
class BinScheme:
    """How target paths are spread over ``bin-…`` roles.

    A path's bin is the leading `bits` bits of its SHA-256. (PEP 458 says SHA2-512. Off-PEP:
    the TUF specification fixes SHA-256 for path hashes, no client could follow.)

    Args:
        bits: the number of bins is ``2 ** bits``; 1 to 16.
        succinct: TAP 15 succinct roles rather than path-hash prefixes.

    Raises:
        InputError: `bits` out of range, or more than 256 bins by path-hash prefixes.
    """

    bits: int
    succinct: bool

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise InputError(f"expected 2 to 65536 bins, got 2**{self.bits}")
        if not self.succinct and self.count > CLASSIC_BINS_LIMIT:
            raise InputError(
                f"path-hash prefixes serve up to {CLASSIC_BINS_LIMIT} bins, got {self.count}"
            )

    @classmethod
    def of(cls, count: int, *, succinct: bool | None = None) -> BinScheme:
        """The scheme for `count` bins.

        Args:
            count: a power of two.
            succinct: None for the default: above 256.

        Raises:
            InputError: `count` is not a power of two from 2 to 65536, or more than 256 are wanted
                by path-hash prefixes.
        """
        if count < 2 or count > 65536 or count & (count - 1):
            raise InputError(f"expected a power of two from 2 to 65536 bins, got {count}")
        if succinct is None:
            succinct = count > CLASSIC_BINS_LIMIT
        return cls(count.bit_length() - 1, succinct=succinct)

    @property
    def form(self) -> str:
        """How the bins are delegated, in the words of the specification."""
        return "succinct_roles" if self.succinct else "path_hash_prefixes"

    @property
    def count(self) -> int:
        """Number of bins."""
        return int(2**self.bits)

    def name(self, number: int) -> str:
        """Role name of bin `number`, in lower-case hex of one width: ``bin-0a``."""
        return _bin_name(self.bits, number)

    def names(self) -> tuple[str, ...]:
        """All role names in order."""
        return _bin_names(self.bits)

    def bin_of(self, path: str) -> str:
        """Role name of the bin that `path` falls into."""
        digest = hashlib.sha256(path.encode("utf-8")).digest()
        return self.name(int.from_bytes(digest[:4], "big") >> (32 - self.bits))

    def delegation(self, keyids: list[str], threshold: int) -> dict[str, Any]:
        """The part of ``delegations`` in the ``bins`` role that names the bins: ``roles`` or
        ``succinct_roles`` (TUF specification 4.5; TAP 15)."""
        if self.succinct:
            return {
                "succinct_roles": {
                    "keyids": keyids,
                    "threshold": threshold,
                    "bit_length": self.bits,
                    "name_prefix": BIN_PREFIX,
                }
            }
        digits = (self.bits + 3) // 4
        per_bin = 16**digits // self.count
        return {
            "roles": [
                {
                    "name": self.name(number),
                    "keyids": keyids,
                    "threshold": threshold,
                    "terminating": True,
                    "path_hash_prefixes": [
                        f"{prefix:0{digits}x}"
                        for prefix in range(number * per_bin, (number + 1) * per_bin)
                    ],
                }
                for number in range(self.count)
            ]
        }
