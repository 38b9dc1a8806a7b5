"""Representative metadata files, to measure how large an index's files will be. PURE.

Nothing is estimated from a formula here: every file is built by the functions that publish
(`indextrust.repository.plan`, `indextrust.repository.documents`), from names and sizes like
PyPI's, wrapped as `indextrust.repository.signing.sign_role` wraps it, and measured. A file that
grows with its entries is measured empty and with a sample of them; between the two its size is
a straight line (`Line`).

The samples are the same at every call: digests stand in for random ones, names are made of
syllables. What is assumed of names and files:

* project names have 13.3 characters on average, as PyPI's 886,324 projects had in November 2026;
* of ten files four are sdists, four are wheels for any platform, two for one platform;
* every wheel has core metadata beside it (PEP 658), an sdist has none;
* signatures are Ed25519.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from indextrust.canonical import canonical
from indextrust.distribution import DistributionFile
from indextrust.names import (
    BINS,
    SNAPSHOT,
    TARGETS,
    BinScheme,
    NormalizedName,
    document_path,
    file_path,
    metadata_path,
    project_name,
)
from indextrust.repository.documents import document_bytes
from indextrust.repository.plan import (
    RoleFile,
    TargetFile,
    bin_role,
    snapshot_role,
    timestamp_role,
)

__all__ = [
    "GZIP_LEVEL",
    "WHEEL_SHARE",
    "Line",
    "Mix",
    "Size",
    "bin_line",
    "document_line",
    "filename",
    "measure",
    "name",
    "snapshot_line",
    "timestamp_size",
    "versions_only",
]

GZIP_LEVEL = 6
"""What web servers compress with by default."""

_SAMPLE = 1_000  # entries that show what one costs on average
_EXPIRES = "2026-01-31T12:00:00Z"
_LENGTHS = (5, 7, 9, 11, 13, 14, 15, 17, 19, 23)  # of project names: 13.3 on average
_CONSONANTS, _VOWELS = "bcdfghklmnprstvz", "aeiou"
_STRIDE = 6_364_136_223_846_793_005  # odd, no multiple of 5: a bijection modulo 80**n
_SDIST, _PURE = ".tar.gz", "-py3-none-any.whl"
_PLATFORMS = (
    "-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "-cp312-cp312-macosx_11_0_arm64.whl",
    "-cp312-cp312-win_amd64.whl",
)
_KINDS = "swswpswswp"  # of ten files: sdist, wheel for any platform, wheel for one platform
WHEEL_SHARE = 0.6
"""Of all files; each has a core metadata file that is a target of its own."""


class Size(NamedTuple):
    """A size in bytes: as it is, and after gzip at level `GZIP_LEVEL`. An average may be broken."""

    raw: float
    gzip: float

    def plus(self, other: Size, times: float = 1.0) -> Size:
        """This and `times` the other."""
        return Size(self.raw + times * other.raw, self.gzip + times * other.gzip)

    def times(self, number: float) -> Size:
        """`number` of them."""
        return Size(number * self.raw, number * self.gzip)


class Mix(NamedTuple):
    """How many targets of each kind an index has, or a bin on average.

    Args:
        documents: project documents.
        files: distribution files.
        metadata: core metadata files.
    """

    documents: float
    files: float
    metadata: float

    @property
    def total(self) -> float:
        """All targets."""
        return self.documents + self.files + self.metadata


@dataclass(frozen=True)
class Line:
    """The size of a file that has entries.

    Args:
        base: without any.
        each: of one entry, on average, its comma included.
    """

    base: Size
    each: Size

    def at(self, entries: float) -> Size:
        """The size with so many entries."""
        return self.base.plus(self.each, entries)


def measure(data: bytes) -> Size:
    """The size of a file."""
    return Size(len(data), len(gzip.compress(data, GZIP_LEVEL, mtime=0)))


def bin_line(mix: Mix, document: int, version: int, entries: float) -> Line:
    """A bin by its number of targets.

    Args:
        mix: of the whole index; only its proportions matter.
        document: bytes of an average project document.
        version: of the bin.
        entries: how many targets a bin has on average: compression is measured near there.
    """

    def build(count: int) -> bytes:
        documents = round(count * mix.documents / mix.total)
        metadata = round(count * mix.metadata / mix.total)
        targets: dict[str, TargetFile] = {}
        for number in range(documents):
            length = document * (51 + number * 37 % 99) // 100  # half as much to half as much more
            _list(targets, document_path(name(number)), length)
        for number in range(documents, count - metadata):
            _list(targets, file_path(name(number), filename(number)), _file_size(number))
        for number in range(count - metadata, count):
            wheel = filename(number, wheel=True)
            _list(targets, metadata_path(name(number), wheel), 1_000 + 37 * number % 8_000)
        return _enveloped(bin_role(version, _EXPIRES, targets))

    return _line(build, entries, _SAMPLE)


def snapshot_line(
    scheme: BinScheme, *, listed: bool, version: int, bin_version: int, bin_length: int
) -> Line:
    """The snapshot by the number of bins that it names, beside targets and bins.

    Args:
        scheme: gives the names' width.
        listed: length and sha256 of each role; else versions only.
        version: of the snapshot.
        bin_version: of every bin.
        bin_length: bytes of an average bin.
    """

    def build(count: int) -> bytes:
        roles = {TARGETS: _role(TARGETS, 1, 1_000), BINS: _role(BINS, 1, 10_000)}
        for bin_name in map(scheme.name, range(count)):
            roles[bin_name] = _role(bin_name, bin_version, bin_length)
        tree = snapshot_role(version, _EXPIRES, roles)
        return _enveloped(tree if listed else versions_only(tree))

    return _line(build, scheme.count, min(_SAMPLE, scheme.count))


def timestamp_size(version: int, snapshot: int) -> Size:
    """The timestamp.

    Args:
        version: its own, and the snapshot's.
        snapshot: bytes of the snapshot.
    """
    return measure(
        _enveloped(timestamp_role(version, _EXPIRES, _role(SNAPSHOT, version, snapshot)))
    )


@lru_cache(1)
def document_line(files: float) -> Line:
    """A project document by its number of files.

    Args:
        files: how many a project has on average: compression is measured near there.
    """
    project = name(4)

    def build(count: int) -> bytes:
        return document_bytes(project, [_listed_file(project, number) for number in range(count)])

    return _line(build, files, 200)


def versions_only(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot's tree without lengths and hashes (TUF specification 4.4: both are optional)."""
    meta = {role: {"version": entry["version"]} for role, entry in snapshot["meta"].items()}
    return {**snapshot, "meta": meta}


