"""How large an index's metadata is, what users download, what the operator writes. PURE.

This is PEP 458's Tables 2 and 3, worked out for an index of one's own. Where the PEP multiplies
constants, the files are built and measured here (`indextrust.repository.samples`), and what the
hash decides is computed as what it is:

* Targets fall into bins at random, so the number of targets in a bin is binomial.
* A user who asks for q target paths of an index with N targets in m bins downloads
  ``d = m * (1 - (1 - 1/m) ** q)`` different bins on average, and in them those q targets and
  ``(N - q) * d / m`` others.

A user installs K projects. Of each, the layout ``pep458`` asks for three target paths: the
project's document, a wheel, and the wheel's core metadata; the layout ``projects`` for one, the
document, which vouches for the files.

Metadata alone is counted: no HTTP headers, no distribution files, no project documents (which
users download in place of index pages they download anyway; their size is given apart).
Compressed figures tell what gzip would leave; the clients of indextrust and python-tuf ask for no
compression, since what undoes it would read unverified bytes.

Left to others: the offline roles' files (a genesis makes them) and what to do with the numbers
(`indextrust.repository.advice`).

Sources: PEP 458, "Metadata Scalability"; TUF specification 4.4 to 4.6; TAP 15.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from indextrust.errors import InputError
from indextrust.names import BINS, ROOT, TARGETS, BinScheme, Layout
from indextrust.repository.plan import LIFETIME
from indextrust.repository.samples import (
    WHEEL_SHARE,
    Line,
    Mix,
    Size,
    bin_line,
    document_line,
    measure,
    snapshot_line,
    timestamp_size,
)

__all__ = [
    "MOST_FILES",
    "RENEWALS_PER_DAY",
    "Bins",
    "Cost",
    "Download",
    "Index",
    "OfflineFiles",
    "Shape",
    "Sizes",
    "occupancy",
    "sizes",
]

OfflineFiles = Callable[[BinScheme], Mapping[str, bytes]]
"""Gives the files of root, targets and bins, by role name, for bins of this scheme."""

MOST_FILES = 1_000_000_000
"""Files of the largest index that is planned: fifty times PyPI's."""

RENEWALS_PER_DAY = timedelta(days=1) / (LIFETIME / 2)
"""Every bin is signed anew when half its lifetime is over, as `Repository.renew` does."""

_HOUR = 1 / 24  # of a day


@dataclass(frozen=True)
class Index:
    """How large an index is, and how it is used.

    Args:
        projects: with a document each.
        files: distribution files, one for each project or more.
        installs_of: projects that one user installs from.
        publishes_per_day: publications of one new file each.
        days: since the first publication; version numbers have grown since.

    Raises:
        InputError: a number that no index has.
    """

    projects: int
    files: int
    installs_of: int
    publishes_per_day: float
    days: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.files <= MOST_FILES:
            raise InputError(f"expected 1 to {MOST_FILES:,} files, got {_shown(self.files)}")
        if not 1 <= self.projects <= self.files:
            raise InputError(
                f"expected projects from 1 to the number of files ({self.files:,}), "
                f"got {_shown(self.projects)}"
            )
        if not 1 <= self.installs_of <= self.projects:
            raise InputError(
                f"expected a user to install from 1 to all {self.projects:,} projects, "
                f"got {_shown(self.installs_of)}"
            )
        if not 0 <= self.publishes_per_day <= MOST_FILES:
            raise InputError(
                f"expected 0 to {MOST_FILES:,} publishes per day, got {self.publishes_per_day:,}"
            )


