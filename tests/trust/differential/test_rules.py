"""Each rule by which we differ from `Updater`, met once through the same comparing machinery.

The list of scenarios is complete: a rule without one fails here, and so does a rule that
`specs/client.md` doesn't list.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import SSlibKey
from tuf.ngclient import UpdaterConfig

from indextrust.trust import Limits
from indextrust.trust.freshness import Policy
from tests.trust.differential.clients import Pair
from tests.trust.differential.forging import ENVELOPE, SIGNED, Forger
from tests.trust.differential.histories import NOW, PATHS, TOP_LEVEL, History
from tests.trust.differential.rules import RULES

SPECIFICATION = Path(__file__).parents[3] / "specs" / "client.md"
IDENTITY = "01" + "00" * 31  # the Ed25519 key under which everybody's signature is valid
BY_NOBODY = "58" + "66" * 31 + "01" + "00" * 31  # R = B, S = 1


class World:
    """A repository, both clients after one refresh on which they agreed, and an attacker.

    Args:
        hashes: whether timestamp and snapshot record them.
        started: whether that first refresh was made.
        shape: of the delegations.
        arguments: the pair's.
    """

    def __init__(
        self,
        *,
        hashes: bool = True,
        started: bool = True,
        shape: str = "nested",
        **arguments: Any,
    ) -> None:
        self.history = History(shape, hashes=hashes)
        self.pair = Pair(self.history.served, self.history.bootstrap, NOW, **arguments)
        if started:
            step = self.pair.step()
            assert (step.ours, step.theirs, step.rules) == (None, None, frozenset())

    def damage(self, role: str, how: str) -> None:
        """Without any key: change a file of the next publication."""
        self.history.publish(self.history.targets_roles)
        forger = self.forger()
        name = forger.name(role)
        forger.files[name] = ENVELOPE[how](forger.files[name], 0)
        self.pair.serve(forger.files)

    def forger(self, *held: str) -> Forger:
        """An attacker who holds these roles' keys."""
        return Forger(self.history.served, self.history.repository.signers, held)

    def forge(self, role: str, change: Callable[[dict[str, Any]], object]) -> None:
        """With every key: change a role."""
        forger = self.forger(*TOP_LEVEL, *self.history.targets_roles)
        forger.forge(role, change)
        self.pair.serve(forger.files)


def _damaged(role: str, how: str) -> Callable[[], World]:
    def scenario() -> World:
        world = World()
        world.damage(role, how)
        return world

    return scenario


def _too_many_values() -> World:
    world = World(hashes=False, started=False)
    forger = world.forger()
    name = forger.name("targets")
    forger.files[name] = b'{"x":[' + b"0," * 350_000 + b"0]," + forger.files[name][1:]
    world.pair.serve(forger.files)
    return world


def _date_written_otherwise() -> World:
    world = World()
    world.history.publish()
    forger = world.forger()
    forger.forge("timestamp", lambda signed: SIGNED["odd date"](signed, 0))
    world.pair.serve(forger.files)
    return world


def _version_true() -> World:
    world = World(started=False)
    world.forge("timestamp", lambda signed: SIGNED["version true"](signed, 0))
    return world


def _changed(
    role: str, change: Callable[[dict[str, Any]], object], *, as_understood: bool = False
) -> Callable[[], World]:
    """With every key: the next version of a role, changed."""

    def scenario() -> World:
        world = World()

        def change_next(signed: dict[str, Any]) -> None:
            signed["version"] += 1
            change(signed)

        forger = world.forger(*TOP_LEVEL, *world.history.targets_roles)
        forger.forge(role, change_next, as_understood=as_understood)
        world.pair.serve(forger.files)
        return world

    return scenario


def _first_role(signed: dict[str, Any]) -> dict[str, Any]:
    role: dict[str, Any] = signed["delegations"]["roles"][0]
    return role


def _listed_besides() -> World:
    """Without any key: the timestamp lists what python-tuf reads past."""
    world = World()
    world.history.publish()
    forger = world.forger()
    forger.forge("timestamp", lambda signed: signed["meta"].update({"x.json": {"version": 1}}))
    world.pair.serve(forger.files)
    return world


LEFT_OUT: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("timestamp", lambda signed: signed["meta"]["snapshot.json"].update(hashes=None)),
    ("snapshot", lambda signed: signed["meta"]["targets.json"].update(length=None)),
    ("targets", lambda signed: signed["delegations"].update(succinct_roles=None)),
    ("targets", lambda signed: _first_role(signed).update(path_hash_prefixes=None)),
    ("timestamp", lambda signed: signed["meta"].update({"x.json": {"version": 1}})),
]
"""What python-tuf leaves out when it writes again what it has read."""


