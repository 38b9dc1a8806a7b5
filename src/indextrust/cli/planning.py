"""``indextrust plan``: how large an index of a given size comes out, and how to lay it out.

PEP 458's Tables 2 and 3 as a command. The numbers are `indextrust.repository.advice.plan`'s; the
offline roles that it measures come from a genesis held in memory, with keys that are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.options import common, output
from indextrust.cli.output import Output
from indextrust.names import BINS, ROOT, TARGETS, BinScheme

if TYPE_CHECKING:
    from indextrust.repository.advice import Plan
    from indextrust.repository.samples import Size
    from indextrust.repository.sizing import Sizes

__all__ = ["plan"]

_KEYHOLDERS, _THRESHOLD = 3, 2


@click.command()
@click.option("--projects", type=int, required=True, metavar="N", help="How many projects.")
@click.option(
    "--files", type=int, required=True, metavar="N", help="How many wheels and sdists in all."
)
@click.option(
    "--installs-of",
    type=int,
    metavar="K",
    help="How many projects one user installs from.  [default: 50, or all]",
)
@click.option(
    "--publishes-per-day",
    type=float,
    metavar="P",
    help="How many files are published a day, one by one.  [default: 37 % more files in a year]",
)
@common
def plan(
    projects: int, files: int, installs_of: int | None, publishes_per_day: float | None
) -> None:
    """Advise on layout and bins for an index of this size; show what it costs.

    Nothing is read or written. What is assumed is printed with the result.
    """
    from indextrust.repository import advice

    made = advice.plan(
        projects,
        files,
        _offline_files(),
        installs_of=installs_of,
        publishes_per_day=publishes_per_day,
    )
    out = output()
    _recommend(out, made)
    _show_files(out, made)
    _show_users(out, made)
    _show_operator(out, made)
    _show_choices(out, made)
    _assume(out, made)
    out.data({"plan": _tree(made)})


def _offline_files() -> Callable[[BinScheme], Mapping[str, bytes]]:
    """Makes the offline roles of a new index, for the number of bins it is asked for."""
    from securesystemslib.signer import CryptoSigner

    from indextrust.ceremony import genesis

    keyholders = [CryptoSigner.generate_ed25519() for _ in range(_KEYHOLDERS)]
    online, now = CryptoSigner.generate_ed25519().public_key, datetime.now(UTC)

    @cache
    def files(scheme: BinScheme) -> Mapping[str, bytes]:
        roles = genesis(keyholders, _THRESHOLD, online, bins=scheme, now=now)
        return {ROOT: roles.root[-1], TARGETS: roles.targets, BINS: roles.bins}

    return files


# -- for a person --------------------------------------------------------------------------------


def _recommend(out: Output, made: Plan) -> None:
    shape = made.shape
    form = "succinct roles, TAP 15" if shape.scheme.succinct else "path-hash prefixes"
    signs = "documents and files" if shape.layout == "pep458" else "project documents alone"
    lists = "length and sha256 of each role" if shape.listed else "versions only"
    out.say(f"layout     {shape.layout}: {signs} are targets")
    out.say(f"bins       {shape.scheme.count}, by {form}")
    out.say(f"snapshot   lists {lists}")
    for one in made.outgrown:
        out.say(
            f"lengths    {one.recorded_in} must record the length of {one.role}: "
            f"{_bytes(one.size_bytes)} {_later(made)}, and python-tuf's client takes "
            f"{_bytes(one.cap_bytes)} on trust"
        )
    if not made.outgrown:
        out.say(
            f"lengths    none must be recorded: no file outgrows python-tuf's caps {_later(made)}"
        )


def _show_files(out: Output, made: Plan) -> None:
    rows = [
        (label, *(cell for one in (made.now, made.later) for cell in _size(pick(one))))
        for label, pick in _FILES.items()
    ]
    out.say("")
    out.table(("size of", "now", "gzip", _later(made), "gzip"), rows)


def _show_users(out: Output, made: Plan) -> None:
    rows = []
    for label, field in _USERS.items():
        downloads = [getattr(one, field) for one in (made.now, made.later)]
        cells = [cell for one in downloads for cell in _size(one.size)]
        share = downloads[1].size.raw / made.installed_bytes
        rows.append((label, *cells, _number(downloads[1].requests), f"{share:.1%}"))
    out.say("")
    headings = ("a user downloads", "now", "gzip", _later(made), "gzip", "requests", "overhead")
    out.table(headings, rows)


def _show_operator(out: Output, made: Plan) -> None:
    rows = []
    for label, field in _COSTS.items():
        costs = [getattr(one, field) for one in (made.now, made.later)]
        cells = [cell for one in costs for cell in (_bytes(one.bytes), _number(one.signatures))]
        rows.append((label, *cells))
    out.say("")
    headings = ("the operator writes", "now", "signatures", _later(made), "signatures")
    out.table(headings, rows)
    out.say(
        "Metadata alone, one file for each signature; pages and distribution files come on top."
    )
    if (again := made.rebinning) is not None:
        out.say(
            f"Another number of bins is a signing event: for {again.bins} bins, "
            f"{again.offline_signatures} offline signatures on root, targets and bins; then "
            f"{_number(again.operator.signatures)} online ones, {_bytes(again.operator.bytes)} "
            f"written, {_bytes(again.each_user.size.raw)} for every user"
            + (f"; {again.kept_names} old names stay in the snapshot" if again.kept_names else "")
        )


def _show_choices(out: Output, made: Plan) -> None:
    by_bins: dict[int, list[str]] = {}
    for one in made.candidates:
        cells = [_bytes(one.next_day_bytes), _bytes(one.renew_bytes)]
        by_bins.setdefault(one.bins, []).extend(cells)
    out.say("")
    out.say("What was weighed: a user's download the next day, and what renewing everything writes")
    out.table(
        (f"bins, {_later(made)}", "pep458: user", "renewing", "projects: user", "renewing"),
        [(str(bins), *cells) for bins, cells in by_bins.items()],
    )


def _assume(out: Output, made: Plan) -> None:
    from indextrust.repository.advice import DISTRIBUTION_BYTES, GROWTH_PER_YEAR
    from indextrust.repository.samples import GZIP_LEVEL, WHEEL_SHARE

    now, later = made.now.index, made.later.index
    out.say("")
    out.say(
        f"Assumed: {_later(made)}, at {GROWTH_PER_YEAR:.0%} a year or by what is published, "
        f"{later.projects:,} projects and {later.files:,} files; "
        f"{_number(now.publishes_per_day)} publishes a day, of one file each; a user installs "
        f"from {now.installs_of} projects, {_bytes(DISTRIBUTION_BYTES)} from each; "
        f"{WHEEL_SHARE:.0%} of the files are wheels; every bin is renewed twice a day; "
        f"{_KEYHOLDERS} keyholders; Ed25519. "
        f"Overhead is metadata {_later(made)} by what is installed."
    )
    out.say(
        f"gzip: level {GZIP_LEVEL}, of files like these with real hashes; the clients of "
        f"indextrust and python-tuf ask for no compression. Less than "
        f"{_bytes(made.tolerable_bytes)} more for a user counts as no difference; lengths and "
        f"hashes in a snapshot are {_bytes(made.listing_bytes)} {_later(made)}."
    )


_FILES: Mapping[str, Callable[[Sizes], Size]] = {
    "root": lambda one: one.root,
    "timestamp": lambda one: one.timestamp,
    "snapshot": lambda one: one.snapshot,
    "targets": lambda one: one.targets_role,
    "bins": lambda one: one.bins_role,
    "a bin on average": lambda one: one.bins.mean_bytes,
    "99 % of bins, up to": lambda one: one.bins.p99_bytes,
    "the largest bin": lambda one: one.bins.largest_bytes,
    "all metadata in force": lambda one: one.stored,
    "(a project document)": lambda one: one.document,
}
_USERS = {
    "new": "new_user",
    "the next day": "next_day",
    "an hour later": "next_hour",
    "nothing published since": "same_snapshot",
}
_COSTS = {"to publish one file": "publish", "to renew everything": "renew", "in a day": "per_day"}


def _later(made: Plan) -> str:
    return f"in {made.later.index.days // 365} years"


def _size(size: Size) -> tuple[str, str]:
    return _bytes(size.raw), _bytes(size.gzip)


def _bytes(number: float) -> str:
    """Three digits and a decimal unit."""
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        del units[0]
    return f"{number:.0f} {units[0]}" if number >= 99.5 else f"{number:.3g} {units[0]}"


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == round(number) else f"{number:.3g}"


# -- for a machine -------------------------------------------------------------------------------


def _tree(made: Plan) -> dict[str, Any]:
    from indextrust.repository.advice import DISTRIBUTION_BYTES, GROWTH_PER_YEAR, YEARS
    from indextrust.repository.samples import GZIP_LEVEL, WHEEL_SHARE
    from indextrust.repository.sizing import RENEWALS_PER_DAY

    shape, again = made.shape, made.rebinning
    return {
        "recommended": {
            "layout": shape.layout,
            "bins": shape.scheme.count,
            "delegation": shape.scheme.form,
            "snapshot_lists": "length_and_sha256" if shape.listed else "version",
        },
        "assumed": {
            "growth_per_year": GROWTH_PER_YEAR,
            "years": YEARS,
            "distribution_bytes": DISTRIBUTION_BYTES,
            "tolerable_bytes": round(made.tolerable_bytes),
            "wheel_share": WHEEL_SHARE,
            "renewals_per_day": RENEWALS_PER_DAY,
            "gzip_level": GZIP_LEVEL,
            "keyholders": _KEYHOLDERS,
            "key_type": "ed25519",
        },
        "now": _sizes_tree(made.now),
        "later": _sizes_tree(made.later),
        "listing_bytes": round(made.listing_bytes),
        "outgrown": [
            {**one._asdict(), "size_bytes": round(one.size_bytes)} for one in made.outgrown
        ],
        "candidates": [
            {
                **one._asdict(),
                "next_day_bytes": round(one.next_day_bytes),
                "renew_bytes": round(one.renew_bytes),
            }
            for one in made.candidates
        ],
        "rebinning": None
        if again is None
        else {
            "bins": again.bins,
            "offline_signatures": again.offline_signatures,
            "online": _cost_tree(again.operator),
            "each_user": _download_tree(again.each_user),
            "kept_names": again.kept_names,
        },
    }


def _sizes_tree(one: Sizes) -> dict[str, Any]:
    index, spread = one.index, one.bins
    return {
        "index": {
            "projects": index.projects,
            "files": index.files,
            "installs_of": index.installs_of,
            "publishes_per_day": round(index.publishes_per_day, 2),
            "days": index.days,
        },
        "targets": {kind: round(number) for kind, number in one.targets._asdict().items()},
        "metadata": {
            "root": _size_tree(one.root),
            "timestamp": _size_tree(one.timestamp),
            "snapshot": _size_tree(one.snapshot),
            "targets": _size_tree(one.targets_role),
            "bins": _size_tree(one.bins_role),
            "bin_mean": {"targets": round(spread.mean, 2), **_size_tree(spread.mean_bytes)},
            "bin_p99": {"targets": spread.p99, **_size_tree(spread.p99_bytes)},
            "bin_largest": {"targets": spread.largest, **_size_tree(spread.largest_bytes)},
            "in_force": _size_tree(one.stored),
        },
        "document": _size_tree(one.document),
        "downloads": {field: _download_tree(getattr(one, field)) for field in _USERS.values()},
        "costs": {field: _cost_tree(getattr(one, field)) for field in _COSTS.values()},
    }


def _size_tree(size: Size) -> dict[str, int]:
    return {"raw_bytes": round(size.raw), "gzip_bytes": round(size.gzip)}


def _download_tree(download: Any) -> dict[str, float]:
    return {
        **_size_tree(download.size),
        "requests": round(download.requests, 2),
        "bins": round(download.bins, 2),
    }


def _cost_tree(cost: Any) -> dict[str, float]:
    return {
        "written_bytes": round(cost.bytes),
        "signatures": round(cost.signatures, 2),
        "written_files": round(cost.files, 2),
    }
