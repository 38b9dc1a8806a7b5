"""Exit codes: one number for each kind of ending, in one table.

The table is what scripts may rely on. It is printed in docs/command-line.md, and a test holds
the two together. An error takes the code of the nearest of its classes that has a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from indextrust import errors

__all__ = [
    "AFFECTED",
    "AUDIT_ALARM",
    "AUDIT_QUEUED",
    "BUG",
    "DEMO_FAILED",
    "INTERRUPTED",
    "REFUSED_IN_RUN",
    "TABLE",
    "USAGE",
    "ExitCode",
    "exit_code",
]

BUG = 1
USAGE = 2
DEMO_FAILED = 3
AUDIT_QUEUED = 50
AUDIT_ALARM = 51
REFUSED_IN_RUN = 90
AFFECTED = 91
INTERRUPTED = 130


@dataclass(frozen=True)
class ExitCode:
    """One row.

    Args:
        code: what the process exits with.
        meaning: when, in one sentence.
        error: the class of errors that end so; None where no error of ours does.
    """

    code: int
    meaning: str
    error: type[BaseException] | None = None


TABLE: tuple[ExitCode, ...] = (
    ExitCode(0, "Done."),
    ExitCode(BUG, "A bug in indextrust: an error nobody foresaw. `-v -v` shows the traceback."),
    ExitCode(
        USAGE,
        "The command line, a name, a URL or another value given can't be used.",
        errors.InputError,
    ),
    ExitCode(DEMO_FAILED, "`indextrust demo`, `indextrust drill`: an act did not go as written."),
    ExitCode(10, "Something came and was refused; nothing of it was kept.", errors.RefusedError),
    ExitCode(
        11, "Refused, and a person should look: the evidence is in the message.", errors.AlarmError
    ),
    ExitCode(
        12, "The server or the network gave no usable answer in time.", errors.UnreachableError
    ),
    ExitCode(
        13, "The trusted metadata lists no such project, release or file.", errors.NotListedError
    ),
    ExitCode(14, "A key that can't be verified on this machine.", errors.UnsupportedKeyError),
    ExitCode(15, "Files of ours could not be read or written.", errors.StoreError),
    ExitCode(16, "Other processes kept changing the same state.", errors.ConflictError),
    ExitCode(17, "The address to listen on is taken.", errors.PortInUseError),
    ExitCode(20, "The repository can't do what was asked.", errors.RepositoryError),
    ExitCode(
        21, "A repository or key in a format of another version.", errors.RepositoryVersionError
    ),
    ExitCode(22, "A file that is no acceptable distribution.", errors.DistributionError),
    ExitCode(23, "The repository is frozen: nothing is signed.", errors.FrozenError),
    ExitCode(30, "A step of a ceremony that must not be done.", errors.CeremonyError),
    ExitCode(31, "A key file that is missing, or not what it should be.", errors.KeyFileError),
    ExitCode(32, "A wrong passphrase, or none.", errors.PassphraseError),
    ExitCode(40, "Packages of an extra are not installed; it is named.", errors.MissingExtraError),
    ExitCode(AUDIT_QUEUED, "`audit`: there are differences, and all of them were queued."),
    ExitCode(
        AUDIT_ALARM,
        "`audit`: something differs that nobody queued, or that can't be read. `checkpoint "
        "compare`: the two differ. `repair`: not all could be restored.",
    ),
    ExitCode(
        REFUSED_IN_RUN,
        "`indextrust run`: something was refused, or an alarm was raised, while the child ran, "
        "however the child ended. Otherwise `run` exits with the child's own code.",
    ),
    ExitCode(
        AFFECTED, "`indextrust scan`: something installed is affected by an incident, or may be."
    ),
    ExitCode(INTERRUPTED, "Interrupted from the keyboard.", KeyboardInterrupt),
)

_BY_ERROR = {row.error: row.code for row in TABLE if row.error is not None}


def exit_code(error: BaseException) -> int:
    """The code for `error`: that of the nearest class in its method resolution order."""
    for cls in type(error).__mro__:
        if cls in _BY_ERROR:
            return _BY_ERROR[cls]
    return BUG
