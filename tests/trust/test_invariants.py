"""From the adversary's side: whatever he answers, a client of ours keeps its promises.

He answers every request as he likes: with what the repository serves now or served ever, under
its own name or another's, damaged, or forged with the keys that he holds. The promises are read
off the client's store and answers by an independent judge (`differential/oracle.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, TargetFile

from indextrust.errors import (
    HashMismatchError,
    IndextrustError,
    LengthError,
    RefusedError,
    UnreachableError,
)
from indextrust.trust import NotListed, TargetEntry
from indextrust.trust.verdict import algorithms, check
from tests.support.drive import Driver
from tests.trust.differential.adversary import Adversary, Logged
from tests.trust.differential.forging import SIGNED, Forger, Tree
from tests.trust.differential.histories import NOW, PATHS, TOP_LEVEL, Files, History, signer_number
from tests.trust.differential.oracle import chain, is_signed_by, root_of, target_in, version_of

DELEGATED = ("bins", "inner", "rest", "bin-0", "bin-1")
HELD = {
    "no key": (),
    "timestamp key": ("timestamp",),
    "snapshot key": ("snapshot",),
    "online keys": ("timestamp", "snapshot", *DELEGATED),
    "targets key": ("targets",),
}
LIKELY = ["old entries", "revived", "same version, other bytes", "no targets"]
SETTINGS = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


class Story:
    """A repository, an adversary with some keys, and a client between them.

    Args:
        data: where all choices come from.
        counts: how many refreshes were accepted and refused.
    """

    def __init__(self, data: st.DataObject, counts: Counter[str]) -> None:
        self.counts = counts
        self.draw = data.draw
        self.data = data
        shape = self.draw(st.sampled_from(["flat", "nested", "prefixes"]))
        # bins share their key: without hashes one of the same version passes for the other
        hashes = shape == "prefixes" or self.draw(st.booleans())
        self.history = History(shape, hashes=hashes)
        self.held = self.draw(st.sampled_from(sorted(HELD)))
        self.client = Logged({}, self.history.bootstrap)
        self.forged: list[Files] = []
        self.honest_entries = {path: {_digest(path.encode())} for path in PATHS}
        self.newest: dict[str, str | None] = {path: _digest(path.encode()) for path in PATHS}

    # -- what happens ----------------------------------------------------------------------------

    def repository_moves(self) -> None:
        """The honest side publishes, changes a target, or holds a signing event."""
        if self.client.now > NOW:
            self.history.renew(self.client.now)
        moves = ["publish", "change", "withdraw", "rotate", "thresholds", "time passes"]
        move = self.draw(st.sampled_from(moves))
        roles = self.history.targets_roles
        if move in ("change", "withdraw"):
            self.change_target(self.draw(st.sampled_from(PATHS)), withdraw=move == "withdraw")
        if move == "rotate":
            self.history.rotate([self.draw(st.sampled_from(TOP_LEVEL))])
        elif move == "time passes":
            self.client.now += timedelta(hours=30)
            self.history.renew(self.client.now)
        elif move == "thresholds":
            self.history.set_keys(self.draw(st.sampled_from(TOP_LEVEL)), 2, 2)
        else:
            self.history.publish(roles)

    def change_target(self, path: str, *, withdraw: bool) -> None:
        """Its owner lists other content under `path`, or lists it no more."""
        content = f"{path} {len(self.history.moments)}".encode()
        owners = [role for role in self.history.targets_roles if role != "rest" or path == "other"]
        for role in owners:
            entries = self.history.signed(role).targets
            if withdraw:
                entries.pop(path, None)
            elif path in entries:
                entries[path] = TargetFile(len(content), {"sha256": _digest(content)}, path)
        if withdraw:
            self.newest[path] = None
        elif self.newest[path] is not None:
            self.newest[path] = _digest(content)
            self.honest_entries[path].add(_digest(content))

    def adversary_forges(self) -> None:
        """With the keys that he holds he makes a set of files, consistent as far as they reach."""
        if self.draw(st.integers(0, 3)) == 0:
            self.forged.append(self.root_forged())
            return
        roles = [role for role in HELD[self.held] if self.history.holds(role)] or ["timestamp"]
        role = self.draw(st.sampled_from(roles))
        signers = self.history.repository.signers
        held, records = HELD[self.held], self.draw(st.booleans())
        forger = Forger(self.history.served, signers, held, records=records)
        how = self.draw(st.sampled_from([*LIKELY * 5, *sorted(SIGNED)]))
        if self.draw(st.booleans()):
            forger.forge(role, lambda signed: signed.update(version=signed["version"] + 1))
        n = self.draw(st.integers(0, 9))
        if how == "old entries":
            self.old_entries(forger, role, n)
        elif how == "revived":
            self.revive(forger)
        else:
            forger.forge(role, lambda signed: SIGNED[how](signed, n))
        self.forged.append(forger.files)

    def old_entries(self, forger: Forger, role: str, moment: int) -> None:
        """List, or be, what was at an earlier moment, under a new version."""
        old = self.history.moments[moment % len(self.history.moments)]
        was = json.loads(old[Forger(old, {}, ()).name(role)])["signed"]

        def change(signed: Tree) -> None:
            signed.update({name: was[name] for name in ("meta", "targets") if name in was})

        forger.forge(role, change)

    def revive(self, forger: Forger) -> None:
        """Let the online roles expire, and give the snapshot another expiry under its version."""
        self.client.now += timedelta(hours=50)
        for role in ("timestamp", "snapshot"):
            forger.forge(role, lambda signed: signed.update(expires="2030-01-01T00:00:00Z"))
        forger.forge("timestamp", lambda signed: signed.update(version=signed["version"] + 1))

    def root_forged(self) -> Files:
        """A next root that names a stranger for root and timestamp.

        Either he alone signed it; or the old keyholders did, and he, whom it names, did not (a
        signing event that was broken off, and leaked).
        """
        stranger = signer_number(1000)
        key = stranger.public_key
        signers: dict[str, list[Signer]] = {"root": [stranger], "timestamp": [stranger]}
        if self.draw(st.booleans()):
            signers["root"] = self.history.repository.signers["root"]
        forger = Forger(self.history.served, signers, signers)

        def change(signed: Tree) -> None:
            signed["version"] += 1
            signed["keys"][key.keyid] = key.to_dict()
            for role in signers:
                signed["roles"][role] = {"keyids": [key.keyid], "threshold": 1}

        forger.forge("root", change)
        forger.forge("timestamp", lambda signed: signed.update(version=signed["version"] + 1))
        return forger.files

    def client_looks(self) -> None:
        """A refresh and look-ups through the adversary, and every promise judged."""
        pool = [*self.history.moments, *self.forged]
        view = self.history.served
        if self.draw(st.booleans()):
            view = pool[self.draw(st.integers(0, len(pool) - 1))]
        self.client.events.clear()
        self.client.files = Adversary(self.data, view, pool, self.client.events)
        before = dict(self.client.stored)
        error: IndextrustError | None = None
        try:
            self.client.refresh()
            for path in PATHS:
                self.answer_is_of_the_chain(path, self.client.find(path))
        except (RefusedError, UnreachableError) as caught:  # (5): nothing else escapes
            error = caught
        self.counts["accepted" if error is None else "refused"] += 1
        self.store_keeps_its_promises(before)
        if error is not None:
            self.refusal_changed_nothing(before)

    # -- what is promised ------------------------------------------------------------------------

    def answer_is_of_the_chain(self, path: str, entry: TargetEntry | NotListed) -> None:
        """1. "No sequence of responses yields bytes outside a valid chain", nor "not listed"."""
        client = self.client
        chain(client.bootstrap, client.history, client.stored, client.now)
        listed = target_in(client.stored, path, client.now)
        if isinstance(entry, NotListed) or listed is None:
            assert isinstance(entry, NotListed)
            assert listed is None
            return
        assert (listed.length, listed.hashes) == (entry.length, entry.hashes)
        if self.held in ("no key", "timestamp key", "snapshot key"):
            # "A CDN, mirror or network attacker can withhold, and never substitute."
            assert entry.hashes["sha256"] in self.honest_entries[path]
        offered = self.draw(st.sampled_from([path.encode(), b"malware", b""]))
        digests = {name: hashlib.new(name, offered).hexdigest() for name in algorithms(entry)}
        try:
            check(entry, len(offered), digests)
        except (LengthError, HashMismatchError):
            return
        assert _digest(offered) == listed.hashes["sha256"]

    def store_keeps_its_promises(self, before: Mapping[str, bytes]) -> None:
        """2., 9. and 11., read off the store.

        2. "Trusted versions never fall unless the signing keys were removed."
        9. "Fewer than a threshold of distinct keys never suffice."
        11. "Same role and version means same bytes."
        """
        after = self.client.stored
        root = root_of(self.client.bootstrap, self.client.history, after["root"])
        if "root" in before:
            assert version_of(after["root"]) >= version_of(before["root"])
        for role, data in after.items():
            old = before.get(role)
            if role in ("timestamp", "snapshot", "targets") and data != old:
                assert is_signed_by(data, root, role), (role, "9")
            if old in (None, data):
                continue
            # a delegated role's versions are guarded by the snapshot that listed them
            guard = role if role in TOP_LEVEL[:3] else "snapshot"
            kept = guard == "root" or is_signed_by(before[guard], root, guard)
            if kept:
                assert version_of(data) >= version_of(old), (role, "2")
            if version_of(data) == version_of(old):
                assert not self.still_signed(role, old), (role, "11")

    def still_signed(self, role: str, data: bytes) -> bool:
        """Whether `data` would still be trusted for `role` by what is stored now."""
        delegators: list[Any] = [
            Metadata[Any].from_bytes(held).signed for held in self.client.stored.values()
        ]
        for delegator in delegators:
            try:
                if is_signed_by(data, delegator, role):
                    return True
            except (AttributeError, ValueError):
                continue  # it does not delegate to the role
        return False

    def refusal_changed_nothing(self, before: Mapping[str, bytes]) -> None:
        """3. "A refused role changes nothing of itself nor of what comes after it." """
        what, refused = self.client.events[-1]
        after = self.client.stored
        changed = {role for role, data in after.items() if data != before.get(role)}
        if refused in TOP_LEVEL:
            later = TOP_LEVEL[TOP_LEVEL.index(refused) + 1 :]
            assert not changed & {*later, *DELEGATED}, (changed, "3")
        if what == "asked" and refused != "root":  # roots before the refused one stay
            assert refused not in changed, "3"

    def honest_refresh_succeeds(self) -> None:
        """4. "After any attack, an honest repository plus one refresh succeeds."

        Where the adversary held keys he may have driven versions forward. Then the repository
        first replaces those keys, and no others.
        """
        stolen = HELD[self.held]
        self.history.renew(self.client.now)
        self.history.rotate([role for role in TOP_LEVEL if role in stolen])
        for role in self.history.delegated_by_name:
            if role in stolen:
                self.history.replace_delegated_key(role)
        self.client.files = self.history.served
        self.client.refresh()
        for path in PATHS:
            entry = self.client.find(path)
            listed = entry.hashes["sha256"] if isinstance(entry, TargetEntry) else None
            assert listed == self.newest[path], "4"
        assert self.client.stored["timestamp"] == self.history.served["timestamp.json"]


def _tell(data: st.DataObject, counts: Counter[str]) -> None:
    story = Story(data, counts)
    for _ in range(data.draw(st.integers(1, 4))):
        story.repository_moves()
        story.adversary_forges()
        for _ in range(data.draw(st.integers(1, 3))):
            story.client_looks()
    story.honest_refresh_succeeds()


def _tell_many(examples: int, capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()

    @settings(SETTINGS, max_examples=examples)
    @given(data=st.data())
    def tell(data: st.DataObject) -> None:
        _tell(data, counts)

    tell()
    with capsys.disabled():
        print(f"\nagainst the adversary: {dict(counts)}")
    assert min(counts["accepted"], counts["refused"]) >= sum(counts.values()) / 4


def test_whatever_the_adversary_answers_every_promise_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _tell_many(60, capsys)


@pytest.mark.long
def test_whatever_the_adversary_answers_every_promise_holds_in_5000_stories(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _tell_many(5_000, capsys)


FORMS: dict[str, Callable[[Tree, list[str]], list[Tree]]] = {
    "as it is": lambda entry, ids: [entry],
    "twice": lambda entry, ids: [entry, entry],
    "under every id": lambda entry, ids: [{**entry, "keyid": keyid} for keyid in ids],
    "in both cases": lambda entry, ids: [entry, {**entry, "keyid": entry["keyid"].upper()}],
    "with blanks": lambda entry, ids: [entry, {**entry, "keyid": f" {entry['keyid']}"}],
}


@settings(SETTINGS, max_examples=60)
@given(
    keys=st.integers(2, 4),
    missing=st.integers(1, 4),
    form=st.sampled_from(sorted(FORMS)),
    role=st.sampled_from(["root", "timestamp", "snapshot", "targets"]),
    strangers=st.integers(0, 3),
)
def test_fewer_than_a_threshold_of_distinct_keys_never_suffice(
    keys: int, missing: int, form: str, role: str, strangers: int
) -> None:
    """9. "Fewer than a threshold of distinct keys never suffice", in whatever form they sign."""
    history = History("flat", hashes=False)
    history.set_keys(role, keys, keys)
    client = Driver(history.served, history.bootstrap, NOW)
    client.refresh()
    before = dict(client.stored)
    signers = history.repository.signers
    held = signers[role][: max(0, keys - missing)]
    others = [signer_number(1000 + number) for number in range(strangers)]
    forger = Forger(history.served, {**signers, role: [*held, *others]}, TOP_LEVEL)
    ids = [signer.public_key.keyid for signer in signers[role]]
    forger.forge(role, lambda signed: signed.update(version=signed["version"] + 1))

    def multiply(entries: list[Tree]) -> list[Tree]:
        return [copy for entry in entries for copy in FORMS[form](entry, ids)]

    forger.rewrite_signatures(role, multiply)
    client.files = forger.files
    with pytest.raises(RefusedError):
        client.refresh()
    assert client.stored[role] == before[role]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