def _long_role_name() -> World:
    world = World()

    def change(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        roles = signed["delegations"]["roles"]
        roles.append({**roles[0], "name": "x" * 201, "paths": ["nothing/*"]})

    world.forge("targets", change)
    return world


def _one_key_under_two_ids() -> World:
    world = World()
    world.history.list_key_twice("timestamp")
    world.pair.serve(world.history.served)
    return world


def _key_of_small_order() -> World:
    world = World()
    repository = world.history.repository
    root = repository.root.signed
    for keyid in list(root.roles["timestamp"].keyids):
        root.revoke_key(keyid, "timestamp")
    root.add_key(SSlibKey("weak", "ed25519", "ed25519", {"public": IDENTITY}), "timestamp")
    world.history.publish_root()
    by_nobody = _signatures(lambda sigs: [{"keyid": "weak", "sig": BY_NOBODY}])
    files = dict(world.history.served)
    files["timestamp.json"] = by_nobody(files["timestamp.json"])
    world.pair.serve(files)
    return world


def _key_of_unknown_kind() -> World:
    world = World()
    odd = SSlibKey("odd", "rsa", "pgp+rsa-pkcsv1.5", {"public": "00"})
    world.history.repository.root.signed.add_key(odd, "timestamp")
    world.history.publish_root()
    world.pair.serve(world.history.served)
    return world


def _same_version_other_bytes() -> World:
    """The stored snapshot expires, and comes again under its version with another expiry."""
    world = World(hashes=False)
    world.pair.now = NOW + timedelta(hours=25)
    forger = world.forger("timestamp", "snapshot")
    for role in ("timestamp", "snapshot"):
        forger.forge(role, lambda signed: signed.update(expires="2026-02-01T00:00:00Z"))
    world.pair.serve(forger.files)
    return world


def _version_with_another_hash() -> World:
    world = World()
    world.forge("snapshot", lambda signed: SIGNED["same version, other bytes"](signed, 0))
    return world


def _snapshot_falls_under_a_new_timestamp_key() -> World:
    world = World()
    old = world.history.served
    world.history.publish()
    world.pair.serve(world.history.served)
    world.pair.step()
    world.history.rotate(["timestamp"])
    forger = world.forger("timestamp")
    digest = hashlib.sha256(old["snapshot.json"]).hexdigest()
    entry = {"version": 1, "hashes": {"sha256": digest}}
    forger.forge("timestamp", lambda signed: signed["meta"].update({"snapshot.json": entry}))
    world.pair.serve(forger.files)
    return world


def _md5_alone() -> World:
    world = World()
    world.history.publish(["targets"])
    digest = hashlib.md5(world.history.served["targets.json"], usedforsecurity=False).hexdigest()
    forger = world.forger("timestamp", "snapshot")

    def change(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["meta"]["targets.json"]["hashes"] = {"md5": digest}

    forger.forge("snapshot", change)
    world.pair.serve(forger.files)
    return world


def _one_bin_for_the_other(shape: str) -> Callable[[], World]:
    """Without any key: both bins get a version 2, and one is served as both."""

    def scenario() -> World:
        world = World(hashes=False, shape=shape)
        world.history.publish(["bin-0", "bin-1"])
        files = dict(world.history.served)
        full = next(
            n for n in ("0", "1") if json.loads(files[f"2.bin-{n}.json"])["signed"]["targets"]
        )
        other = {"0": "1", "1": "0"}[full]
        files[f"2.bin-{other}.json"] = files[f"2.bin-{full}.json"]
        world.pair.serve(files)
        return world

    return scenario


def _length_over_the_ceiling() -> World:
    world = World(started=False)
    world.pair.driver.limits = Limits(ceiling=500)
    return world


def _bytes_over_the_budget() -> World:
    world = World(started=False)
    world.pair.driver.limits = Limits(refresh_bytes=1000)
    return world


def _root_below_the_least() -> World:
    world = World(started=False)
    world.pair.driver.policy = Policy(minimum_root_version=2)
    return world


def _roots(count: int, **arguments: Any) -> World:
    world = World(**arguments)
    for _ in range(count):
        world.history.repository.publish_root()
    world.history.publish()
    world.pair.serve(world.history.served)
    return world


def _many_roles() -> World:
    world = World(started=False)
    repository = world.history.repository
    delegations = repository.targets["targets"].signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    delegations.roles.clear()
    for number in range(33):
        repository.delegate("targets", f"role-{number}", ["files/a/1"], terminating=False)
    world.history.publish(["targets", *(f"role-{number}" for number in range(33))])
    world.pair.serve(world.history.served)
    return world


def _long_pattern() -> World:
    world = World()

    def change(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["delegations"]["roles"][0]["paths"].insert(0, "*" * 2_000_001 + "/a/1")

    world.forge("targets", change)
    return world


def _clock_set_back() -> World:
    world = World()
    world.pair.now = NOW + timedelta(hours=20)
    world.pair.step()
    world.pair.now = NOW
    forger = world.forger("timestamp")
    forger.forge(
        "timestamp",
        lambda s: s.update(version=s["version"] + 1, expires="2026-01-01T10:00:00Z"),
    )
    world.pair.serve(forger.files)
    return world


def _signatures(change: Callable[[list[Any]], list[Any]]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        tree = json.loads(data)
        tree["signatures"] = change(tree["signatures"])
        return json.dumps(tree).encode()

    return changed


SCENARIOS: list[tuple[str, Callable[[], World]]] = [
    *(
        ("R1", _damaged("timestamp", how))
        for how in (
            "duplicate keys",
            "a float",
            "NaN",
            "minus zero",
            "a lone surrogate",
            "a long integer",
        )
    ),
    ("R2", _damaged("timestamp", "50 levels")),
    ("R2", _too_many_values),
    ("R3", _damaged("timestamp", "300 strangers' signatures")),
    ("R4", _date_written_otherwise),
    ("R5", _version_true),
    ("R5", _changed("targets", lambda signed: _first_role(signed).update(terminating=1))),
    ("R5", _changed("root", lambda signed: signed.update(consistent_snapshot="yes"))),
    ("R6", _long_role_name),
    ("R7", _listed_besides),
    *(("R7", _changed(role, change, as_understood=True)) for role, change in LEFT_OUT),
    ("R8", _changed("timestamp", lambda signed: signed.update(spec_version="1.\u0663.1"))),
    ("S1", _one_key_under_two_ids),
    ("S2", _key_of_small_order),
    ("S3", _damaged("timestamp", "signatures with blanks")),
    ("S4", _key_of_unknown_kind),
    ("H1", _same_version_other_bytes),
    ("H2", _version_with_another_hash),
    ("H3", _snapshot_falls_under_a_new_timestamp_key),
    ("H4", _md5_alone),
    ("H5", _one_bin_for_the_other("prefixes")),
    ("H5", _one_bin_for_the_other("succinct")),
    ("B1", _length_over_the_ceiling),
    ("B2", lambda: _roots(1025, config=UpdaterConfig(max_root_rotations=2000))),
    ("B3", _many_roles),
    ("B4", _long_pattern),
    ("A2", lambda: World(started=False, paths=(*PATHS, "../etc/x"))),
    ("B7", _bytes_over_the_budget),
    ("F1", _clock_set_back),
    ("F2", _root_below_the_least),
    ("L1", lambda: _roots(257)),
]


@pytest.mark.parametrize(
    ("rule_id", "scenario"),
    [
        pytest.param(*pair, id=f"{pair[0]}-{pair[1].__qualname__}-{number}")
        for number, pair in enumerate(SCENARIOS)
    ],
)
def test_we_refuse_by_this_rule_alone_and_updater_accepts(
    rule_id: str, scenario: Callable[[], World]
) -> None:
    world = scenario()
    step = world.pair.step()
    world.pair.close()
    assert step.rules == {rule_id}, step
    assert step.theirs is None
    assert (step.ours is None) == (rule_id == "L1")


@pytest.mark.parametrize(("role", "change"), LEFT_OUT)
def test_what_python_tuf_leaves_out_is_refused_by_both_where_it_was_signed(
    role: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """The other way round: signed as it stands in the file, `Updater` can't verify it."""
    world = _changed(role, change)()
    step = world.pair.step()
    world.pair.close()
    assert step.rules == set(), step
    assert step.ours is not None


def test_every_rule_has_a_scenario_and_stands_in_the_specification() -> None:
    ids = {rule_id for rule_id, _ in SCENARIOS}
    assert ids == {*RULES, "L1"}
    listed = re.findall(r"^\| ([A-Z]\d+)\. ", SPECIFICATION.read_text("utf-8"), re.MULTILINE)
    assert ids - set(listed) == set()
