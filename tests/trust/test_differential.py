"""Our session and tuf's own `Updater` give the same verdict on the same history.

A state machine makes histories with python-tuf: publications, rotations, thresholds, delegations,
times; and attackers who hold no key, the timestamp's, the online keys, one root key or all keys,
and who replay, mix, swap, damage and forge. After each move both clients refresh and look up, each
over its own store. They must agree on the verdict, on what is found, and on every byte that is
trusted then; or differ by a rule of `specs/client.md`, told by a predicate on what was served
(`tests/trust/differential/rules.py`), never by our own error alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from securesystemslib.signer import Signer

from tests.trust.differential.clients import Pair
from tests.trust.differential.forging import ENVELOPE, SIGNED, Forger, Tree, version_in_name
from tests.trust.differential.histories import NOW, SHAPES, TOP_LEVEL, Files, History, signer_number

ONLINE = ("timestamp", "snapshot", "bins", "inner", "rest", "bin-0", "bin-1")
HELD = {
    "no key": (),
    "timestamp key": ("timestamp",),
    "snapshot key": ("snapshot",),
    "online keys": ONLINE,
    "all keys": (*TOP_LEVEL, *ONLINE),
}
LIKELY = ["no signatures", "one signature", "one bit"]
GENERATED = {"R1", "R2", "R5", "H1", "H2", "H3", "H4"}
"""The stricter rules that every shard of the long run must have met by chance. Each rule, these
and the others, has a scenario of its own in `differential/test_rules.py` besides."""


class Histories(RuleBasedStateMachine):
    """One history and one pair of clients; every rule ends with a step of both."""

    counts: ClassVar[Counter[str]]

    @initialize(
        shape=st.sampled_from(SHAPES),
        consistent=st.sampled_from([True, True, False]),
        hashes=st.booleans(),
    )
    def begin(self, shape: str, consistent: bool, hashes: bool) -> None:
        self.history = History(shape, consistent=consistent, hashes=hashes)
        self.pair = Pair(self.history.served, self.history.bootstrap, NOW)
        self._serve_honestly()

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.close()

    # -- what the repository does ----------------------------------------------------------------

    @rule(picks=st.integers(0, 15))
    def publish(self, picks: int) -> None:
        roles = self.history.targets_roles
        self.history.publish([role for n, role in enumerate(roles) if picks >> n & 1])
        self._serve_honestly()

    @rule(
        event=st.sampled_from(["rotate", "keys", "delegated key", "layout", "one key twice"]),
        roles=st.sets(st.sampled_from(TOP_LEVEL), min_size=1),
        keys=st.integers(1, 3),
        threshold=st.integers(1, 3),
    )
    def hold_a_signing_event(self, event: str, roles: set[str], keys: int, threshold: int) -> None:
        first = min(roles)
        delegated = self.history.delegated_by_name
        if event == "keys":
            self.history.set_keys(first, keys, threshold)
        elif event == "delegated key" and delegated:
            self.history.replace_delegated_key(delegated[keys % len(delegated)])
        elif event == "layout":
            self.history.hashes = threshold > 1
            self.history.set_consistent(keys > 1)
            self.history.publish_root()
        elif event == "one key twice" and first != "root" and keys == 3:
            self.history.list_key_twice(first)
        else:
            self.history.rotate(sorted(roles))
        self._serve_honestly()

    @rule(hours=st.sampled_from([-30, 1, 13, 25, 9000]), renew=st.booleans())
    def time_passes(self, hours: int, renew: bool) -> None:
        self.pair.now += timedelta(hours=hours)
        if renew:
            self.history.renew(self.pair.now)
        self._serve_honestly()

    # -- what the attacker does ------------------------------------------------------------------

    @rule(which=st.sampled_from(["timestamp", "snapshot", "all"]), moment=st.integers(0, 20))
    def replay(self, which: str, moment: int) -> None:
        old = self.history.moments[moment % len(self.history.moments)]
        files = dict(self.history.served)
        if which == "all":
            files = dict(old)
        else:
            forger = Forger(old, {}, ())
            files[self._forger("no key").name(which)] = old[forger.name(which)]
        self._attack(files)

    @rule(moment=st.integers(0, 20), rotate=st.booleans())
    def list_an_old_snapshot(self, moment: int, rotate: bool) -> None:
        """The thief of the timestamp key, an old one or one just replaced, lists what was."""
        if rotate:
            self.history.rotate(["timestamp"])
        old = self.history.moments[moment % len(self.history.moments)]
        name = Forger(old, {}, ()).name("snapshot")
        entry: dict[str, object] = {"version": version_in_name(name)}
        if self.history.hashes:
            entry |= {"hashes": {"sha256": hashlib.sha256(old[name]).hexdigest()}}
        forger = self._forger("timestamp key")
        forger.forge("timestamp", lambda signed: signed["meta"].update({"snapshot.json": entry}))
        forger.files["snapshot.json"] = old[name]
        forger.forge("timestamp", lambda signed: signed.update(version=signed["version"] + 1))
        self._attack(forger.files)

    @rule(one=st.integers(0, 9), other=st.integers(0, 9))
    def swap(self, one: int, other: int) -> None:
        self.history.publish(self.history.targets_roles)
        forger = self._forger("no key")
        roles = [*TOP_LEVEL[1:], *self.history.targets_roles]
        names = [forger.name(role) for role in roles]
        forger.files[names[one % len(names)]] = forger.files[names[other % len(names)]]
        self._attack(forger.files)

    # one argument: hypothesis prefers the rules with the fewest, and this one is worth it
    @rule(
        what=st.tuples(
            st.sampled_from([*LIKELY * 3, *sorted(ENVELOPE), "absent"]),
            st.integers(0, 9),
            st.integers(0, 9999),
        )
    )
    def damage(self, what: tuple[str, int, int]) -> None:
        """Without any key: a file of the next publication is changed, or withheld."""
        how, pick, n = what
        roles = [*TOP_LEVEL[1:], *self.history.targets_roles]
        if pick == 0:
            self.history.publish_root()
        else:
            self.history.publish(self.history.targets_roles)
        forger = self._forger("no key")
        name = forger.name("root" if pick == 0 else roles[pick % len(roles)])
        for alias in {name, name.partition(".")[2] if name[0].isdigit() else name}:
            if how == "absent":
                forger.files.pop(alias, None)
            elif alias in forger.files:
                forger.files[alias] = ENVELOPE[how](forger.files[alias], n)
        self._attack(forger.files)

    @rule(
        how=st.sampled_from(sorted(SIGNED)),
        pick=st.integers(0, 9),
        n=st.integers(0, 9),
        algorithm=st.sampled_from(["sha256", "sha256", "md5", "blake2b"]),
    )
    def forge_with_the_online_keys(self, how: str, pick: int, n: int, algorithm: str) -> None:
        self._forge(self._forger("online keys", algorithm), "online keys", how, pick, n, bump=True)

    @rule(
        holder=st.sampled_from([*sorted(HELD), "all keys"]),
        how=st.sampled_from(sorted(SIGNED)),
        pick=st.integers(0, 9),
        n=st.integers(0, 9),
        understood=st.booleans(),
        bump=st.booleans(),
    )
    def forge(self, holder: str, how: str, pick: int, n: int, understood: bool, bump: bool) -> None:
        self._forge(self._forger(holder), holder, how, pick, n, bump=bump, understood=understood)

    def _forge(
        self,
        forger: Forger,
        holder: str,
        how: str,
        pick: int,
        n: int,
        *,
        bump: bool,
        understood: bool = False,
    ) -> None:
        every = [*TOP_LEVEL, *self.history.targets_roles[1:]]
        roles = [role for role in every if role in HELD[holder]]
        if not roles:  # without a key only what python-tuf reads past is of any use
            self.history.publish(self.history.targets_roles)
            forger = self._forger(holder)
        role = (roles or every)[pick % len(roles or every)]
        if roles and (bump or role == "root"):
            forger.forge(role, lambda signed: signed.update(version=signed["version"] + 1))
        forger.forge(role, lambda signed: SIGNED[how](signed, n), as_understood=understood)
        self._attack(forger.files)

    @rule(role=st.sampled_from(["timestamp", "snapshot", "targets"]))
    def renew_under_the_same_version(self, role: str) -> None:
        """Whoever holds all keys lets the online roles expire, and revives one as it was."""
        self.pair.now += timedelta(hours=49)
        forger = self._forger("all keys")
        until = f"{self.pair.now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
        forger.forge(role, lambda signed: signed.update(expires=until))
        for other in {"timestamp", "snapshot"} - {role}:
            forger.forge(other, lambda s: s.update(version=s["version"] + 1, expires=until))
        self._attack(forger.files)

    @rule(keys=st.integers(0, 3), usurps=st.booleans(), signs=st.booleans())
    def sign_a_root_with_some_keys(self, keys: int, usurps: bool, signs: bool) -> None:
        """Whoever holds `keys` root keys names himself the timestamp's keyholder, or root's too."""
        stranger = signer_number(1000)
        signers: dict[str, list[Signer]] = {"timestamp": [stranger]}
        signers["root"] = [*self.history.repository.signers["root"][:keys], *[stranger] * signs]
        forger = Forger(self.history.served, signers, ("root", "timestamp"))
        keyid = stranger.public_key.keyid

        def change(signed: Tree) -> None:
            signed["version"] += 1
            signed["keys"][keyid] = stranger.public_key.to_dict()
            for role in ("timestamp", "root") if usurps else ("timestamp",):
                signed["roles"][role] = {"keyids": [keyid], "threshold": 1}

        forger.forge("root", change)
        forger.forge("timestamp", lambda signed: signed.update(version=signed["version"] + 1))
        self._attack(forger.files)

    def _forger(self, holder: str, algorithm: str = "sha256") -> Forger:
        signers = self.history.repository.signers
        return Forger(self.history.served, signers, HELD[holder], algorithm=algorithm)

    # -- the comparison --------------------------------------------------------------------------

    def _serve_honestly(self) -> None:
        self._attack(self.history.served)

    def _attack(self, files: Files) -> None:
        self.pair.serve(files)
        step = self.pair.step()
        self.counts["accepted" if step.ours is None else "refused"] += 1
        for rule_id in step.rules:
            self.counts[rule_id] += 1
        self.counts["differ"] += bool(step.rules)


def _run(examples: int, *, shard: int | None) -> Counter[str]:
    class Shard(Histories):
        counts: ClassVar[Counter[str]] = Counter()

    machine = Shard if shard is None else seed(shard)(Shard)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=6,
            deadline=None,
            database=None,
            derandomize=shard is None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Shard.counts


def _report(counts: Counter[str], capsys: pytest.CaptureFixture[str]) -> None:
    total = counts["accepted"] + counts["refused"]
    with capsys.disabled():
        print(f"\n{total} refreshes of both clients: {dict(sorted(counts.items()))}")
    assert counts["accepted"] >= total / 4
    assert counts["refused"] >= total / 4
    assert counts["differ"] < total / 4


def test_the_verdicts_are_those_of_the_reference_client(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _report(_run(120, shard=None), capsys)


@pytest.mark.long
@pytest.mark.parametrize("shard", range(4))
def test_the_verdicts_are_those_of_the_reference_client_in_20000_histories(
    shard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = _run(5_000, shard=shard)
    _report(counts, capsys)
    assert GENERATED - set(counts) == set()
