"""Every exception that indextrust raises on purpose.

The families answer the question a person asks first when something stops:

* `RefusedError`: something came, and it is not acceptable. It may be an attack or a broken
  server; nothing of what was refused was kept. `AlarmError` is the part of this family in
  which honest operation can't be the cause, or in which a signed file changed under a name
  that was seen before: it wants a person.
* `UnreachableError`: nothing usable came. The network, the server or a budget of ours ended
  the attempt; it says nothing about what the index holds.
* `NotListedError`: the trusted metadata answers, and the answer is that there is no such entry.
* `UnsupportedKeyError`: a library is missing here. It says nothing about the signature.
* `StoreError`: our own files could not be read or written.
* `InputError`: the caller gave something that can't be used.
* `RepositoryError`, `CeremonyError`: the operator's and the keyholder's side.

An exception is raised where a walk can't go on. Answers that belong to the normal path
("not listed" from a lookup, for example) are values.
"""

from __future__ import annotations

__all__ = [
    "AlarmError",
    "AlteredStateError",
    "BadFingerprintError",
    "BudgetExceededError",
    "CeremonyError",
    "ChangedArtifactError",
    "CheckpointError",
    "ConflictError",
    "DistributionError",
    "EquivocationError",
    "ExpiredError",
    "FrozenError",
    "HashMismatchError",
    "IndextrustError",
    "InputError",
    "KeyFileError",
    "KnownBadArtifactError",
    "LengthError",
    "MalformedError",
    "MissingExtraError",
    "MissingRoleError",
    "NotListedError",
    "OutdatedRootError",
    "PassphraseError",
    "PortInUseError",
    "ProfileError",
    "RefusedError",
    "RemovedArtifactError",
    "RepositoryError",
    "RepositoryVersionError",
    "RollbackError",
    "SignatureError",
    "SigningError",
    "StoreError",
    "UnreachableError",
    "UnsafePathError",
    "UnsupportedKeyError",
    "WrongVersionError",
]


class IndextrustError(Exception):
    """Base of every error that indextrust raises on purpose."""


class InputError(IndextrustError, ValueError):
    """The caller gave a value that can't be used: a name, a path, a URL, an option."""


class MissingExtraError(IndextrustError, ImportError):
    """A command or class needs packages of an extra that is not installed.

    Args:
        extra: the extra's name, as in ``pip install 'indextrust[extra]'``.
        missing: the module that could not be imported.
    """

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"{missing!r} is not installed: install it with  pip install 'indextrust[{extra}]'"
        )
        self.extra = extra
        self.missing = missing


# -- what came is not acceptable -------------------------------------------------------------


class RefusedError(IndextrustError):
    """Something came and was refused.

    Args:
        what: what is wrong, in one clause.
        where: which role, file or field it is about (``in 'snapshot': meta['bins.json']``).
        expected: what would have been accepted.
        got: what came, shortened for printing.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: object = None,
        got: object = None,
    ) -> None:
        self.what = what = _short(what)
        self.where = where = _short(where)
        self.expected = None if expected is None else _short(expected)
        self.got = None if got is None else _short(got)
        parts = [f"{where}: {what}" if where else what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        super().__init__("; ".join(parts))


class MalformedError(RefusedError):
    """Bytes that are not in the one form the format allows."""


class SignatureError(RefusedError):
    """Fewer valid signatures by distinct trusted keys than the threshold asks for."""


class ExpiredError(RefusedError):
    """Metadata whose time is over at the reference time: a freeze attack, or a stale server."""


class RollbackError(RefusedError):
    """A version lower than one that was trusted before."""


class WrongVersionError(RefusedError):
    """A version that is not the one that was asked for."""


class LengthError(RefusedError):
    """More or fewer bytes than were vouched for, or more than the limit."""


class HashMismatchError(RefusedError):
    """Bytes whose hash is not the one that was vouched for."""


class MissingRoleError(RefusedError):
    """A role that is delegated to, or was listed before, and is not in the snapshot."""


class UnsafePathError(RefusedError):
    """A target path or role name that could leave its place."""


class ProfileError(RefusedError):
    """Validly signed, and yet against the rules of the index profile (names, hashes, layout)."""


class BadFingerprintError(RefusedError):
    """A root file whose SHA-256 is not the one the person gave."""


class CheckpointError(RefusedError):
    """A checkpoint that is not the one whose digest the person gave, or none at all."""


class AlarmError(RefusedError):
    """Refused, and a person should look: the evidence is in the message and kept on disk."""


class EquivocationError(AlarmError):
    """Two different contents under one role and version."""


class OutdatedRootError(AlarmError):
    """A root older than the user's policy allows: a newer one may be withheld from us."""


