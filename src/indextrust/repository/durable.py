"""Durability: what was written is on the disk when a call returns, for one file or for thousands.

The cost of durability is the waiting, not the bytes: an fsync of each of 16,384 small files takes
half a minute where writing them takes two seconds. So files are written without waiting, and made
durable together, by one of two ways with the same promise:

* One or two: each is fsynced, files first.
* More, on a local Linux file system: one ``syncfs``, which writes all that is unwritten on the
  file system, names included, and waits for the disk. It has to do other programs' writing as
  well, so keep a repository off the file system of a busy database; still it is ten times as
  fast as seven fsyncs, each of which waits for a commit of the journal of its own.

``syncfs`` is used only where it is known to promise as much as fsync: on the file systems of
`_LOCAL` (on network and user-space file systems it need not reach the server's disk; that of an
overlay, such as the root of a container, does not report what failed on the file system below),
and from Linux 5.17 on. (From 5.8 on it reports files that could not be written; before 5.17 it
kept quiet when the file system's own part failed, the commit of the journal or the flush of the
disk's cache, of which an fsync tells.) Failed writing of files is reported to a descriptor that
was open while it happened: that is why one is held from the first file on.
``os.sync`` reports none, so it is no substitute. Everywhere else each file is fsynced, by several
threads: the file system's journal commits them in groups.

Where thousands of files are written, which takes seconds, the disk begins meanwhile
(`Batch.ahead`): else it would have nothing to do until the end, and all would wait for it then.
What it refuses then is kept and raised by `Batch.sync`. That is needed: a file that could not be
written is told to every descriptor that was open, but a journal that could not be committed, or a
flush of the disk's own cache that failed, only to the call that asked for it.

One ``syncfs`` covers a whole batch because the batch is on one file system: every file came to
its place by a rename or a hard link out of one scratch folder, and neither crosses a mount. Files
under a version number are written in place, in the one folder of metadata: where that is another
mount the rename of ``timestamp.json`` fails, and nobody is told of them.

Sources: syncfs(2), fsync(2); "PostgreSQL's fsync() surprise" (LWN, 2018) for lost errors. Linux,
for who is told of which: Documentation/core-api/errseq.rst, fs/sync.c, ext4_sync_fs(), and commit
5679897eb104 of 5.17, "vfs: make sync_filesystem return errors from ->sync_fs".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["Batch", "fsync_file", "fsync_folder"]

_FEW = 2
_THREADS = 16
_AHEAD = 0.2
"""Seconds between two times that `Batch.ahead` has the disk write."""

_LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs"})
_MOUNTS = Path("/proc/self/mountinfo")


def fsync_file(path: str | Path) -> None:
    """Make the bytes of a file durable. Raises OSError."""
    _fsync(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def fsync_folder(folder: str | Path) -> None:
    """Make the names in `folder` durable. Raises OSError."""
    _fsync(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _fsync(path: str | Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Batch:
    """Files and folders that were written and are not durable yet.

    Every method may raise `OSError`. After one in `sync` nothing of the batch counts as durable:
    it has to be written again.

    Args:
        home: a folder on the file system of all of them.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._witness: int | None = None
        self._files: dict[str, None] = {}
        self._folders: set[str] = set()
        self._failed: list[OSError] = []

    def begin(self) -> None:
        """Call this before a file is written: failures are seen from the first call on."""
        if self._witness is None:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._witness = os.open(self._home, flags)

    def add(self, file: str | Path) -> None:
        """A file whose bytes were written."""
        self._files[os.fspath(file)] = None

    def rename(self, old: str | Path, new: str | Path, folder: int) -> None:
        """Give a file its name; one that was not durable still is not.

        Args:
            old: its name until now.
            new: its name from now on.
            folder: a descriptor of the folder of `new`.
        """
        self.begin()
        os.replace(old, os.path.basename(new), dst_dir_fd=folder)
        if self._files.pop(os.fspath(old), old) is None:
            self._files[os.fspath(new)] = None
        self._folders.add(os.path.dirname(new))

    def add_folder(self, folder: str | Path) -> None:
        """A folder that got or lost a name."""
        self._folders.add(os.fspath(folder))

    @contextlib.contextmanager
    def ahead(self) -> Iterator[None]:
        """While many files are written in the block, have the disk write what is there of them.

        It leaves less for `sync` to wait for, and takes nothing from it: `sync` asks for all of
        it again, by a descriptor that this does not use, and raises what failed here. If the
        block fails nobody waits for the disk: then the batch is to be abandoned.
        """
        syncfs = _syncfs(self._home)
        if syncfs is None:
            yield
            return
        done = threading.Event()
        arguments = (self._home, syncfs, done, self._failed)
        thread = threading.Thread(target=_now_and_then, args=arguments, name="durable", daemon=True)
        try:
            with contextlib.suppress(RuntimeError):  # none is to be had: it would only save time
                thread.start()
            yield
        finally:
            done.set()
        if thread.is_alive():
            thread.join()

    def abandon(self) -> None:
        """Forget them."""
        self._files.clear()
        self._folders.clear()
        self._failed = []  # not emptied: a thread may still have the old one
        if self._witness is not None:
            os.close(self._witness)
            self._witness = None

    def sync(self) -> None:
        """Make them durable, bytes before names."""
        files, folders = list(self._files), sorted(self._folders)
        try:
            if self._failed:
                raise self._failed[0]
            if len(files) + len(folders) <= _FEW:
                _each(files, folders, map)
            elif self._witness is not None and (syncfs := _syncfs(self._home)) is not None:
                syncfs(self._witness)
            else:
                with ThreadPoolExecutor(_THREADS) as threads:
                    _each(files, folders, threads.map)
        finally:
            self.abandon()


def _now_and_then(
    home: Path, syncfs: Callable[[int], None], done: threading.Event, failed: list[OSError]
) -> None:
    """Have the disk write until `done`, or until that fails."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # nothing was asked for, so nothing was refused
    try:
        while not done.wait(_AHEAD):
            syncfs(descriptor)
    except OSError as error:
        failed.append(error)
    finally:
        os.close(descriptor)


def _each(
    files: Iterable[str],
    folders: Iterable[str],
    run: Callable[[Callable[[str], None], Iterable[str]], Iterable[None]],
) -> None:
    list(run(fsync_file, files))
    list(run(fsync_folder, folders))


def _syncfs(home: Path) -> Callable[[int], None] | None:
    """``syncfs`` if it promises on the file system of `home` what fsync does."""
    if not sys.platform.startswith("linux") or _file_system(home) not in _LOCAL:
        return None
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < (5, 17):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None

    def syncfs(descriptor: int) -> None:
        if function(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs


def _file_system(home: Path) -> str | None:
    """The kind of file system, as Linux names it; None if it can't be told."""
    device = os.stat(home).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError, ValueError), _MOUNTS.open() as lines:
        for line in lines:
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return None
