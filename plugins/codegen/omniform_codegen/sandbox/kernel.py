"""Calls of the Linux kernel that Python has no function for, through ctypes.

This module and those of the launcher import nothing but the standard library, for the launcher must start quickly.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

__all__ = [
    "LOADERS",
    "NAMESPACES",
    "NODEV",
    "NOEXEC",
    "NOSUID",
    "READ_ONLY",
    "attach",
    "clone",
    "clone_tree",
    "die_with_parent",
    "drop_capabilities",
    "execute",
    "forbid_privileges",
    "install_filter",
    "landlock",
    "make_tmpfs",
    "name_host",
    "place_path",
    "restrict_mount",
    "swap_root",
]

_NEW_MOUNTS, _NEW_CGROUP, _NEW_UTS, _NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = _NEW_MOUNTS | _NEW_CGROUP | _NEW_UTS | _NEW_IPC | _NEW_USER | _NEW_PID | _NEW_NET

READ_ONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8  # of a mount

LOADERS = (
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
)
"""Programs that start a dynamically linked one."""

# numbers of system calls: those above 423 are the same on every machine
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277},
}
_HERE = -100  # AT_FDCWD
_EMPTY_PATH, _RECURSIVE, _CLONE_TREE, _CLOSE = 0x1000, 0x8000, 0x1, 0o2000000
_MOVE_BETWEEN_DESCRIPTORS = 0x44  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH


@cache
def _libc() -> ctypes.PyDLL:
    """Return the C library; the thread keeps the interpreter's lock, so that a clone comes back holding it."""
    return ctypes.PyDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    """Return the result of a call.

    Raises:
        OSError: it is -1; `what` names the call.
    """
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(name: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _check(_libc().syscall(ctypes.c_long(number), *words), name)


def _number(name: str) -> int:
    return _NUMBERS[platform.machine()][name]


def clone(flags: int) -> int:
    """Fork into new namespaces: return the child's id to the parent, and 0 to the child."""
    sigchld = 17
    return _call("clone", _number("clone"), flags | sigchld, 0, 0, 0, 0)


def clone_tree(path: str) -> int:
    """Return a descriptor of a detached copy of the mounts at and below a path."""
    return _call("open_tree", _OPEN_TREE, _HERE, path.encode(), _CLONE_TREE | _CLOSE | _RECURSIVE)


def make_tmpfs(attributes: int, **options: str) -> int:
    """Return a descriptor of a new, detached file system in memory."""
    context = _call("fsopen", _FSOPEN, b"tmpfs", 1)
    for key, value in options.items():
        _call("fsconfig", _FSCONFIG, context, 1, key.encode(), value.encode(), 0)
    _call("fsconfig", _FSCONFIG, context, 6, None, None, 0)
    mount = _call("fsmount", _FSMOUNT, context, 1, attributes)
    os.close(context)
    return mount


def restrict_mount(mount: int, attributes: int, *, recursive: bool = True) -> None:
    """Add attributes to a mount, and to those below it."""
    wanted = b"".join(word.to_bytes(8, "little") for word in (attributes, 0, 0, 0))
    flags = _EMPTY_PATH | (_RECURSIVE if recursive else 0)
    _call("mount_setattr", _MOUNT_SETATTR, mount, b"", flags, ctypes.create_string_buffer(wanted, 32), 32)


def attach(mount: int, place: int) -> None:
    """Mount a detached tree on what another descriptor names."""
    _call("move_mount", _MOVE_MOUNT, mount, b"", place, b"", _MOVE_BETWEEN_DESCRIPTORS)


def swap_root(root: int) -> None:
    """Make a mount the root, and let go of all that was there before."""
    private_all, detach = 0x4000 | 0x40000, 0x2
    _check(_libc().mount(None, b"/", None, ctypes.c_ulong(private_all), None), "mount")
    before = os.open("/", os.O_PATH | os.O_DIRECTORY)
    _call("move_mount", _MOVE_MOUNT, root, b"", _HERE, b"/", 0x4)
    os.fchdir(root)
    _call("pivot_root", _number("pivot_root"), b".", b".")
    os.fchdir(before)
    os.close(before)
    _check(_libc().umount2(b".", detach), "umount2")
    os.chdir("/")


def name_host(name: str) -> None:
    """Name the machine, as its own namespace has it."""
    _check(_libc().sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def die_with_parent() -> None:
    """Have this process killed when its parent ends; a change of user would undo it."""
    death_signal, kill = 1, 9
    _check(_libc().prctl(death_signal, *map(ctypes.c_ulong, (kill, 0, 0, 0))), "prctl(pdeathsig)")


def forbid_privileges() -> None:
    """Let no exec, of whatever file, give privileges; and keep others from reading this process's memory."""
    no_new_privileges, dumpable = 38, 4
    _check(_libc().prctl(no_new_privileges, *map(ctypes.c_ulong, (1, 0, 0, 0))), "prctl(no_new_privs)")
    _check(_libc().prctl(dumpable, *map(ctypes.c_ulong, (0, 0, 0, 0))), "prctl(dumpable)")


def drop_capabilities(user: int) -> None:
    """Become a user without capabilities, none of which can come back: they leave the bounding set too."""
    drop_bound, keep, ambient, clear_all = 24, 8, 47, 4
    for capability in range(64):
        if _libc().prctl(drop_bound, *map(ctypes.c_ulong, (capability, 0, 0, 0))) == -1:
            if capability == 0:
                _check(-1, "prctl(capbset_drop)")
            break
    _check(_libc().prctl(ambient, *map(ctypes.c_ulong, (clear_all, 0, 0, 0))), "prctl(ambient)")
    _check(_libc().prctl(keep, *map(ctypes.c_ulong, (0, 0, 0, 0))), "prctl(keepcaps)")
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    header = (0x20080522).to_bytes(4, "little") + bytes(4)
    _call("capset", _number("capset"), header, bytes(24))


def place_path(path: str, address: int) -> None:
    """Put a path, with its end, at an address of memory."""
    private_anonymous_here = 0x2 | 0x20 | 0x100000
    content = path.encode() + b"\0"
    page = address & ~0xFFFF
    _libc().mmap.restype = ctypes.c_void_p
    _libc().mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    found = _libc().mmap(page, 0x20000, 0x1 | 0x2, private_anonymous_here, -1, 0)
    if found != page:
        raise OSError(f"mmap: expected room at {page:#x}")
    ctypes.memmove(address, content, len(content))


def execute(address: int, arguments: list[str], environment: dict[str, str]) -> None:
    """Replace this program by that whose path lies at an address."""
    argv = (ctypes.c_char_p * (len(arguments) + 1))(*map(os.fsencode, arguments), None)
    pairs = [f"{name}={value}".encode() for name, value in environment.items()]
    envp = (ctypes.c_char_p * (len(pairs) + 1))(*pairs, None)
    _check(_libc().execve(ctypes.c_void_p(address), argv, envp), "execve")


def install_filter(program: bytes) -> None:
    """Check every system call of all threads from now on by a BPF program (seccomp(2))."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    set_filter, all_threads = 1, 1
    given = Program(len(program) // 8, program)
    numbers = map(ctypes.c_long, (_number("seccomp"), set_filter, all_threads))
    _check(_libc().syscall(*numbers, ctypes.byref(given)), "seccomp")


def landlock(rights: dict[str, int]) -> int:
    """Restrict files by Landlock to these rights on files or below folders, where the kernel has it; no TCP at all.

    Returns:
        The version of its interface; 0 where there is none.
    """
    try:
        version = _call("landlock", _LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    network, others = (3 if version >= least else 0 for least in (4, 6))  # TCP; abstract sockets and signals
    attributes = b"".join(word.to_bytes(8, "little") for word in (files, network, others))
    rules = _call("landlock", _LANDLOCK_CREATE, attributes, {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(version, 24), 0)
    for path, allowed in rights.items():
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = (allowed & files).to_bytes(8, "little") + place.to_bytes(4, "little")
        _call("landlock", _LANDLOCK_ADD, rules, 1, rule, 0)
        os.close(place)
    _call("landlock", _LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)
    return version
