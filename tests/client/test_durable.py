"""Writing files: complete or not there, and nobody's scraps stay."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from indextrust.client.durable import make_folder, replacing
from tests.client.processes import (
    failing_at_step,
    in_child,
    killed_before_step,
    visible,
    without_rights,
)

SCRAP = ".indextrust.0123456789abcdef.tmp"


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def test_what_a_killed_writer_left_the_next_one_removes(tmp_path: Path) -> None:
    """kill -9 at every call of a download into a person's folder. What it leaves is gone after
    the next download into that folder, of whatever file; the person's own files stay."""
    names = {"mine.tmp", ".indextrust.tmp", ".indextrust.notes", f"{SCRAP}.mine"}
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    number, scraps, reached = 0, 0, True
    while reached:
        number += 1
        reached = killed_before_step(number, lambda: _write(tmp_path / "demo.whl", b"x" * 1000))
        left = visible(tmp_path) - names - {"demo.whl"}
        scraps += len(left)
        assert len(left) <= 1
        _write(tmp_path / "other.whl", b"other")
        assert visible(tmp_path) - {"demo.whl"} == names | {"other.whl"}
        (tmp_path / "other.whl").unlink()
    assert (tmp_path / "demo.whl").read_bytes() == b"x" * 1000
    assert scraps >= 4


def test_a_file_that_is_being_written_is_nobodys_scrap(tmp_path: Path) -> None:
    """Two processes download the same file into one folder; the slow one began first."""
    path = tmp_path / "demo.whl"
    with replacing(path) as slow:
        slow.write(b"slow")
        assert in_child(lambda: _write(path, b"fast")) == "None"
        assert path.read_bytes() == b"fast"
        assert len(visible(tmp_path)) == 2
    assert path.read_bytes() == b"slow"
    assert visible(tmp_path) == {"demo.whl"}


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Each lists the folder and removes scraps while the others create and rename theirs."""
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(30):
                _write(tmp_path / "demo.whl", b"%d" % number * 100)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert visible(tmp_path) == {"demo.whl"}
    assert len((tmp_path / "demo.whl").read_bytes()) == 100


def test_a_scrap_that_is_taken_away_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between creating and locking it, a new file looks abandoned: another writer removes it."""
    create = os.open
    removed: list[str] = []

    def created(name: str, flags: int, *args: int, dir_fd: int | None = None) -> int:
        descriptor = create(name, flags, *args, dir_fd=dir_fd)
        if flags & os.O_CREAT and len(removed) < 3:
            os.unlink(name, dir_fd=dir_fd)
            removed.append(name)
        return descriptor

    monkeypatch.setattr(os, "open", created)
    _write(tmp_path / "demo.whl", b"x")
    assert len(removed) == 3
    assert visible(tmp_path) == {"demo.whl"}


def test_a_neighbour_who_locks_every_new_file_is_an_error_and_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that everybody may write to, a local user takes our locks before we do."""

    def taken(file: object, operation: int) -> None:
        raise BlockingIOError(errno.EAGAIN, "taken")

    monkeypatch.setattr("fcntl.flock", taken)
    with pytest.raises(OSError, match="others keep taking our temporary files"):
        _write(tmp_path / "demo.whl", b"x")
    assert visible(tmp_path) == set()


def test_a_file_system_without_locks_is_written_and_never_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr("fcntl.flock", unsupported)
    (tmp_path / SCRAP).write_bytes(b"somebody's, perhaps at work")
    _write(tmp_path / "demo.whl", b"x")
    assert visible(tmp_path) == {"demo.whl", SCRAP}


def test_planted_scraps_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    """A local user leaves a link, a FIFO and a folder under names of ours."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / SCRAP).symlink_to(victim)
    os.mkfifo(tmp_path / SCRAP.replace("0", "1"))
    (tmp_path / SCRAP.replace("0", "2")).mkdir()
    _write(tmp_path / "demo.whl", b"x")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "demo.whl").read_bytes() == b"x"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "demo.whl"
    for error in (errno.ENOSPC, errno.EIO):
        number, call = 0, "?"
        while call:
            number += 1
            path.write_bytes(b"old")
            call, result = failing_at_step(number, error, lambda: _write(path, b"new" * 1000))
            assert visible(tmp_path) == {"demo.whl"}
            if call:
                assert os.strerror(error) in result
                assert path.read_bytes() == b"old" or number > 6, call
        assert number > 6
        assert path.read_bytes() == b"new" * 1000


def test_what_is_written_nobody_else_may_change(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        _write(tmp_path / "demo.whl", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "demo.whl").stat().st_mode & 0o777 == 0o644


def test_folders_are_made_down_to_the_last(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"exists|Not a directory"):
            make_folder(path)
    (tmp_path / "a").chmod(0o555)
    tmp_path.chmod(0o755)
    answer = without_rights(lambda: make_folder(tmp_path / "a" / "new"))
    assert answer.startswith("PermissionError")