def _shown(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**24 else "a number of 25 digits or more"


@dataclass(frozen=True)
class Shape:
    """What an operator chooses.

    Args:
        layout: files as targets, or project documents alone.
        scheme: how many bins, and in which form.
        listed: whether the snapshot lists length and sha256 of each role, or its version only.
    """

    layout: Layout
    scheme: BinScheme
    listed: bool

    def targets(self, index: Index) -> Mix:
        """How many targets the index has."""
        if self.layout == "projects":
            return Mix(index.projects, 0, 0)
        return Mix(index.projects, index.files, WHEEL_SHARE * index.files)

    @property
    def paths_of_install(self) -> float:
        """Target paths that a user asks for, for each project."""
        return 1 if self.layout == "projects" else 3

    @property
    def paths_of_publish(self) -> float:
        """Targets that one new file changes, on average."""
        return 1 if self.layout == "projects" else 2 + WHEEL_SHARE


class Bins(NamedTuple):
    """How the targets are spread. The largest bin: that of an average index of this size.

    Args:
        mean, p99, largest: targets in a bin.
        mean_bytes, p99_bytes, largest_bytes: its size.
    """

    mean: float
    p99: int
    largest: int
    mean_bytes: Size
    p99_bytes: Size
    largest_bytes: Size


class Download(NamedTuple):
    """Metadata that one user downloads.

    Args:
        size: all of it.
        requests: files; that there is no newer root is a request too.
        bins: of these, bins.
    """

    size: Size
    requests: float
    bins: float


class Cost(NamedTuple):
    """What the operator spends on one act.

    Args:
        bytes: written, metadata alone.
        signatures: made.
        files: written, metadata alone.
    """

    bytes: float
    signatures: float
    files: float


@dataclass(frozen=True)
class Sizes:
    """An index's metadata in one shape.

    Args:
        index: whose.
        shape: which.
        targets: how many there are of each kind.
        root, timestamp, snapshot, targets_role, bins_role: size of each file.
        bins: of the bins.
        document: size of an average project document; not metadata.
        new_user: has a root and nothing else.
        next_day: a user who has yesterday's metadata of the same projects; all bins were renewed.
        next_hour: the same an hour later; what was published and renewed meanwhile is new.
        same_snapshot: the same, and nothing was published or renewed.
        publish: of one file.
        renew: everything once.
        per_day: publishing and renewing together.
        stored: all metadata in force, each file once.
    """

    index: Index
    shape: Shape
    targets: Mix
    root: Size
    timestamp: Size
    snapshot: Size
    targets_role: Size
    bins_role: Size
    bins: Bins
    document: Size
    new_user: Download
    next_day: Download
    next_hour: Download
    same_snapshot: Download
    publish: Cost
    renew: Cost
    per_day: Cost
    stored: Size


def sizes(index: Index, shape: Shape, offline: OfflineFiles) -> Sizes:
    """Measure an index's metadata.

    Args:
        index: as large as this.
        shape: in this shape.
        offline: makes the offline roles.
    """
    count = shape.scheme.count
    files = offline(shape.scheme)
    targets = shape.targets(index)
    document = document_line(index.files / index.projects).at(index.files / index.projects)
    line, snapshot, timestamp = _online(index, shape, targets, round(document.raw))
    root, targets_role, bins_role = (measure(files[role]) for role in (ROOT, TARGETS, BINS))
    new, changed = _users(index, shape, line)
    head = timestamp.plus(snapshot)
    offline_size = targets_role.plus(bins_role)
    all_bins = line.base.times(count).plus(line.each, targets.total)
    publish = _publish(shape, line, head, targets)
    renew = Cost(head.plus(all_bins).raw, count + 2, count + 2)
    return Sizes(
        index,
        shape,
        targets,
        root,
        timestamp,
        snapshot,
        targets_role,
        bins_role,
        _bins(targets, count, line),
        document,
        new_user=Download(head.plus(offline_size).plus(new.size), 5 + new.bins, new.bins),
        next_day=Download(head.plus(new.size), 3 + new.bins, new.bins),
        next_hour=Download(head.plus(changed.size), 3 + changed.bins, changed.bins),
        same_snapshot=Download(timestamp, 2, 0),
        publish=publish,
        renew=renew,
        per_day=Cost(
            *(
                index.publishes_per_day * one + RENEWALS_PER_DAY * every
                for one, every in zip(publish, renew, strict=True)
            )
        ),
        stored=head.plus(offline_size).plus(root).plus(all_bins),
    )


def _online(index: Index, shape: Shape, targets: Mix, document: int) -> tuple[Line, Size, Size]:
    """A bin by its entries, the snapshot, the timestamp; with the version numbers of their day."""
    count = shape.scheme.count
    touched, _ = _drawn(shape.paths_of_publish, targets.total, count)
    a_day = index.publishes_per_day * touched / count + RENEWALS_PER_DAY
    version = 1 + round(index.days * a_day)
    line = bin_line(targets, document, version, targets.total / count)
    publications = 1 + round(index.days * (index.publishes_per_day + RENEWALS_PER_DAY))
    snapshot = snapshot_line(
        shape.scheme,
        listed=shape.listed,
        version=publications,
        bin_version=version,
        bin_length=round(line.at(targets.total / count).raw),
    ).at(count)
    return line, snapshot, timestamp_size(publications, round(snapshot.raw))


class _Bins(NamedTuple):
    size: Size
    bins: float


def _users(index: Index, shape: Shape, line: Line) -> tuple[_Bins, _Bins]:
    """The bins that a user needs; and those of them that change within an hour."""
    count, total = shape.scheme.count, shape.targets(index).total
    paths = min(total, index.installs_of * shape.paths_of_install)
    bins, entries = _drawn(paths, total, count)
    needed = line.base.times(bins).plus(line.each, entries)
    published, _ = _drawn(index.publishes_per_day * shape.paths_of_publish * _HOUR, total, count)
    kept = (1 - published / count) * (1 - RENEWALS_PER_DAY * _HOUR)
    return _Bins(needed, bins), _Bins(needed.times(1 - kept), bins * (1 - kept))


def _publish(shape: Shape, line: Line, head: Size, targets: Mix) -> Cost:
    """The publication of one file."""
    paths = min(targets.total, shape.paths_of_publish)
    bins, entries = _drawn(paths, targets.total, shape.scheme.count)
    size = head.plus(line.base, bins).plus(line.each, entries)
    return Cost(size.raw, bins + 2, bins + 2)


def _drawn(paths: float, total: float, count: int) -> tuple[float, float]:
    """What `paths` of `total` targets draw on average: different bins, and targets in them."""
    bins = -count * math.expm1(paths * math.log1p(-1 / count))
    return bins, paths + max(0.0, total - paths) * bins / count


def _bins(targets: Mix, count: int, line: Line) -> Bins:
    total = round(targets.total)
    p99 = occupancy(total, count, 0.01)
    # The largest of `count` bins: as likely as not, none of them holds more.
    largest = occupancy(total, count, -math.expm1(math.log(0.5) / count))
    mean = total / count
    return Bins(mean, p99, largest, line.at(mean), line.at(p99), line.at(largest))


def occupancy(targets: int, count: int, tail: float) -> int:
    """The smallest k such that a bin holds more than k targets with probability `tail` or less.

    Args:
        targets: in all bins together.
        count: of bins, 2 or more.
        tail: between 0 and 1.
    """
    share = 1 / count
    mean = targets * share
    spread = math.sqrt(mean * (1 - share))
    k = min(targets, math.ceil(mean + 12 * spread + 40))  # beyond is nothing that counts
    probability = math.exp(
        math.lgamma(targets + 1)
        - math.lgamma(k + 1)
        - math.lgamma(targets - k + 1)
        + k * math.log(share)
        + (targets - k) * math.log1p(-share)
    )
    above = 0.0
    while k > 0 and above + probability <= tail:
        above += probability
        probability *= k * (1 - share) / ((targets - k + 1) * share)
        k -= 1
    return k
