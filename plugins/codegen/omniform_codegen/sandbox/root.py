"""The file tree inside: an interpreter and its libraries to read, an empty folder to write, and nothing else."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniform_codegen.sandbox import kernel

__all__ = ["INTERPRETER", "MAIN", "Tree", "build_root", "read_tree"]

INTERPRETER = "/python/bin/python3"
MAIN = "/main.py"
WORK = "/tmp"

_SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_LOADER_CACHE = "/etc/ld.so.cache"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PACKAGES = ("site-packages", "dist-packages")
_READ_ONLY = kernel.READ_ONLY | kernel.NOSUID | kernel.NODEV


@dataclass(frozen=True, slots=True)
class Tree:
    """What of this machine is seen inside.

    Attributes:
        mounts: pairs of a path of this machine and its place inside.
        links: symbolic links inside, and what they say.
        hidden: folders inside that are made to look empty.
    """

    mounts: Sequence[tuple[str, str]]
    links: Mapping[str, str]
    hidden: Sequence[str]


def read_tree() -> Tree:
    """Look where this machine has the interpreter, its standard library and the shared libraries.

    The interpreter lies in a folder of its own inside, so that no path of this machine is told.
    """
    prefix = os.path.realpath(sys.base_prefix)
    program = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    libraries = [(os.path.join(prefix, name), f"/python/{name}") for name in ("lib", "lib64")]
    system = [(path, path) for path in _SYSTEM_LIBRARIES if not os.path.islink(path)]
    folders = [(source, place) for source, place in [*libraries, *system] if os.path.isdir(source)]
    files = [(path, path) for path in (_LOADER_CACHE, *_DEVICES) if os.path.exists(path)]
    links = {path: os.readlink(path) for path in _SYSTEM_LIBRARIES if os.path.islink(path)}
    hidden = [
        os.path.join(place, below, packages)
        for source, place in folders
        for below in ("python3", f"python{sys.version_info.major}.{sys.version_info.minor}")
        for packages in _PACKAGES
        if os.path.isdir(os.path.join(source, below, packages))
    ]
    return Tree([(program, INTERPRETER), *folders, *files], links, hidden)


def build_root(plan: Mapping[str, Any]) -> None:
    """Make the tree that a plan describes the root of this process's mounts; nothing of the old one can be reached.

    The root and all that comes from this machine are read-only; the work folder takes `disk` bytes and runs no program.
    """
    mounts = [(_copy(source, place), place) for source, place in plan["mounts"]]
    quiet = kernel.NOSUID | kernel.NODEV
    root = kernel.make_tmpfs(quiet, mode="755", nr_inodes="4096")
    work = kernel.make_tmpfs(
        quiet | kernel.NOEXEC, mode="777", size=str(plan["disk"]), nr_inodes=str(plan["inodes"] + 1)
    )
    kernel.swap_root(root)
    os.umask(0)  # the snippet is not who makes these files
    for folder in ("/dev", "/empty", WORK):
        os.mkdir(folder)
    for path, target in plan["links"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)
    for mount, place in mounts:
        _attach(mount, place)
    for place in plan["hidden"]:
        _attach(_copy("/empty", place), place)
    _write(MAIN, plan["source"])
    _write("/stdin", plan["stdin"])
    _attach(work, WORK)
    for name, content in plan["files"].items():
        _write(os.path.join(WORK, name), content, mode=0o666)
    kernel.restrict_mount(root, _READ_ONLY | kernel.NOEXEC, recursive=False)
    os.chdir(WORK)


def _copy(source: str, place: str) -> int:
    mount = kernel.clone_tree(source)
    device = place.startswith("/dev/")
    kernel.restrict_mount(mount, _READ_ONLY & ~kernel.NODEV | kernel.NOEXEC if device else _READ_ONLY)
    return mount


def _attach(mount: int, place: str) -> None:
    """Mount on a folder or file that is made where there is none."""
    if not os.path.lexists(place):
        folder = os.path.isdir(mount)
        os.makedirs(place if folder else os.path.dirname(place), exist_ok=True)
        if not folder:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    target = os.open(place, os.O_PATH | os.O_CLOEXEC)
    kernel.attach(mount, target)
    os.close(target)
    os.close(mount)


def _write(path: str, content: str, mode: int = 0o444) -> None:
    """Write a file of the plan, whose bytes are in base 64."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(base64.b64decode(content))
