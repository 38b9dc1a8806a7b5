"""What ptrace(2) and seccomp(2) tell of a system call that changes a file.

`report_calls` asks the kernel to stop the calling process, its threads and its children at such
calls; `read_call` says, of a process that is stopped, what it is about to do. Linux on x86-64.

Sources: ptrace(2), seccomp(2), <linux/ptrace.h>, <asm/unistd_64.h>.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AT_CALL",
    "Call",
    "answer",
    "begin",
    "cut",
    "go",
    "read_call",
    "read_result",
    "refuse",
    "report_calls",
    "trace_me",
    "wait",
]

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long

_TRACEME, _POKEUSER, _CONT, _SYSCALL = 0, 6, 7, 24
_SETOPTIONS, _GET_SYSCALL_INFO = 0x4200, 0x420E
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""System-call stops are marked; forks, threads and seccomp are reported; they end with us."""
AT_CALL = 7
"""The event of a process that is stopped at a call."""
_WALL = 0x40000000
_RAX, _RDX, _ORIG_RAX = 80, 96, 120

_CALLS = {
    1: "write",
    2: "open",
    18: "pwrite64",
    20: "writev",
    40: "sendfile",
    74: "fsync",
    75: "fdatasync",
    76: "truncate",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    85: "creat",
    86: "link",
    87: "unlink",
    88: "symlink",
    162: "sync",
    257: "openat",
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    266: "symlinkat",
    277: "sync_file_range",
    285: "fallocate",
    296: "pwritev",
    306: "syncfs",
    316: "renameat2",
    326: "copy_file_range",
    437: "openat2",
}
_PATHS = {  # places of (folder's descriptor or None, path)
    "open": ((None, 0),),
    "openat": ((0, 1),),
    "truncate": ((None, 0),),
    "rename": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "mkdir": ((None, 0),),
    "mkdirat": ((0, 1),),
    "rmdir": ((None, 0),),
    "link": ((None, 0), (None, 1)),
    "linkat": ((0, 1), (2, 3)),
    "unlink": ((None, 0),),
    "unlinkat": ((0, 1),),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
}
_DESCRIPTORS = {
    "write": 0,
    "pwrite64": 0,
    "ftruncate": 0,
    "fsync": 0,
    "fdatasync": 0,
    "syncfs": 0,
}
_FLAGS = {"open": 1, "openat": 2}


