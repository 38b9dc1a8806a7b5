"""Which layout and how many bins an index should have, and why. PURE.

The advice looks five years ahead, because another number of bins is a signing event: offline
keys, all keyholders, and every user's metadata anew. Growth is assumed, and stands in the plan:
37 % a year, as PyPI's targets grew from 2,273,539 in November 2019 (PEP 458, Table 2) to 20.9
million in November 2026; more, if what is published every day adds up to more.

The yardstick is what a user downloads who comes back the next day, in five years. A difference is
*tolerable* while it is below 1 % of the distributions that this user installs, at the average
of 2,184,393 bytes for each (PEP 458, C9), or below 100 kB. Then

* *bins*: the smallest number, from 256 up, that is tolerably close to the best one and whose
  largest bin stays below 5,000,000 bytes. Fewer than 256 would save hardly anything, and 256 is as
  far as path-hash prefixes go, which every TUF client reads;
* *layout*: ``pep458`` as long as all of that user's metadata stays below ten times what is
  tolerable (so, below 10 % of what is installed; PEP 458 accepts 5 to 9 %), else ``projects``;
* *snapshot*: length and sha256 of each role up to 256 bins, versions only above, as the publisher
  does (`encode.lists_hashes`); the plan says what listing them would add.

A file that outgrows the size that python-tuf's client takes on trust is read by it only if signed
metadata records the file's length; such files are named (`Outgrown`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from indextrust.errors import InputError
from indextrust.names import CLASSIC_BINS_LIMIT, LAYOUTS, SNAPSHOT, TIMESTAMP, BinScheme, Layout
from indextrust.repository.encode import lists_hashes
from indextrust.repository.sizing import (
    MOST_FILES,
    Cost,
    Download,
    Index,
    OfflineFiles,
    Shape,
    Sizes,
    sizes,
)

__all__ = [
    "DISTRIBUTION_BYTES",
    "GROWTH_PER_YEAR",
    "USUAL_INSTALLS",
    "YEARS",
    "Candidate",
    "Outgrown",
    "Plan",
    "Rebinning",
    "plan",
]

GROWTH_PER_YEAR = 0.37
"""Of projects and of files."""

YEARS = 5

DISTRIBUTION_BYTES = 2_184_393
"""An average downloaded distribution (PEP 458, C9)."""

USUAL_INSTALLS = 50
"""Projects that one user installs from, where nothing else is said."""

_TOLERABLE_SHARE, _TOLERABLE_BYTES = 0.01, 100_000
_LAYOUT_FACTOR = 10
_SCHEMES = tuple(BinScheme.of(CLASSIC_BINS_LIMIT << more) for more in range(9))  # 256 to 65,536
_SNAPSHOT_CAP, _BIN_CAP = 2_000_000, 5_000_000  # bytes, of tuf.ngclient's UpdaterConfig
_DAYS_PER_YEAR = 365


class Candidate(NamedTuple):
    """One choice that was weighed, in five years.

    Args:
        layout: of what is signed.
        bins: how many.
        next_day_bytes: what the yardstick's user downloads.
        renew_bytes: what renewing everything writes.
    """

    layout: Layout
    bins: int
    next_day_bytes: float
    renew_bytes: float


class Outgrown(NamedTuple):
    """A file, in five years, that python-tuf's client refuses unless its length is recorded.

    Args:
        role: ``snapshot``, or ``bin``: the largest of them.
        size_bytes: its size.
        cap_bytes: what `tuf.ngclient` takes of it by default.
        recorded_in: the role that must record its length.
    """

    role: str
    size_bytes: float
    cap_bytes: int
    recorded_in: str


class Rebinning(NamedTuple):
    """Doubling the number of bins, at the size of today.

    Args:
        bins: how many afterwards.
        offline_signatures: on the new root, targets and bins.
        operator: what is signed and written with the online key: every bin.
        each_user: what every user downloads once more, the new root included.
        kept_names: old bins that snapshots go on listing until the snapshot key is replaced.
    """

    bins: int
    offline_signatures: int
    operator: Cost
    each_user: Download
    kept_names: int


@dataclass(frozen=True)
class Plan:
    """The advice, and all numbers behind it.

    Args:
        shape: recommended.
        now: a new index of the given size.
        later: the same index after five years.
        installed_bytes: distributions that one user installs.
        tolerable_bytes: a download that makes no difference to that user.
        candidates: what was weighed: both layouts with every number of bins.
        listing_bytes: what listing lengths and hashes adds to the snapshot, in five years.
        outgrown: files whose length must be recorded.
        rebinning: what another number of bins would cost; None if there is no larger one.
    """

    shape: Shape
    now: Sizes
    later: Sizes
    installed_bytes: int
    tolerable_bytes: float
    candidates: tuple[Candidate, ...]
    listing_bytes: float
    outgrown: tuple[Outgrown, ...]
    rebinning: Rebinning | None


def plan(
    projects: int,
    files: int,
    offline: OfflineFiles,
    *,
    installs_of: int | None = None,
    publishes_per_day: float | None = None,
) -> Plan:
    """Advise on an index.

    Args:
        projects: how many it has.
        files: distribution files, one for each project or more.
        offline: makes the offline roles for a number of bins.
        installs_of: projects that one user installs from; None for 50, or all if there are fewer.
        publishes_per_day: publications of one new file each; None for as many as the assumed
            growth takes.

    Raises:
        InputError: numbers that no index has.
    """
    if installs_of is None:
        installs_of = max(1, min(USUAL_INSTALLS, projects))
    index = Index(projects, files, installs_of, publishes_per_day or 0.0)
    if publishes_per_day is None:
        index = replace(index, publishes_per_day=files * GROWTH_PER_YEAR / _DAYS_PER_YEAR)
    grown = _grown(index)
    installed = installs_of * DISTRIBUTION_BYTES
    tolerable = max(_TOLERABLE_BYTES, _TOLERABLE_SHARE * installed)
    weighed = {
        layout: [
            sizes(grown, Shape(layout, scheme, lists_hashes(scheme)), offline)
            for scheme in _SCHEMES
        ]
        for layout in LAYOUTS
    }
    later = _smallest(weighed["pep458"], tolerable)
    if later.next_day.size.raw > _LAYOUT_FACTOR * tolerable:
        later = _smallest(weighed["projects"], tolerable)
    with_hashes, without = (
        sizes(grown, replace(later.shape, listed=listed), offline) for listed in (True, False)
    )
    now = sizes(index, later.shape, offline)
    return Plan(
        later.shape,
        now,
        later,
        installed,
        tolerable,
        tuple(_candidate(one) for layout in LAYOUTS for one in weighed[layout]),
        with_hashes.snapshot.raw - without.snapshot.raw,
        _outgrown(later),
        _rebinning(now, offline),
    )


def _grown(index: Index) -> Index:
    """The index after `YEARS`.

    Raises:
        InputError: larger than what is planned.
    """
    days = _DAYS_PER_YEAR * YEARS
    factor = (1 + GROWTH_PER_YEAR) ** YEARS
    published = index.files + index.publishes_per_day * days
    files = round(max(index.files * factor, published))
    if files > MOST_FILES:
        raise InputError(
            f"expected an index that has at most {MOST_FILES:,} files in {YEARS} years, "
            f"got {files:,}"
        )
    return replace(
        index, projects=min(files, round(index.projects * factor)), files=files, days=days
    )


def _smallest(weighed: list[Sizes], tolerable: float) -> Sizes:
    """The fewest bins that are tolerably close to the best number and not too large."""
    small = [one for one in weighed if one.bins.largest_bytes.raw <= _BIN_CAP] or weighed[-1:]
    most = min(one.next_day.size.raw for one in small) + tolerable
    return next(one for one in small if one.next_day.size.raw <= most)


def _candidate(one: Sizes) -> Candidate:
    shape = one.shape
    return Candidate(shape.layout, shape.scheme.count, one.next_day.size.raw, one.renew.bytes)


def _outgrown(later: Sizes) -> tuple[Outgrown, ...]:
    found = (
        Outgrown(SNAPSHOT, later.snapshot.raw, _SNAPSHOT_CAP, TIMESTAMP),
        Outgrown("bin", later.bins.largest_bytes.raw, _BIN_CAP, SNAPSHOT),
    )
    return tuple(one for one in found if one.size_bytes > one.cap_bytes)


def _rebinning(now: Sizes, offline: OfflineFiles) -> Rebinning | None:
    old = now.shape.scheme
    if old == _SCHEMES[-1]:
        return None
    new = BinScheme.of(2 * old.count)
    shape = Shape(now.shape.layout, new, lists_hashes(new))
    after = sizes(now.index, shape, offline)
    kept = len({*old.names()} - {*new.names()})
    longer = after.snapshot.times(kept / new.count)
    signatures = sum(len(json.loads(data)["signatures"]) for data in offline(new).values())
    return Rebinning(
        new.count,
        signatures,
        after.renew._replace(bytes=after.renew.bytes + longer.raw),
        after.new_user._replace(
            size=after.new_user.size.plus(longer).plus(after.root),
            requests=after.new_user.requests + 1,
        ),
        kept,
    )
