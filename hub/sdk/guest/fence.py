"""What keeps a connector's process in: limits, an empty network, no files but its own, no system calls that it has no use for.

Four fences of the kernel, none of which needs a privilege, and Python's own audit events on top, which name what was tried:
`network` (a network namespace without interfaces), `files` (Landlock), `calls` (seccomp). Where a kernel lacks one, the others
still stand; the hub is told which are missing. Source: Linux man-pages landlock(7), seccomp(2), namespaces(7).
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FENCES = ("network", "files", "calls")
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 1, 4, 22, 38, 2
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x40000000,
)
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

# System calls by name: (x86_64, aarch64); 0 where the architecture has none.
_REFUSED = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "clone": (56, 220), "fork": (57, 0),
    "vfork": (58, 0), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "symlink": (88, 0), "symlinkat": (266, 36),
    "link": (86, 0), "linkat": (265, 37), "mknod": (133, 0), "mknodat": (259, 33), "memfd_create": (319, 279),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "prlimit64": (302, 261),
    "setrlimit": (160, 164), "inotify_add_watch": (254, 27), "pidfd_open": (434, 434),
}  # fmt: skip
_DEADLY = {
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145),
    "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "pidfd_getfd": (438, 438),
    "open_by_handle_at": (304, 265), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "reboot": (169, 142), "personality": (135, 92),
}  # fmt: skip
_CLONE3, _UNSHARE = (435, 435), (272, 97)
_LANDLOCK = (444, 445, 446)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_WATCHED = {
    "socket.__new__": "network", "socket.connect": "network", "socket.getaddrinfo": "network",
    "socket.gethostbyname": "network", "subprocess.Popen": "process", "os.exec": "process", "os.posix_spawn": "process",
    "os.fork": "process", "os.forkpty": "process", "os.system": "process", "_thread.start_new_thread": "thread",
    "os.kill": "signal", "os.symlink": "files", "os.link": "files", "ctypes.dlopen": "native code",
}  # fmt: skip
_HINTS = {
    "network": "a connector performs no I/O: yield a Request", "process": "a connector starts no process",
    "thread": "a connector starts no thread: yield Requests", "signal": "there is nobody to signal",
    "files": "a connector reads its own package and no other file", "native code": "a connector loads no native code",
}  # fmt: skip


def limit(limits: Mapping[str, int]) -> None:
    """Memory (bytes), descriptors and processor time (seconds of its whole life); bytes written to files: none."""
    for name, value in (
        ("AS", limits["memory"]),
        ("NOFILE", limits["files"]),
        ("CPU", limits["cpu"]),
        ("FSIZE", 0),
        ("CORE", 0),
    ):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    os.nice(5)


def raise_fence(readable: Sequence[str], tell: Callable[[str, str], None]) -> list[str]:
    """Close this process in, for good; returns the fences that this kernel does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    _watch(readable, tell)
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        return list(FENCES)
    column, audit = _ARCHITECTURES[platform.machine()]
    libc.syscall.restype = ctypes.c_long
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    lacking = []
    if not _leave_network(libc, column):
        lacking.append("network")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [*lacking, "files", "calls"]
    if not _restrict_files(libc, readable):
        lacking.append("files")
    if not _restrict_calls(libc, column, audit):
        lacking.append("calls")
    return lacking


def _leave_network(libc: Any, column: int) -> bool:
    """Into namespaces of our own: no interface, not even loopback; a user namespace needs no privilege, a root none."""
    apart = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS | _CLONE_NEWNS
    return any(libc.syscall(_UNSHARE[column], flags) == 0 for flags in (apart | _CLONE_NEWUSER, apart, _CLONE_NEWNET))


def _restrict_files(libc: Any, readable: Sequence[str]) -> bool:
    version = libc.syscall(_LANDLOCK[0], None, 0, 1)
    if version < 1:
        return False
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    net = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0
    attribute = struct.pack("=QQQ", rights, net, scoped)
    length = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK[0], attribute, length, 0)
    if ruleset < 0:
        return False
    read_file, read_folder = 1 << 2, 1 << 3
    for path in readable:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # this machine has none
        allowed = read_file | (read_folder if Path(path).is_dir() else 0)
        if libc.syscall(_LANDLOCK[1], ruleset, 1, struct.pack("=Qi", allowed, opened), 0) != 0:
            return False
        os.close(opened)
    done = libc.syscall(_LANDLOCK[2], ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _restrict_calls(libc: Any, column: int, audit: int) -> bool:
    """A classic BPF program: another architecture's calls and deadly ones end the process, refused ones fail with EPERM."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    program = step(load, 0, 0, 4) + step(equal, 1, 0, audit) + step(answer, 0, 0, _KILL) + step(load, 0, 0, 0)
    program += step(at_least, 0, 1, 0x40000000) + step(answer, 0, 0, _KILL)  # x32: other numbers for the same calls
    rules = [(_CLONE3[column], _ERRNO | errno.ENOSYS)]
    rules += [(numbers[column], _KILL) for numbers in _DEADLY.values()]
    rules += [(numbers[column], _ERRNO | errno.EPERM) for numbers in _REFUSED.values()]
    for number, action in rules:
        if number:
            program += step(equal, 0, 1, number) + step(answer, 0, 0, action)
    program += step(answer, 0, 0, _ALLOW)
    packed = _Program(len(program) // 8, program)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(packed), 0, 0) == 0)


def _watch(readable: Sequence[str], tell: Callable[[str, str], None]) -> None:
    """Refuse in words, before the kernel refuses in numbers; an audit hook cannot be taken off again."""
    allowed = tuple(os.path.realpath(path) for path in readable)
    within = (*(f"{path}{os.sep}" for path in allowed), *allowed)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        kind = _WATCHED.get(event)
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(within) or (arguments[1] and set("wax+") & set(str(arguments[1]))):
                kind, arguments = "files", (path,)
        if kind is None:
            return
        tell(
            kind,
            f"{event} {' '.join(repr(item) for item in arguments[:2] if isinstance(item, str | int | tuple | list))}"[:300],
        )
        raise PermissionError(errno.EPERM, f"{event} is refused: {_HINTS[kind]}")

    sys.addaudithook(hook)
