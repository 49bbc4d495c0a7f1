"""The program that builds the sandbox and runs one snippet in it; a process of its own, told what to do on stdin.

Three processes: this one stays outside, keeps the clock and ends the others; the first process of the new namespaces
builds them up and waits; the second becomes the snippet's interpreter. When the first of a process namespace dies, the
kernel kills all others in it.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from omniform_codegen.sandbox import kernel
from omniform_codegen.sandbox.root import build_root

__all__ = ["NOBODY", "main"]

NOBODY = 65534
_SETUP_SECONDS = 30.0
_STACK = 8 << 20  # of each thread


def main() -> None:
    """Read a plan from stdin, run it, and write what came of it to the descriptor in the first argument."""
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    size = int.from_bytes(_read(0, 8), "little")
    plan = json.loads(_read(0, size))
    try:
        result = _run(plan)
    except OSError as error:
        result = {"refused": f"namespaces: {error}"}
    os.write(report, json.dumps(result).encode())


def _run(plan: dict[str, Any]) -> dict[str, Any]:
    go, trouble, status = os.pipe(), os.pipe(), os.pipe()
    if os.geteuid() == 0:
        os.setgroups([])
    child = kernel.clone(kernel.NAMESPACES)
    if child == 0:
        os.close(go[1])
        _guard(_inside, trouble[1], plan, go[0], trouble[1], status[1])
    try:
        for end in (go[0], trouble[1], status[1]):
            os.close(end)
        _map_users(child)
        os.write(go[1], b"!")
        refusal = _read_all(trouble[0], _SETUP_SECONDS)
        if refusal:
            return {"refused": refusal}
        start = time.monotonic()
        # stdin says that the caller wants an end, or, by its own end, that there is no caller any more
        ready, _, _ = select.select([status[0], 0], [], [], plan["seconds"])
        seconds = time.monotonic() - start
        ended = os.read(status[0], 4) if status[0] in ready else None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # the first process ends without a word where the kernel, out of memory, has ended it
    code = None if ended is None else os.waitstatus_to_exitcode(int.from_bytes(ended or b"\x09", "little"))
    return {"code": code, "seconds": seconds}


def _guard(step: Callable[..., None], trouble: int, *arguments: Any) -> NoReturn:
    """Do all that a fork is there for, and tell of what goes wrong; a fork never goes on with its parent's work."""
    try:
        step(*arguments)
    except BaseException as error:
        os.write(trouble, (str(error) or repr(error)).encode()[:4000])
    finally:
        os._exit(1)


def _map_users(child: int) -> None:
    """Say who is who inside: nobody is nobody; root, where it is root that runs this, is there to set up.

    The limit on processes does not bind the machine's root, and root owns files, so root runs no snippet.
    """
    lines = {"uid": f"{NOBODY} {os.geteuid()} 1", "gid": f"{NOBODY} {os.getegid()} 1"}
    if os.geteuid() == 0:
        lines = dict.fromkeys(lines, f"0 0 1\n{NOBODY} {NOBODY} 1")
    else:
        _write(f"/proc/{child}/setgroups", "deny")
    for kind, line in lines.items():
        _write(f"/proc/{child}/{kind}_map", line)


def _inside(plan: dict[str, Any], go: int, trouble: int, status: int) -> None:
    """Build the namespaces up as their first process, start the snippet, and say how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which the first process does not hear
    if os.read(go, 1) != b"!":
        return
    _layer("session", os.setsid)
    _layer("host name", kernel.name_host, "sandbox")
    _layer("file systems", build_root, plan)
    _layer("capabilities", kernel.drop_capabilities, NOBODY)
    _layer("privileges", kernel.forbid_privileges)
    _layer("end with the launcher", kernel.die_with_parent)
    if select.select([go], [], [], 0)[0]:  # it has ended before
        return
    child = os.fork()
    if child == 0:
        _guard(_become_snippet, trouble, plan, trouble)
    os.close(trouble)
    _, ended = os.waitpid(child, 0)
    os.write(status, ended.to_bytes(4, "little"))


def _become_snippet(plan: dict[str, Any], trouble: int) -> None:
    os.dup2(os.open("/stdin", os.O_RDONLY), 0)
    os.set_inheritable(trouble, False)
    os.closerange(3, trouble)
    os.closerange(trouble + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.umask(0o077)
    _layer("landlock", _restrict_files, plan["interpreter"])
    _layer("limits", _set_limits, plan)
    _layer("entry", kernel.place_path, plan["interpreter"], plan["entry"])
    _layer("system calls", kernel.install_filter, base64.b64decode(plan["filter"]))
    _layer("interpreter", kernel.execute, plan["entry"], plan["arguments"], plan["environment"])


def _restrict_files(interpreter: str) -> None:
    """Allow reading, writing where that is meant, and running the interpreter alone, by a wall that is not a mount."""
    execute, write_file, read, truncate = 1 << 0, 1 << 1, 1 << 2 | 1 << 3, 1 << 14
    make_and_remove = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13
    loaders = [name for name in kernel.LOADERS if os.path.exists(name)]
    kernel.landlock(
        {"/": read, "/tmp": read | write_file | truncate | make_and_remove, "/dev": read | write_file}
        | {os.path.realpath(name): execute | 1 << 2 for name in (interpreter, *loaders)}
    )


def _set_limits(plan: dict[str, Any]) -> None:
    """Bound the process; the processor's time is a little longer than the clock's, whose end is told."""
    bounds = {
        resource.RLIMIT_CPU: int(plan["seconds"]) + 2,
        resource.RLIMIT_FSIZE: plan["disk"],
        resource.RLIMIT_NPROC: plan["threads"] + 1,  # and the first process
        resource.RLIMIT_NOFILE: plan["descriptors"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: _STACK,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_DATA: plan["memory"],
        resource.RLIMIT_AS: plan["memory"],
    }
    for kind, bound in bounds.items():
        hardest = resource.getrlimit(kind)[1]
        bound = bound if hardest == resource.RLIM_INFINITY else min(bound, hardest)
        resource.setrlimit(kind, (bound, bound))


def _layer(name: str, step: Callable[..., Any], *arguments: Any) -> None:
    """Do one step, and name its layer where it cannot be done."""
    try:
        step(*arguments)
    except (OSError, ValueError) as error:
        raise OSError(f"{name}: {error}") from None


def _read(descriptor: int, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = os.read(descriptor, size - len(content))
        if not piece:
            raise EOFError("expected the whole plan on stdin")
        content += piece
    return content


def _read_all(descriptor: int, seconds: float) -> str:
    """Return all that comes until the other end is closed."""
    content, end = b"", time.monotonic() + seconds
    while select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(descriptor, 4096)
        if not piece:
            return content.decode(errors="replace")
        content += piece
    return f"setting up: not done within {seconds:g} seconds"


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
