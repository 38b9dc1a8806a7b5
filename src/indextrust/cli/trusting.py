"""``indextrust trust``: which indexes this user trusts, and from which root.

An index is trusted from a root file that came by another way than the index itself, from the
fingerprint of one, or, where a person says so, from whatever the index shows first.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.options import FOLDER, common, duration, index_option, output
from indextrust.errors import InputError, StoreError

if TYPE_CHECKING:
    from indextrust.client import TrustedIndex, TrustedIndexes
    from indextrust.trust import Policy

__all__ = ["trust"]

_MAX_ROOT = 1_000_000

_root_option = click.option(
    "--root", type=FOLDER, metavar="FILE", help="A root file that reached you by a safe way."
)
_fingerprint_option = click.option(
    "--fingerprint", metavar="SHA256", help="The SHA-256 of the index's root, from its operator."
)


@click.group()
def trust() -> None:
    """Which indexes are trusted, and from which root."""


@trust.command()
@click.argument("name")
@click.argument("url")
@_root_option
@_fingerprint_option
@click.option(
    "--first-use",
    is_flag=True,
    help="Believe the root that the server shows now: safe only if nobody interferes today.",
)
@common
def add(name: str, url: str, root: Path | None, fingerprint: str | None, first_use: bool) -> None:
    """Trust the index at URL from now on, under NAME."""
    if sum((root is not None, fingerprint is not None, first_use)) != 1:
        raise InputError("expected exactly one of --root, --fingerprint and --first-use")
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes.default()
    if root is not None:
        index = indexes.add(name, url, _read_root(root))
    elif fingerprint is not None:
        index = indexes.add_by_fingerprint(name, url, fingerprint)
    else:
        index = indexes.add_first_use(name, url)
    out = output()
    out.say(f"{index.name}: {index.url} is trusted from the root with sha256")
    out.say(f"  {index.fingerprint}")
    if first_use:
        out.say("compare it with what the operator publishes elsewhere")
    out.data({"trusted": _describe(index)})


@trust.command(name="list")
@common
def list_() -> None:
    """List the trusted indexes."""
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes.default()
    found = indexes.list()
    out = output()
    if not found:
        out.say("no index is trusted yet: indextrust trust add NAME URL --root FILE")
    described = []
    for index in found:
        asked = _last_refresh(indexes, index.name)
        described.append(_describe(index) | {"last_refresh": asked})
        out.say(f"{index.name}  {index.url}\n  root sha256 {index.fingerprint}")
        out.say(f"  last refresh {asked or 'never'}")
        for line in _policy_lines(index.policy):
            out.say(f"  {line}")
    out.data({"indexes": described})


@trust.command()
@click.argument("name")
@_root_option
@_fingerprint_option
@common
def reset(name: str, root: Path | None, fingerprint: str | None) -> None:
    """Start again from another root, after an incident.

    The metadata remembered for NAME is dropped. What was first seen of its files is kept: a
    changed file still raises the alarm.
    """
    if (root is None) == (fingerprint is None):
        raise InputError("expected exactly one of --root and --fingerprint")
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes.default()
    index = indexes.reset(name, root=_read_root(root) if root else None, fingerprint=fingerprint)
    output().say(f"{index.name}: starts again from the root with sha256\n  {index.fingerprint}")
    output().data({"trusted": _describe(index)})


@trust.command()
@click.argument("name")
@click.option(
    "--minimum-root",
    type=int,
    metavar="VERSION",
    help="Refuse a root older than this, as the operator announced it. 1: any.",
)
@click.option(
    "--maximum-root-age",
    type=duration,
    metavar="DURATION",
    help="Refuse a root that served here for longer, such as 90d. 0d: no limit but its expiry.",
)
@click.option(
    "--fresh-for",
    type=duration,
    metavar="DURATION",
    help="Use a refresh this recent without asking the index again, such as 10m. 0m: always ask.",
)
@common
def policy(
    name: str,
    minimum_root: int | None,
    maximum_root_age: timedelta | None,
    fresh_for: timedelta | None,
) -> None:
    """Say what else than expiry bounds how old the index's metadata may be.

    Without an option the policy is shown. A root that is withheld can't be told from one that
    was never made, until the old one expires; the first two options narrow that.
    """
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes.default()
    index = indexes.get(name)
    changes: dict[str, Any] = {}
    if minimum_root is not None:
        changes["minimum_root_version"] = minimum_root
    if maximum_root_age is not None:
        changes["maximum_root_age"] = maximum_root_age or None
    if fresh_for is not None:
        changes["fresh_for"] = fresh_for
    if changes:
        index = indexes.set_policy(name, replace(index.policy, **changes))
    out = output()
    out.say("\n".join(_policy_lines(index.policy)) or f"{name}: nothing beyond expiry")
    out.data({"trusted": _describe(index)})


@trust.command(name="reset-clock")
@click.argument("name")
@common
def reset_clock(name: str) -> None:
    """Forget the latest time seen of NAME, after this machine's clock was once ahead.

    Only if it was: that time protects against old metadata under a clock that is set back. The
    root's age (--maximum-root-age) is counted anew, and offline use needs a refresh first.
    """
    from indextrust.client import TrustedIndexes

    index = TrustedIndexes.default().reset_clock(name)
    output().say(f"{name}: the next refresh believes the clock again")
    output().data({"trusted": _describe(index)})


@trust.command()
@click.argument("filename")
@click.option(
    "--sha256",
    required=True,
    metavar="DIGEST",
    help="The digest to accept from now on, which you have compared with the operator's word.",
)
@index_option
@common
def acknowledge(filename: str, sha256: str, index: str | None) -> None:
    """Accept that FILENAME has another digest than the one first seen.

    Only for a change that the operator explains by a way that is not the index. What was seen
    before is kept on record.
    """
    from indextrust.client import TrustedIndexes

    TrustedIndexes.default().client(index).acknowledge(filename, sha256)
    output().say(f"{filename}: sha256 {sha256} is accepted from now on")
    output().data({"acknowledged": {"filename": filename, "sha256": sha256}})


def _read_root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_ROOT + 1)
    except OSError as error:
        raise InputError(f"{path}: can't read the root file: {error.strerror}") from error
    if len(data) > _MAX_ROOT:
        raise InputError(f"{path}: expected a root file, got more than {_MAX_ROOT} bytes")
    return data


def _describe(index: TrustedIndex) -> dict[str, Any]:
    policy = index.policy
    age = policy.maximum_root_age
    return {
        "name": index.name,
        "url": index.url,
        "fingerprint": index.fingerprint,
        "policy": {
            "fresh_for": policy.fresh_for.total_seconds(),
            "maximum_root_age": None if age is None else age.total_seconds(),
            "minimum_root_version": policy.minimum_root_version,
        },
    }


def _last_refresh(indexes: TrustedIndexes, name: str) -> str | None:
    """When the index was last refreshed; None if it never was. Damage is told of."""
    try:
        times = indexes.times(name)
    except StoreError as error:
        output().note(str(error), always=True)
        return "unknown"
    return None if times is None else times.last_refresh.isoformat(timespec="seconds")


def _policy_lines(policy: Policy) -> list[str]:
    """For people: what is asked beyond the defaults."""
    lines = []
    if policy.minimum_root_version > 1:
        lines.append(f"root version {policy.minimum_root_version} or higher")
    if policy.maximum_root_age is not None:
        lines.append(f"a root serves at most {policy.maximum_root_age}")
    if policy.fresh_for:
        lines.append(f"a refresh is used for {policy.fresh_for} without asking again")
    return lines