class ChangedArtifactError(AlarmError):
    """A file's digest is not the one first seen under this name, whoever signed it.

    Args:
        filename: the distribution file's name.
        remembered: SHA-256 first seen, lower-case hex.
        offered: SHA-256 offered now, lower-case hex.
        first_seen: when the first was seen (ISO 8601, UTC), and under which snapshot.
    """

    def __init__(self, filename: str, *, remembered: str, offered: str, first_seen: str) -> None:
        super().__init__(
            f"changed since it was first seen ({first_seen})",
            where=filename,
            expected=f"sha256 {remembered}",
            got=f"sha256 {offered}",
        )
        self.filename = filename
        self.remembered = remembered
        self.offered = offered
        self.first_seen = first_seen


class KnownBadArtifactError(AlarmError):
    """The operator's incident record, under his offline keys, calls this very file bad.

    Args:
        filename: the distribution file's name.
        offered: SHA-256 offered now, lower-case hex.
        incident: the record's id.
        summary: what the record says happened.
    """

    def __init__(self, filename: str, *, offered: str, incident: str, summary: str) -> None:
        super().__init__(
            f"incident record {incident} calls it bad ({summary:.120})",
            where=filename,
            got=f"sha256 {offered}",
        )
        self.filename = filename
        self.offered = offered
        self.incident = incident
        self.summary = summary


class RemovedArtifactError(AlarmError):
    """A file that was listed before, under this name, is listed no more."""


# -- nothing usable came ---------------------------------------------------------------------


class UnreachableError(IndextrustError):
    """The server or the network gave no usable answer. Says nothing about what the index holds."""


class BudgetExceededError(UnreachableError):
    """A budget of ours (seconds, bytes, roots, roles) ran out before the answer was complete."""


# -- the trusted answer is "no" --------------------------------------------------------------


class NotListedError(IndextrustError):
    """The trusted metadata lists no such project or file. It may be awaiting publication."""


# -- this machine ----------------------------------------------------------------------------


class UnsupportedKeyError(IndextrustError):
    """A key that can't be verified here, for want of a library or of support for its type.

    Not a refusal: the signature was never examined.
    """


class StoreError(IndextrustError):
    """Our own files could not be read or written; what was there before is intact."""


class ConflictError(StoreError):
    """Other processes kept changing the same trusted state for longer than we retry."""


class PortInUseError(IndextrustError):
    """The address to listen on is taken."""


# -- operators and keyholders ----------------------------------------------------------------


class RepositoryError(IndextrustError):
    """The repository can't do what was asked; its state is as before."""


class RepositoryVersionError(RepositoryError):
    """A repository folder, state database or key file in a format of another version."""


class AlteredStateError(RepositoryError):
    """The state database says what this repository never wrote there: nothing of it is signed.

    Or it lacks what was written: it is an older copy. The message names the entry or the role.
    """


class FrozenError(RepositoryError):
    """The repository is frozen: a person said that nothing is to be signed."""


class DistributionError(RepositoryError):
    """A file that is no acceptable distribution: not an archive, a wrong name, other METADATA."""


class SigningError(RepositoryError):
    """A signer failed, or gave a signature that its own public key does not verify.

    Nothing of what was to be signed was published.
    """


class CeremonyError(IndextrustError):
    """A ceremony step that must not be done: too few keyholders, a wrong key, a broken chain."""


class KeyFileError(CeremonyError):
    """A key file that is missing, readable by others, or not what it should be."""


class PassphraseError(KeyFileError):
    """A wrong passphrase, or none for an encrypted key. The passphrase is never in the message."""


def _short(value: object, limit: int = 200) -> str:
    """Shorten hostile or large values for a message, escaping what a terminal would obey."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text[: limit + 1]
    )
    return text if len(text) <= limit else text[:limit] + "..."