@lru_cache(_SAMPLE)
def name(number: int) -> NormalizedName:
    """The project name of this number; different ones for different numbers below 10,000."""
    length = _LENGTHS[number % len(_LENGTHS)]
    syllables, odd = divmod(length, 2)
    code = (number + 1) * _STRIDE % 80 ** (syllables + odd)
    text = ""
    for _ in range(syllables + odd):
        code, digit = divmod(code, 80)
        text += _CONSONANTS[digit % 16] + _VOWELS[digit // 16]
    text = text[:length]
    return project_name(f"{text[:6]}-{text[7:]}" if length >= 13 else text)  # of two words


def filename(number: int, *, wheel: bool = False) -> str:
    """The file of this number: of project `name` (number).

    Args:
        number: also decides its kind.
        wheel: a wheel in any case.
    """
    return _filename(name(number), number, wheel)


def _filename(project: NormalizedName, number: int, wheel: bool = False) -> str:
    kind = _KINDS[number % len(_KINDS)]
    if kind == "s" and wheel:
        kind = "p" if number % 3 == 0 else "w"
    ending = {"s": _SDIST, "w": _PURE, "p": _PLATFORMS[number % len(_PLATFORMS)]}[kind]
    return f"{project.replace('-', '_')}-{_version(number)}{ending}"


def _version(number: int) -> str:
    return f"{number % 3}.{number % 17}.{number % 7}"


def _file_size(number: int) -> int:
    """Sizes from a kilobyte to some megabytes; most have five or six digits."""
    return int(10 ** (3 + (number * 7 % 40) / 10)) + number


def _listed_file(project: NormalizedName, number: int) -> DistributionFile:
    own = _filename(project, number)
    digest = _digest(f"{own}.metadata") if own.endswith(".whl") else None
    return DistributionFile(
        project,
        own,
        _version(number),
        _file_size(number),
        _digest(f"{own} {number}"),
        _EXPIRES,
        requires_python=">=3.9",
        metadata_sha256=digest,
    )


def _list(targets: dict[str, TargetFile], path: str, length: int) -> None:
    targets[path] = TargetFile(length, _digest(path))


def _role(role: str, version: int, length: int) -> RoleFile:
    return RoleFile(version, length, _digest(role))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _enveloped(tree: dict[str, Any]) -> bytes:
    """The file of an online role, with what stands in for its one Ed25519 signature."""
    signature = hashlib.sha512(tree["_type"].encode()).hexdigest()
    return canonical(
        {"signatures": [{"keyid": _digest("online"), "sig": signature}], "signed": tree}
    )


def _line(build: Callable[[int], bytes], entries: float, sample: int) -> Line:
    """Measure a file without entries, with `sample`, and (compressed) with about `entries`."""
    base, full = measure(build(0)), measure(build(sample))
    near = max(1, min(sample, round(entries)))
    packed = full if near == sample else measure(build(near))
    return Line(base, Size((full.raw - base.raw) / sample, (packed.gzip - base.gzip) / near))
