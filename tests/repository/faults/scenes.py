"""Indexes at the moment before something is done to them, and what must hold afterwards.

A scene is a folder that is copied for each fault, so that thousands of faults meet the same
index. `SCENES` are the change sets: the seeds of the fault tests.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from indextrust.ceremony import BinScheme, rotate
from indextrust.repository import Repository
from tests.repository.faults.jobs import Job
from tests.repository.faults.readers import Index, Reader, numbered, whole
from tests.repository.faults.workshop import Workshop
from tests.repository.place import Clock, Place

__all__ = [
    "SCENES",
    "Scene",
    "Sight",
    "check_recovery",
    "copy",
    "kept",
    "look",
    "prepare",
    "today",
]

LOOKED_AT = 4
"""Targets that the readers look up and download; `whole` looks at all of them."""


@dataclass(frozen=True)
class Scene:
    """An index, and what is about to be done to it.

    Args:
        folder: holds ``index``, ``online.pem``, ``roles``, and ``home``, that of a client which
            has read what is published (absent if nothing is).
        root: that clients start from.
        job: what is about to be done.
        before: the published targets; None if nothing is published.
        after: the published targets when it is done.
        mend: the operation that completes it if it was interrupted.
        seen: version of the timestamp before.
    """

    folder: Path
    root: bytes
    job: Job
    before: dict[str, str] | None
    after: dict[str, str]
    mend: str = "publish"
    seen: int = 0

    @property
    def index(self) -> Path:
        """The repository's folder."""
        return self.folder / "index"

    @property
    def public(self) -> Path:
        """The served folder."""
        return self.index / "public"

    @property
    def paths(self) -> list[str]:
        """Target paths worth looking up: those that change, and others."""
        before, after = self.before or {}, self.after
        both = sorted(before.keys() | after.keys())
        changed = [path for path in both if before.get(path) != after.get(path)]
        return (changed + [path for path in both if path not in changed])[:LOOKED_AT]

    def again(self, what: str, *, patience: float = 60.0) -> Job:
        """Another operation on the same index."""
        return replace(self.job, what=what, patience=patience)

    def returning(self) -> Reader:
        """A client that has read what was published before; a fresh one if nothing was."""
        return Reader(self.folder / "home", self.root)

    def fresh(self, name: str) -> Reader:
        """A client that was never here."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return Reader(self.folder / name, self.root)


def today() -> datetime:
    """The time, in whole seconds: tuf's `Updater` reads the machine's clock."""
    return datetime.now(UTC).replace(microsecond=0)


def copy(scene: Scene, folder: Path) -> Scene:
    """The same scene in another folder, which is made."""
    subprocess.run(["cp", "-a", str(scene.folder), str(folder)], check=True)
    return replace(scene, folder=folder, job=replace(scene.job, folder=folder))


def _mixed(place: Place) -> str:
    """Files are added and removed, one is yanked, there is a new project."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "1.1"), place.wheel("other", "1"))
    place.repository.add(place.wheel("demo", "2.0"), place.wheel("new", "1.0"))
    place.repository.remove("demo", "demo-1.0-py3-none-any.whl")
    place.repository.yank("other", "other-1-py3-none-any.whl", "broken")
    return "publish"


def _add(place: Place) -> str:
    """One file is added to a project."""
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    return "publish"


def _renew(place: Place) -> str:
    """All online roles are signed anew, and nothing is queued."""
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=1)
    return "renew-all"


def _create(place: Place) -> str:
    """The repository is made, and published for the first time."""
    shutil.rmtree(place.repository.folder)
    return "create"


def _install(place: Place) -> str:
    """The online key was stolen: new offline roles and a new online key are installed."""
    place.publish(place.wheel("demo", "1.0"))
    place.online = CryptoSigner.generate_ed25519()
    place.roles = place.rotation(place.online)
    return "install"


def _rebin(place: Place) -> str:
    """The keyholders have signed roles for twice as many bins."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    scheme = BinScheme.of(2 * place.bins)
    keys = place.keyholders[:2], place.online.public_key
    place.roles = rotate(place.roles, *keys, bins=scheme, now=place.clock.now)
    return "rebin"


def _restore(place: Place) -> str:
    """A plain name leads to an altered file, and the operator repairs the folder."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    plain = place.public / "files/other/other-1.0-py3-none-any.whl"
    plain.unlink()
    plain.write_bytes(b"altered")
    return "restore"


def _rehash(place: Place) -> str:
    """A step of the hash transition is queued: files and documents get names with a SHA-512."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    place.repository.rehash()
    return "publish"


def _published(place: Place) -> str:
    """Two projects are published, and nothing is queued."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "1.1"), place.wheel("other", "1"))
    return "publish"


