"""A recovery, step by step: from the theft to clients that see the good state again.

`Recovery.start` freezes and remembers; then there is a method for each step. Here is what each
changes, and what has to come before it; what lies between two steps, and what is refused of that,
is in `indextrust.ceremony.recovery_questions`.

What it guarantees:

* Nothing is installed under which a stolen key is trusted by any path (`recovery.check_cured`),
  and no decision is forgotten: files without one stop it.
* A thief who goes on writing while people decide can't hold it up: what is installed follows from
  the state, the decisions and new keys, not from what is served. What he changed after the audit
  is undone too, and said at the end; only the incident record lacks it.
* Every step may be cut short anywhere and done again: its result is written before
  ``recovery.json`` says so.

From a script::

    recovery = Recovery.start(repository, ["timestamp"], summary="…", checkpoint=(path, digest))
    recovery = recovery.audit()                # writes decisions.txt
    recovery = recovery.decide()
    recovery = recovery.propose(Change(online=new_public_key))
    …                                          # keyholders sign recovery.event
    recovery = recovery.finish()
    recovery = recovery.install(new_signer)
    recovery = recovery.verify()
    recovery = recovery.thaw()

Source: PEP 458, "In the Event of a Key Compromise".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Signer

from indextrust.ceremony.check import read_roles
from indextrust.ceremony.decisions import read_decisions, to_trees, write_decisions
from indextrust.ceremony.event import Proposed
from indextrust.ceremony.event_file import create_event, create_folder, read_event, replace_file
from indextrust.ceremony.findings import (
    check_sound,
    items_of,
    names_of,
    notes_of,
    records_of,
)
from indextrust.ceremony.finish import check_finished, outputs
from indextrust.ceremony.judge import judge
from indextrust.ceremony.keyholders import Profile
from indextrust.ceremony.proposal import Change, propose_next
from indextrust.ceremony.recovery import Cure, check_cured, make_plan
from indextrust.ceremony.recovery_file import Progress, read_progress, write_progress
from indextrust.ceremony.recovery_questions import (
    DECISIONS,
    EVENT,
    FINISHED,
    FOLDER,
    RecoveryQuestions,
)
from indextrust.ceremony.tools import software, tools
from indextrust.ceremony.words import missing
from indextrust.distribution import is_plain_text
from indextrust.errors import CeremonyError, InputError, StoreError
from indextrust.repository import Repository
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.repository.disk import read_bounded, storing
from indextrust.repository.log import author
from indextrust.repository.plan import utc
from indextrust.repository.results import Published

__all__ = ["Recovery"]

_MAX_DECISIONS = 1 << 28
_NAMED = 100


@dataclass(frozen=True)
class Recovery(RecoveryQuestions):
    """A recovery under way. Each step gives the recovery after it.

    Args:
        repository, progress, now: as for `RecoveryQuestions`.
        published: what `install` published.
    """

    published: Published | None = None

    # -- beginning ---------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        repository: Repository,
        compromised: Sequence[str],
        *,
        summary: str,
        checkpoint: tuple[Path, str] | None = None,
        by: str | None = None,
        queue_key: Path | None = None,
        now: datetime | None = None,
    ) -> Recovery:
        """Begin: freeze if an online key was stolen, and remember what to do.

        Args:
            repository: to be recovered.
            compromised: which keys (`recovery.make_plan`).
            summary: what happened, one line, for users; it goes into the incident record.
            checkpoint: file and digest of what is known to be good, the digest from another place
                than the server; needed if an online key was stolen.
            by: who says so.
            queue_key: as for `Repository.open`, to log the freeze.
            now: aware; None for the clock.

        Raises:
            CeremonyError: another recovery is under way; no such key; or no event helps, because
                a threshold of root keys was stolen.
            CheckpointError: not that checkpoint.
            InputError: no checkpoint, or no summary that people can read.
        """
        folder = repository.folder / FOLDER
        if (there := read_progress(folder)) is not None and there.step != "done":
            raise CeremonyError(f"a recovery is under way since {there.started}: {folder}")
        now = _now(now)
        current = read_roles(repository.signed_roles())
        plan = make_plan(current, compromised)
        if plan.cure is Cure.OUT_OF_BAND:
            raise CeremonyError("; ".join(plan.lines()))
        if not summary or not is_plain_text(summary):
            raise InputError(f"expected a summary of one printable line, got {summary[:80]!a}")
        good = _checked(checkpoint) if plan.audited else None
        frozen = repository.frozen()
        if plan.audited and frozen is None:
            words = f"recovery: {', '.join(compromised)}"[:500]
            frozen, _ = Repository.freeze(
                repository.folder, words, by=by, clock=lambda: now, queue_key=queue_key
            )
        with storing(f"write {folder}"):
            folder.mkdir(mode=0o700, exist_ok=True)
        _set_aside(folder, now)
        progress = Progress(
            compromised=tuple(compromised),
            stolen=tuple(sorted(one.key.keyid for one in plan.stolen)),
            summary=summary,
            started=utc(now),
            step="audit" if plan.audited else "propose",
            root=current.root.version,
            checkpoint=good,
            frozen=frozen.content.decode("latin-1") if frozen and plan.audited else None,
        )
        write_progress(folder, progress)
        return cls(repository, progress, now)

    @classmethod
    def found(cls, repository: Repository, *, now: datetime | None = None) -> Recovery:
        """The recovery that was started.

        Raises:
            CeremonyError: none was; or its file is damaged.
        """
        progress = read_progress(repository.folder / FOLDER)
        if progress is None:
            raise CeremonyError(f"{repository.folder}: no recovery was started")
        return cls(repository, progress, _now(now))

    # -- steps -------------------------------------------------------------------------------

    def audit(self) -> Recovery:
        """Compare what is served with the checkpoint, and propose what to do with each difference.

        May be done again until the decisions are read; then an edited file is overwritten.

        Raises:
            CeremonyError: log or state was altered: `Repository.rebuild` has to come first.
            CheckpointError: the checkpoint was altered.
        """
        self._at("audit", "decide")
        found = self.investigate()
        check_sound(found)
        items = items_of(found)
        replace_file(self.folder / DECISIONS, write_decisions(items).encode("utf-8"))
        return self._with(
            "decide", items=tuple(to_trees(items)), notes=tuple(notes_of(found)), log=self.log()
        )

    def decide(self, *, record: str | None = None) -> Recovery:
        """Read the decisions, and write the incident records that follow from them.

        Args:
            record: id of the first record; None for one that is made of the date.

        Raises:
            CeremonyError: the file of decisions is not complete; it names the line. Or the state
                was made anew since the audit, which has to come again.
            InputError: no such id.
        """
        self._at("decide")
        self._check_log()
        data = read_bounded(self.folder / DECISIONS, _MAX_DECISIONS)
        if data is None:
            raise StoreError(f"can't read {self.folder / DECISIONS}")
        items = read_decisions(data.decode("utf-8", "replace"), self.items)
        own = self.sources.take(items)
        name = record or f"{self.progress.started[:10]}-{self.progress.root + 1}"
        made, odd = records_of(
            *(items, self.sources.describe, own),
            name=name,
            summary=self.progress.summary,
            date=datetime.fromisoformat(self.progress.started),
        )
        notes = [*self.progress.notes]
        notes += [f"in no incident record: {path[:200]!r}" for path in odd[:_NAMED]]
        if len(odd) > _NAMED:
            notes.append(f"in no incident record: {len(odd) - _NAMED} more")
        for incident in made:
            replace_file(self.folder / f"{incident.id}.json", incident.encode())
        return self._with(
            "propose",
            items=tuple(to_trees(items)),
            records=tuple(incident.id for incident in made),
            notes=tuple(notes),
        )

    def propose(
        self,
        change: Change,
        *,
        by: str | None = None,
        profile: Profile | None = None,
    ) -> Recovery:
        """Propose the signing event that has the thief out.

        Removes the stolen keyholders and adds the incident record by itself. To propose something
        else before anybody signed, remove ``event.json`` and call it again.

        Args:
            change: the new online key, if the old one was stolen; keyholders that come.
            by: who proposes.
            profile: which clients must be able to verify; None for those of before.

        Raises:
            CeremonyError: the proposal would leave a stolen key trusted, or is none that
                keyholders may sign; or as `decide`. Or there is an event already, proposed on
                other decisions: then `decide` comes again.
        """
        self._at("propose", "sign")
        self._check_log()
        if self.event.exists():
            if lacking := self.lacking(read_event(self.event)):
                self._with("decide")
                raise CeremonyError(
                    f"{self.event} was proposed on other decisions: it lacks the incident record "
                    f"{lacking}. Change {DECISIONS} to what was decided then, and `recover next`. "
                    f"Or, if nobody can have seen its root, take {EVENT} and {FINISHED} away: "
                    f"another one is proposed"
                )
        else:
            plan, current = self.plan, self.before()
            if plan.audited and change.online is None:
                raise CeremonyError(
                    "the online key was stolen: give a new one, --online NAME.pub.json, made on a "
                    "clean machine (`indextrust key generate NAME.pem --role online`)"
                )
            stolen = {one.key.keyid for one in plan.stolen if "root" in one.roles}
            gone = [keyid for keyid in sorted(stolen) if keyid not in change.remove]
            change = replace(
                change,
                remove=(*change.remove, *gone),
                incidents=(*change.incidents, *self.records()),
            )
            proposed = Proposed(author(by), self.now, software())
            event = propose_next(current, change, profile=profile, proposed=proposed)
            check_cured(read_roles(current), judge(event).new, plan)
            create_event(self.event, event)
        self.judged()
        return self._with("sign")

    def finish(self) -> Recovery:
        """Take the event that enough keyholders have signed.

        Raises:
            CeremonyError: signatures are missing (it names who could sign); or a client, or this
                recovery, would refuse what was signed.
        """
        self._at("sign")
        judged = self.judged()
        if not judged.complete:
            raise CeremonyError(missing(judged))
        check_finished(judged, now=self.now)
        finished = self.folder / FINISHED
        if finished.exists():
            if self.finished().root != judged.event.roles.root:
                raise CeremonyError(f"{finished} is of another event: take it away")
        else:
            create_folder(finished, outputs(judged, now=self.now, tools=tools()))
        return self._with("install")

    def install(self, online: Signer) -> Recovery:
        """Publish the good state under the new keys.

        Args:
            online: signer of the online key that is in force from now on.

        Raises:
            CeremonyError: what was finished would leave a stolen key trusted; or as `decide`.
            FrozenError: somebody froze the repository again since the recovery began.
            RepositoryError, SigningError, StoreError: as `Repository.recover`.
        """
        self._at("install")
        self._check_log()
        roles, before = self.finished(), self.before()
        chain = replace(roles, root=(*before.root, *roles.root))
        check_cured(read_roles(before), read_roles(chain), self.plan)
        items, sources = [item for item in self.items if item.is_file], self.sources
        published = self.repository.recover(
            roles,
            online,
            self.frozen(),
            add=[wanted for item in items if (wanted := sources.wanted(item)) is not None],
            remove=names_of(
                [item for item in items if item.outcome is None and item.ours is not None]
            ),
        )
        return replace(self._with("verify"), published=published)

    def verify(self) -> Recovery:
        """Look at what is served now, as a client does.

        Where that is not as it was installed, `install` comes again: it does away with whatever was
        written to the public folder since.

        Raises:
            CeremonyError: a stolen key is listed; or a file is not as was decided.
            CheckpointError, StoreError: the checkpoint can't be read.
        """
        self._at("verify")
        try:
            self.check_served()
        except CeremonyError as error:
            self._with("install")
            raise CeremonyError(
                f"{error}. Somebody wrote to the public folder since: keep him out; `recover next` "
                f"installs again"
            ) from error
        return self._with("done" if self.progress.frozen is None else "thaw")

    def thaw(self, reason: str | None = None) -> Recovery:
        """End the freeze: timers may sign again.

        Raises:
            FrozenError: it was frozen again since the recovery began: that is for a person.
        """
        self._at("thaw")
        frozen = self.repository.frozen()
        if frozen is not None:
            if frozen != self.frozen():
                raise CeremonyError(f"{frozen}: that was said after the recovery began; thaw it")
            self.repository.thaw(reason or f"recovered: {self.progress.summary}"[:500])
        return self._with("done")

    # -- parts -------------------------------------------------------------------------------

    def _at(self, *steps: str) -> None:
        if self.progress.step not in steps:
            raise CeremonyError(
                f"the next step of this recovery is {self.progress.step!r}, not {steps[0]!r}"
            )

    def _check_log(self) -> None:
        """Refuse decisions on another state than there is. Raises CeremonyError."""
        if self.progress.log and self.progress.log != self.log():
            self._with("audit")
            raise CeremonyError(
                "the state was made anew since the audit, so it has nothing of what came after the "
                "checkpoint: `recover next` audits again. An event that was signed stays good if "
                "the incident record follows from the new decisions too"
            )

    def _with(self, step: str, **changed: object) -> Recovery:
        progress = replace(self.progress, step=step, **changed)  # type: ignore[arg-type]
        write_progress(self.folder, progress)
        return replace(self, progress=progress)


def _now(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def _checked(checkpoint: tuple[Path, str] | None) -> tuple[str, str]:
    """The checkpoint that was named, looked at. Raises InputError, CheckpointError."""
    if checkpoint is None:
        raise InputError(
            "an online key was stolen: a checkpoint and its digest are needed to tell what is good"
        )
    path, digest = checkpoint
    with read_checkpoint(path, digest) as good:
        return str(path.absolute()), good.digest


def _set_aside(folder: Path, now: datetime) -> None:
    """Make room for a new recovery: the files of the last one, into a folder of their own."""
    left = sorted(path for path in folder.iterdir() if not path.name.startswith("before-"))
    if left:
        aside = folder / f"before-{utc(now).replace(':', '').replace('-', '')}"
        with storing(f"write {aside}"):
            aside.mkdir()
            for path in left:
                path.rename(aside / path.name)
