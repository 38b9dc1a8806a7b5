"""What is known of a recovery between two steps, and what must be refused of it. Changes nothing.

Between the steps a recovery is what lies in the folder ``recovery`` of the repository:

* ``recovery.json``: how far it is (`indextrust.ceremony.recovery_file`);
* ``decisions.txt``: what is to become of each difference, for people to edit;
* ``ID.json``: the incident record that follows from the decisions, or several;
* ``event.json``: the signing event, to be carried to the keyholders, and merged back here;
* ``finished/``: what leaves the room, as `ceremony finish` writes it.

People edit these files and carry them about, and days go by between two steps. So a question reads
them again whenever it is asked, and an event is judged again: it is taken only if it follows the
root that was in force at the start, has the incident records that the decisions led to, and leaves
no stolen key trusted (`recovery.check_cured`).

The steps are those of `indextrust.ceremony.recoverer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key

from indextrust.ceremony.check import read_roles
from indextrust.ceremony.decisions import Item, from_trees
from indextrust.ceremony.event import Event
from indextrust.ceremony.event_file import read_event
from indextrust.ceremony.findings import check_decided
from indextrust.ceremony.incidents import read_incident
from indextrust.ceremony.judge import judge
from indextrust.ceremony.judged import Judged
from indextrust.ceremony.recovery import RecoveryPlan, check_cured, make_plan
from indextrust.ceremony.recovery_file import Progress
from indextrust.ceremony.sources import Sources
from indextrust.errors import CeremonyError, InputError, StoreError
from indextrust.incidents import Incident
from indextrust.repository import Repository
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.repository.freeze import Frozen
from indextrust.repository.investigation import Investigation
from indextrust.repository.roles import SignedRoles

__all__ = ["DECISIONS", "EVENT", "FINISHED", "FOLDER", "RecoveryQuestions"]

FOLDER, DECISIONS, EVENT, FINISHED = "recovery", "decisions.txt", "event.json", "finished"
"""Names: in the repository's folder, and in that."""


@dataclass(frozen=True)
class RecoveryQuestions:
    """The methods of `Recovery` that change nothing.

    Args:
        repository: opened without its online key, which may be the thief's.
        progress: how far it is.
        now: the time that the steps are dated with, aware, UTC.
    """

    repository: Repository
    progress: Progress
    now: datetime

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.repository.folder / FOLDER

    @property
    def event(self) -> Path:
        """The signing event."""
        return self.folder / EVENT

    @property
    def step(self) -> str:
        """The next step, of `recovery_file.STEPS`."""
        return self.progress.step

    @property
    def items(self) -> list[Item]:
        """What the audit found, with decisions as soon as there are some."""
        return from_trees(self.progress.items)

    @property
    def plan(self) -> RecoveryPlan:
        """The plan, for the roles that were in force when it began. Raises CeremonyError."""
        return make_plan(read_roles(self.before()), self.progress.stolen)

    @property
    def online_key(self) -> Key:
        """The public key of the online key in the finished event. Raises StoreError."""
        return read_roles(self.finished()).online_keys[0]

    @property
    def sources(self) -> Sources:
        """Where the bytes of files may be found."""
        repository, checkpoint = self.repository, self.progress.checkpoint
        return Sources(repository.folder, repository.public, checkpoint)

    # -- the state and what is served --------------------------------------------------------

    def log(self) -> str:
        """By what the log is recognised: its first entry has a number that nobody can guess.

        Raises:
            AlteredStateError: that entry was not written by this repository.
        """
        return next(entry.mac for entry in self.repository.transaction_log.chain(0))

    def investigate(self) -> Investigation:
        """Compare what is served now with the checkpoint, the log and the state.

        Raises:
            CeremonyError: there is no checkpoint, because no online key was stolen.
            CheckpointError: the checkpoint was altered.
            StoreError: the checkpoint, or the state, can't be read.
        """
        if self.progress.checkpoint is None:
            raise CeremonyError("there is nothing to audit: no online key was stolen")
        path, digest = self.progress.checkpoint
        with read_checkpoint(Path(path), digest) as good:
            return self.repository.investigate(good)

    def frozen(self) -> Frozen | None:
        """The freeze that it may sign under, if that is in force; None if there is none, or another
        one."""
        now = self.repository.frozen()
        said = self.progress.frozen
        return now if now and said is not None and now.content == said.encode("latin-1") else None

    def check_served(self) -> None:
        """Refuse what is served if it is not as it was installed.

        Raises:
            CeremonyError: a stolen key is listed; or a file is not as was decided.
            CheckpointError, StoreError: the checkpoint can't be read.
        """
        check_cured(read_roles(self.before()), read_roles(self._served()), self.plan)
        if self.progress.checkpoint is not None:
            check_decided(self.items, self.investigate())

    def _served(self) -> SignedRoles:
        """The offline roles that are served. Raises CeremonyError: some can't be read."""
        try:
            return SignedRoles.load(self.repository.public / "metadata")
        except (InputError, StoreError) as error:
            raise CeremonyError(f"{error}") from error

    # -- roles -------------------------------------------------------------------------------

    def before(self) -> SignedRoles:
        """The offline roles in force when it began, also when `install` has replaced them already.

        Where there is an event they come from it, and without incident records.

        Raises:
            CeremonyError: the file of the event has none.
            StoreError: it, or a private copy of these roles, can't be read.
        """
        if self.event.exists():
            event = read_event(self.event)
            if event.before is not None:
                return event.before
        return self.repository.signed_roles()

    def finished(self) -> SignedRoles:
        """The offline roles of the finished event, from the root after `before` on.

        Raises:
            InputError, StoreError: some can't be read.
        """
        return SignedRoles.load(self.folder / FINISHED / "public")

    # -- the event ---------------------------------------------------------------------------

    def judged(self) -> Judged:
        """The event, judged, and known to cure; whether enough have signed is in the answer.

        Raises:
            CeremonyError: another event than this recovery needs, one that leaves a stolen key
                trusted, or one without the incident records.
            RefusedError: the file of an incident record is none.
            StoreError: the event, or a record, can't be read.
        """
        judged = judge(read_event(self.event), now=self.now)
        if judged.old is None or judged.old.root.version != self.progress.root:
            raise CeremonyError(f"{self.event}: expected the event after root {self.progress.root}")
        check_cured(judged.old, judged.new, make_plan(judged.old, self.progress.stolen))
        if lacking := self.lacking(judged.event):
            raise CeremonyError(f"{self.event} lacks the incident record {lacking}")
        return judged

    def lacking(self, event: Event) -> str | None:
        """The first incident record of this recovery that an event does not carry, by its id.

        Raises:
            RefusedError: the file of a record is none.
            StoreError: one can't be read.
        """
        carried = event.incidents
        lacking = (one.id for one in self.records() if carried.get(one.path) != one.encode())
        return next(lacking, None)

    def records(self) -> list[Incident]:
        """The incident records that follow from the decisions.

        Raises:
            RefusedError: a file is none.
            StoreError: one can't be read.
        """
        return [read_incident(self.folder / f"{name}.json") for name in self.progress.records]