@dataclass(frozen=True)
class Call:
    """A system call that is about to change a file, or to make a change durable.

    Args:
        pid: the thread that makes it.
        name: of the call.
        paths: absolute; of a descriptor, the path that it was opened under, as it is called now.
        arguments: as the kernel sees them.
        result: what the kernel answered, if the observer asked for it.
    """

    pid: int
    name: str
    paths: tuple[str, ...]
    arguments: tuple[int, ...]
    result: int | None = None

    @property
    def process(self) -> int:
        """The process that the thread belongs to."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("\nTgid:")[1].split()[0])

    @property
    def data(self) -> bytes:
        """What is written."""
        return _memory(self.pid, self.arguments[1], self.arguments[2])

    @property
    def position(self) -> int:
        """Where it is written: an offset in the file."""
        if self.name == "pwrite64":
            return self.arguments[3]
        info = Path(f"/proc/{self.pid}/fdinfo/{self.arguments[0]}").read_text().split()
        if int(info[info.index("flags:") + 1], 8) & os.O_APPEND:
            return os.stat(f"/proc/{self.pid}/fd/{self.arguments[0]}").st_size
        return int(info[info.index("pos:") + 1])

    @property
    def flags(self) -> int:
        """Of an open."""
        return self.arguments[_FLAGS[self.name]]

    @property
    def changes(self) -> bool:
        """Whether it changes something, or makes a change durable."""
        if self.name in _FLAGS:
            makes = bool(self.flags & os.O_CREAT) and not os.path.lexists(self.paths[0])
            return makes or bool(self.flags & os.O_TRUNC)
        return self.name not in ("mkdir", "mkdirat") or not os.path.lexists(self.paths[0])


def trace_me() -> None:
    """In the child: let the parent trace this process, and wait for it."""
    _ptrace(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def begin(pid: int) -> None:
    """In the parent: trace a child that called `trace_me`."""
    os.waitpid(pid, _WALL)
    _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
    _ptrace(_CONT, pid)


def wait(*, block: bool) -> tuple[int, int]:
    """The next child, or thread of one, that stopped or ended, and its status; 0: none did."""
    return os.waitpid(-1, _WALL if block else _WALL | os.WNOHANG)


def go(pid: int, passed_on: int = 0, *, to_the_end: bool = False) -> None:
    """Let a stopped process go on, with a signal if one is passed on; or only until its call is
    done."""
    _ptrace(_SYSCALL if to_the_end else _CONT, pid, 0, passed_on)


def refuse(pid: int, error: int) -> None:
    """Have the call not done, and answered with an error."""
    _ptrace(_POKEUSER, pid, _ORIG_RAX, -1)
    answer(pid, -error)


def answer(pid: int, result: int) -> None:
    """Replace the answer to a call that is done, or will not be."""
    _ptrace(_POKEUSER, pid, _RAX, result)


def cut(pid: int, length: int) -> None:
    """Have a write write so many bytes."""
    _ptrace(_POKEUSER, pid, _RDX, length)


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Filter)))


def report_calls() -> None:
    """Have the kernel stop this process and its children at the calls of `_CALLS`."""
    numbers = sorted(_CALLS)
    lines = [_Filter(0x20, 0, 0, 0)]  # load the call's number
    lines += [_Filter(0x15, len(numbers) - place, 0, n) for place, n in enumerate(numbers)]
    lines += [_Filter(0x06, 0, 0, 0x7FFF0000), _Filter(0x06, 0, 0, 0x7FF00000)]  # allow, trace
    program = _Program(len(lines), (_Filter * len(lines))(*lines))
    for arguments in ((38, 1, 0, 0, 0), (22, 2, ctypes.byref(program), 0, 0)):
        if _LIBC.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    result: int = _LIBC.ptrace(request, pid, address % 2**64, data % 2**64)
    if result == -1 and (number := ctypes.get_errno()):
        if number == errno.ESRCH:
            raise ProcessLookupError(number, f"ptrace {request}")
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}; is ptrace allowed here?")
    return result


def _information(pid: int) -> bytes:
    buffer = ctypes.create_string_buffer(88)
    _ptrace(_GET_SYSCALL_INFO, pid, len(buffer), ctypes.addressof(buffer))
    return buffer.raw


def read_result(pid: int) -> int:
    """What a call that is done will answer."""
    (result,) = struct.unpack_from("<q", _information(pid), 24)
    return int(result)


def read_call(pid: int) -> Call | None:
    """What a process that is stopped at a call is about to do; None if it can only fail."""
    number, *arguments = struct.unpack_from("<7Q", _information(pid), 24)
    name = _CALLS[number]
    try:
        if name in _PATHS:
            paths = [_path(pid, arguments, *places) for places in _PATHS[name]]
        elif name in _DESCRIPTORS:
            paths = [os.readlink(f"/proc/{pid}/fd/{_signed(arguments[_DESCRIPTORS[name]])}")]
        elif name == "sync":
            paths = []
        else:
            raise RuntimeError(f"the program calls {name}, which this module can't follow")
    except FileNotFoundError:  # a descriptor that is closed
        return None
    return Call(pid, name, tuple(paths), tuple(arguments))


def _signed(value: int) -> int:
    return ctypes.c_int(value).value


def _path(pid: int, arguments: list[int], folder: int | None, place: int) -> str:
    text = os.fsdecode(_string(pid, arguments[place]))
    if text.startswith("/"):
        return text
    descriptor = -100 if folder is None else _signed(arguments[folder])
    home = "cwd" if descriptor == -100 else f"fd/{descriptor}"
    return os.path.join(os.readlink(f"/proc/{pid}/{home}"), text)


def _string(pid: int, address: int) -> bytes:
    text = b""
    while b"\0" not in text:  # never across a page that may not be there
        start = address + len(text)
        text += _memory(pid, start, 4096 - start % 4096)
    return text.split(b"\0")[0]


def _memory(pid: int, address: int, length: int) -> bytes:
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(descriptor, length, address)
    finally:
        os.close(descriptor)