SCENES: dict[str, Callable[[Place], str]] = {
    "mixed": _mixed,
    "add": _add,
    "renew": _renew,
    "create": _create,
    "install": _install,
    "restore": _restore,
    "rebin": _rebin,
    "rehash": _rehash,
    "many": _renew,
}
"""By name: puts the index into the state before, and says which operation is about to begin."""

_CALM = {"published": _published}
_BINS = {"many": 1_024}
_MEND = {"create": "mend", "install": "mend", "restore": "restore", "rebin": "rebin"}


def prepare(name: str, folder: Path, workshop: Workshop) -> Scene:
    """Make a scene in a new folder."""
    made = folder / "scene"
    made.mkdir(parents=True)
    now = today() - timedelta(minutes=1)
    arrange = {**SCENES, **_CALM}[name]
    early = timedelta(hours=1) if arrange is _renew else timedelta(0)
    place = Place(made, Clock(now - early), bins=_BINS.get(name, 4))
    root = place.roles.root[0]
    what = arrange(place)
    place.roles.save(made / "roles")
    private = place.online._private_key
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (made / "online.pem").write_bytes(pem)
    job = Job(made, what, now)
    scene = Scene(made, root, job, None, {}, _MEND.get(what, "publish"))
    tried = copy(scene, folder / "tried")
    ended = workshop.run(tried.job)
    assert ended.how == "returned", ended.trace
    scene = replace(scene, after=whole(tried.public, root).targets)
    if what != "create":
        index = whole(scene.public, root)
        scene = replace(scene, before=index.targets, seen=index.versions["timestamp"])
        scene.returning().read(scene.public, scene.paths)
    return scene


@dataclass(frozen=True)
class Sight:
    """What readers saw at some moment.

    Args:
        index: the complete snapshot that is served; None if nothing is published.
        names: SHA-256 of every file whose name stands for one content for good.
        refused: whether it was the moment between a new root and its timestamp.
    """

    index: Index | None
    names: dict[str, str]
    refused: bool = False


def look(scene: Scene, *, returning: bool = True) -> Sight:
    """A fresh client and a returning one read; what is served is the index before, or after.

    Args:
        scene: where.
        returning: whether a client that was there before reads as well.
    """
    names = numbered(scene.public)
    if scene.before is None and not (scene.public / "metadata" / "timestamp.json").exists():
        return Sight(None, names)
    if _between_root_and_timestamp(scene):
        with pytest.raises(RepositoryError, match="was signed by 0/"):
            scene.fresh("fresh").read(scene.public, scene.paths)
        with pytest.raises(RepositoryError):
            scene.returning().read(scene.public, scene.paths)
        return Sight(None, names, refused=True)
    index = whole(scene.public, scene.root)
    assert index.targets in (scene.before, scene.after)
    expected = {path: index.targets[path] for path in scene.paths if path in index.targets}
    readers = [scene.fresh("fresh"), *([scene.returning()] if returning else [])]
    for reader in readers:
        read = reader.read(scene.public, scene.paths)
        assert read.targets == expected
        assert read.versions.items() <= index.versions.items()
    return Sight(index, names)


def _between_root_and_timestamp(scene: Scene) -> bool:
    """Whether a new root is served, and the timestamp is still the one from before it: a moment
    in which clients refuse what they find (the publisher's module says so)."""
    metadata = scene.public / "metadata"
    new_root = (metadata / "2.root.json").exists()
    version = Metadata[Timestamp].from_file(str(metadata / "timestamp.json")).signed.version
    return new_root and version <= scene.seen


def check_recovery(scene: Scene, workshop: Workshop, seen: Sight, *, again_at: int = 0) -> None:
    """A fresh process completes what was interrupted, and every promise holds.

    Args:
        scene: an interrupted one.
        workshop: makes the process.
        seen: what readers saw before.
        again_at: kill the recovery, too, at this call, and recover from that.
    """
    mend = scene.again(scene.mend)
    if again_at:
        workshop.kill(mend, again_at)
        kept(seen, look(scene))
    ended = workshop.run(mend)
    assert ended.how == "returned", ended.trace
    after = look(scene)
    kept(seen, after)
    assert after.index is not None
    assert after.index.targets == scene.after
    ended = workshop.run(scene.again("publish"))
    assert ended.how == "returned", ended.trace
    assert ended.value.nothing_to_do
    assert look(scene) == after
    repository = Repository.open(scene.index, clock=lambda: scene.job.now)
    status = repository.status()
    assert (status.queued, status.interrupted) == (0, False)
    assert repository.audit().clean
    assert list((scene.index / "incoming").iterdir()) == []


def kept(before: Sight, after: Sight) -> None:
    """No version fell, and no name got other bytes."""
    if before.index is not None and not after.refused:
        assert after.index is not None
        for name, version in before.index.versions.items():
            assert after.index.versions.get(name, version) >= version, name
    for name, digest in before.names.items():
        assert after.names.get(name, digest) == digest, name
