"""What a disk may hold after the power failed, from a record of system calls.

The model is what POSIX and the file systems of `indextrust.repository.durable` promise, and no
more:

* The bytes of a file are durable after fsync or fdatasync of the file, or syncfs.
* A name is durable after fsync of its folder, or syncfs. fsync of a file makes no name durable.
* What was not made durable may be there or not, in any subset, whatever its order: a later
  write without an earlier one, a rename without the one before it.
* A write that was not made durable may be torn, at a multiple of 512 bytes.
* A rename is one event (in one transaction of the file system's journal): both names or neither.
* What was made durable stays.

Files and folders are nodes with numbers, as inodes are, so that bytes follow their node through
renames and links.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.repository.faults.workshop import Effect

__all__ = ["Disk", "Record", "read_disk"]

_SECTOR = 512
_ROOT = 0


@dataclass
class _Node:
    """A file's bytes, or a folder's names."""

    mode: int
    data: bytearray | None
    names: dict[str, int] = field(default_factory=dict)

    def copy(self) -> _Node:
        data = None if self.data is None else bytearray(self.data)
        return _Node(self.mode, data, dict(self.names))


@dataclass
class Disk:
    """Nodes by number; 0 is the index folder."""

    nodes: dict[int, _Node]

    def copy(self) -> Disk:
        return Disk({number: node.copy() for number, node in self.nodes.items()})

    def find(self, path: str) -> int:
        """The node of a path. Raises KeyError."""
        number = _ROOT
        for part in path.split("/"):
            number = number if part == "." else self.nodes[number].names[part]
        return number

    def write_to(self, folder: Path) -> None:
        """Make the folder as the disk has it. It must not exist."""
        self._write(_ROOT, folder, {})

    def _write(self, number: int, path: Path, made: dict[int, Path]) -> None:
        node = self.nodes[number]
        if number in made:
            os.link(made[number], path)
            return
        if node.data is None:
            path.mkdir()
            for name, child in node.names.items():
                self._write(child, path / name, made)
        else:
            path.write_bytes(node.data)
            made[number] = path
        path.chmod(node.mode)


def read_disk(folder: Path) -> Disk:
    """The disk that has this folder, everything durable."""
    numbers: dict[tuple[int, int], int] = {}
    nodes: dict[int, _Node] = {}

    def read(path: Path) -> int:
        found = path.lstat()
        number = numbers.setdefault((found.st_dev, found.st_ino), len(numbers))
        if number not in nodes:
            data = bytearray(path.read_bytes()) if path.is_file() else None
            nodes[number] = _Node(found.st_mode & 0o777, data)
            if data is None:
                nodes[number].names = {entry.name: read(entry) for entry in path.iterdir()}
        return number

    read(folder)
    return Disk(nodes)


@dataclass
class _Name:
    """A name that was given to a node, or (None) taken away; the node it had before, if any."""

    folder: int
    name: str
    node: int | None
    was: int | None = None


@dataclass
class _Event:
    """What one call did: names at once, or one change of a file's bytes.

    `durable` is the place of the call that made it durable; none if nothing did.
    """

    at: int
    names: tuple[_Name, ...] = ()
    file: int | None = None
    position: int = 0
    data: bytes | None = None
    size: int = 0
    durable: int | None = None


class Record:
    """The effects of an operation on a disk.

    Args:
        before: the disk before it.
        effects: what it did, in order.
    """

    def __init__(self, before: Disk, effects: Sequence[Effect]) -> None:
        self._before = before
        self._live = before.copy()
        self._events: list[_Event] = []
        self.length = len(effects)
        for at, effect in enumerate(effects):
            self._take(at, effect)

    def after_power_loss(self, length: int, chance: random.Random) -> Disk:
        """A disk as it may be when the power failed after the first `length` effects."""
        disk, luck = self._before.copy(), chance.choice((0.0, 0.5, 0.5, 0.9))
        for number, node in self._live.nodes.items():  # those that were made, still empty
            empty = None if node.data is None else bytearray()
            disk.nodes.setdefault(number, _Node(node.mode, empty))
        for event in self._events:
            if event.at >= length:
                break
            safe = event.durable is not None and event.durable < length
            if safe or chance.random() < luck:
                torn = not safe and chance.random() < 0.25
                _do(disk, event, chance if torn else None)
        return disk

    def live(self, length: int) -> Disk:
        """The disk as programs see it after the first `length` effects, while it has power."""
        disk = self._before.copy()
        for number, node in self._live.nodes.items():
            empty = None if node.data is None else bytearray()
            disk.nodes.setdefault(number, _Node(node.mode, empty))
        for event in self._events:
            if event.at < length:
                _do(disk, event, None)
        return disk

    def _take(self, at: int, effect: Effect) -> None:
        name, paths = effect.name, effect.paths
        if name in ("fsync", "fdatasync"):
            self._make_durable(at, self._live.find(paths[0]))
        elif name in ("syncfs", "sync"):
            self._make_durable(at, None)
        elif name in ("write", "pwrite64"):
            node = self._live.find(paths[0])
            self._event(_Event(at, file=node, position=effect.position, data=effect.data))
        elif name in ("truncate", "ftruncate"):
            self._event(_Event(at, file=self._live.find(paths[0]), size=effect.size))
        elif name in ("open", "openat"):
            if effect.fresh:
                self._make(at, paths[0], _Node(effect.mode, bytearray()))
            if effect.flags & os.O_TRUNC:
                self._event(_Event(at, file=self._live.find(paths[0])))
        elif name in ("mkdir", "mkdirat"):
            self._make(at, paths[0], _Node(effect.mode, None))
        elif name in ("link", "linkat"):
            self._event(_Event(at, (self._named(paths[1], self._live.find(paths[0])),)))
        elif name in ("rename", "renameat", "renameat2"):
            node = self._live.find(paths[0])
            if paths[1:] and self._has(paths[1]) == node:
                return  # two names of one file: rename() does nothing
            self._event(_Event(at, (self._named(paths[0], None), self._named(paths[1], node))))
        elif name in ("unlink", "unlinkat", "rmdir"):
            self._event(_Event(at, (self._named(paths[0], None),)))
        else:
            raise NotImplementedError(name)

    def _has(self, path: str) -> int | None:
        folder, _, name = path.rpartition("/")
        return self._live.nodes[self._live.find(folder or ".")].names.get(name)

    def _named(self, path: str, node: int | None) -> _Name:
        folder, _, name = path.rpartition("/")
        return _Name(self._live.find(folder or "."), name, node, self._has(path))

    def _make(self, at: int, path: str, node: _Node) -> None:
        number = len(self._live.nodes)
        self._live.nodes[number] = node
        self._event(_Event(at, (self._named(path, number),)))

    def _event(self, event: _Event) -> None:
        self._events.append(event)
        _do(self._live, event, None)

    def _make_durable(self, at: int, node: int | None) -> None:
        for event in self._events:
            touched = {event.file, *(change.folder for change in event.names)}
            if event.durable is None and (node is None or node in touched):
                event.durable = at


def _do(disk: Disk, event: _Event, tear: random.Random | None) -> None:
    """Let it happen; a torn write happens up to some sector."""
    for change in event.names:
        names = disk.nodes[change.folder].names
        if change.node is not None:
            names[change.name] = change.node
        elif names.get(change.name) == change.was:
            names.pop(change.name, None)
    if event.file is None:
        return
    held = disk.nodes[event.file].data
    assert held is not None
    if event.data is None:
        del held[event.size :]
        held.extend(bytes(event.size - len(held)))
        return
    data = event.data
    if tear is not None:
        data = data[: _SECTOR * tear.randrange(len(data) // _SECTOR + 1)]
    held.extend(bytes(max(0, event.position - len(held))))
    held[event.position : event.position + len(data)] = data
