"""The last look: events that other tools made, validly signed and yet not to be published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Root, Targets

from indextrust.ceremony import SignedRoles, check_event, rotate
from indextrust.errors import CeremonyError
from tests.ceremony.parties import NOW, root_of, signed_by, targets_of


def test_an_honest_genesis_and_an_honest_rotation_pass(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    check_event(roles, None, now=NOW)
    check_event(rotate(roles, keyholders, online.public_key, now=NOW), roles, now=NOW)


class Office:
    """A keyholders' office that works with python-tuf, and makes the mistake it is told to."""

    def __init__(self, current: SignedRoles, keyholders: list[CryptoSigner]) -> None:
        self.keyholders = keyholders
        self.root = root_of(current.root[-1])
        self.targets = targets_of(current.targets)
        self.bins = targets_of(current.bins)
        for role in (self.root, self.targets, self.bins):
            role.version += 1
        self.targets_signers = [CryptoSigner.generate_ed25519() for _ in range(2)]
        self.bins_signers = [CryptoSigner.generate_ed25519() for _ in range(2)]

    def event(self) -> SignedRoles:
        self._replace_keys(self.root, "targets", self.targets_signers)
        self._replace_keys(self.targets, "bins", self.bins_signers)
        return SignedRoles(
            root=(signed_by(self.root, self.keyholders),),
            targets=signed_by(self.targets, self.targets_signers),
            bins=signed_by(self.bins, self.bins_signers),
        )

    @staticmethod
    def _replace_keys(delegator: Root | Targets, role: str, signers: list[CryptoSigner]) -> None:
        for keyid in list(delegator.get_delegated_role(role).keyids):
            delegator.revoke_key(keyid, role)
        for signer in signers:
            delegator.add_key(signer.public_key, role)


def test_an_office_without_mistakes_passes(
    roles: SignedRoles, keyholders: list[CryptoSigner]
) -> None:
    check_event(Office(roles, keyholders).event(), roles, now=NOW)


def _skips_a_root_version(office: Office) -> None:
    office.root.version += 1


def _repeats_the_root_version(office: Office) -> None:
    office.root.version -= 1


def _repeats_the_targets_version(office: Office) -> None:
    office.targets.version -= 1


def _skips_a_bins_version(office: Office) -> None:
    office.bins.version += 1


def _signs_an_expired_targets(office: Office) -> None:
    office.targets.expires = NOW - timedelta(seconds=1)


def _has_one_signature_too_few(office: Office) -> None:
    office.keyholders = office.keyholders[:1]


def _adds_an_online_key_and_forgets_the_old_one(office: Office) -> None:
    office.root.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")


def _replaces_the_online_key_of_timestamp_alone(office: Office) -> None:
    office.root.revoke_key(office.root.roles["timestamp"].keyids[0], "timestamp")
    office.root.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")


def _lets_the_thief_of_the_online_key_into_the_root(office: Office) -> None:
    online = office.root.keys[office.root.roles["timestamp"].keyids[0]]
    office.root.add_key(online, "root")


def _keeps_a_used_one_time_key(office: Office) -> None:
    used = office.root.keys[office.root.roles["targets"].keyids[0]]
    assert isinstance(used, SSlibKey)
    office.root.keys["12" * 32] = SSlibKey("12" * 32, used.keytype, used.scheme, used.keyval)


def _sets_a_threshold_that_nobody_can_meet(office: Office) -> None:
    office.root.roles["root"].threshold = 4


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        (_skips_a_root_version, "'root': expected version 2, got 3"),
        (_repeats_the_root_version, "'root': expected version 2, got 1"),
        (_repeats_the_targets_version, "'targets': expected version 2, got 1"),
        (_skips_a_bins_version, "'bins': expected version 2, got 3"),
        (_signs_an_expired_targets, "'targets' 2: expired"),
        (_has_one_signature_too_few, "'root' 2 does not verify by 'root' 1"),
        (_adds_an_online_key_and_forgets_the_old_one, "expected one online key"),
        (_replaces_the_online_key_of_timestamp_alone, "expected one online key"),
        (_lets_the_thief_of_the_online_key_into_the_root, "it is the online key"),
        (_keeps_a_used_one_time_key, "old one-time key .* would stay in force"),
        (_sets_a_threshold_that_nobody_can_meet, "'root' 2 does not verify by 'root' 2"),
    ],
)
def test_a_mistake_of_the_office_is_found(
    mistake: Callable[[Office], None],
    complaint: str,
    roles: SignedRoles,
    keyholders: list[CryptoSigner],
) -> None:
    office = Office(roles, keyholders)
    mistake(office)
    with pytest.raises(CeremonyError, match=complaint):
        check_event(office.event(), roles, now=NOW)


def test_a_second_genesis_is_not_a_rotation_and_a_rotation_is_no_genesis(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    second = rotate(roles, keyholders, online.public_key, now=NOW)
    with pytest.raises(CeremonyError, match="'root': expected version 2, got 1"):
        check_event(roles, roles, now=NOW)
    with pytest.raises(CeremonyError, match="'root': expected version 1, got 2"):
        check_event(second, None, now=NOW)


def test_two_roots_of_one_event_must_follow_each_other(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    second = rotate(roles, keyholders, online.public_key, now=NOW)
    third = rotate(second, keyholders, online.public_key, now=NOW)
    with pytest.raises(CeremonyError, match="'targets': expected version 2, got 3"):
        check_event(replace(third, root=(*second.root, *third.root)), roles, now=NOW)
    with pytest.raises(CeremonyError, match="'root': expected version 2, got 3"):
        check_event(third, roles, now=NOW)


def test_a_key_that_was_dropped_never_comes_back(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    second_key, third_key = (CryptoSigner.generate_ed25519().public_key for _ in range(2))
    second = rotate(roles, keyholders, second_key, now=NOW)
    known = replace(second, root=(*roles.root, *second.root))
    disguised = SSlibKey("12" * 32, "ed25519", "ed25519", online.public_key.keyval)
    for back in (online.public_key, disguised):
        with pytest.raises(CeremonyError, match="last listed by root 1, would come back"):
            rotate(known, keyholders, back, now=NOW)
    third = rotate(known, keyholders, third_key, now=NOW)
    known = replace(third, root=(*known.root, *third.root))
    for back in (online.public_key, second_key):
        with pytest.raises(CeremonyError, match="would come back"):
            rotate(known, keyholders, back, now=NOW)
    rotate(known, keyholders, third_key, now=NOW)


def test_a_keyholder_who_was_dropped_does_not_come_back(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    keys = [keyholder.public_key for keyholder in keyholders]
    second = rotate(roles, keyholders, online.public_key, new_root_keys=keys[:2], now=NOW)
    known = replace(second, root=(*roles.root, *second.root))
    with pytest.raises(CeremonyError, match=f"the old key {keys[2].keyid}"):
        rotate(known, keyholders, online.public_key, new_root_keys=keys, now=NOW)
