"""Run untrusted Python where it can reach nothing, or not at all."""

from __future__ import annotations

import base64
import json
import os
import platform
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from omniform.errors import ConfigError, SandboxError
from omniform_codegen.sandbox.limits import Limits
from omniform_codegen.sandbox.outcome import Outcome, Status
from omniform_codegen.sandbox.probe import PROBE
from omniform_codegen.sandbox.root import INTERPRETER, MAIN, read_tree
from omniform_codegen.sandbox.seccomp import snippet_filter

__all__ = ["Sandbox"]

_PACKAGE = Path(__file__).parents[1]
# the launcher runs without this package's own imports, which are heavy: only its folders are made known
_LAUNCH = """
import sys, types
for name, folder in (("omniform_codegen", sys.argv[2]), ("omniform_codegen.sandbox", sys.argv[3])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from omniform_codegen.sandbox.launcher import main
main()
"""
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LC_ALL": "C.UTF-8",
    "LD_LIBRARY_PATH": "/python/lib:/python/lib64",
    "MALLOC_ARENA_MAX": "2",  # an arena takes 64 MiB of address space
    "PYTHONHASHSEED": "0",
    "PYTHONHOME": "/python",
}
_ARGUMENTS = ["-s", "-P", "-S", "-B", MAIN]  # -I but for the environment, which is that above
_TRIAL = Limits(seconds=30.0)
_SLACK = 60.0  # seconds to set up, on a machine that is busy
_TAIL = 4096  # bytes in which the last line of stderr is looked for


class Sandbox:
    """Runs Python programs that nobody has read.

    Layers, all of them or none: new user, mount, process, network, IPC, host name and control group namespaces; a root
    of read-only mounts that holds an interpreter, its standard library and shared libraries, and an empty folder in
    memory; no capabilities and no way to gain any; limits of the operating system; a list of allowed system calls,
    without those that make processes, run programs or open network sockets; and, as a second wall where the kernel has
    it, Landlock. The program is one process with threads, so that its address space and its folder bound its memory.

    Linux on x86_64 or aarch64, from kernel 5.12; needs no privileges where users may make namespaces.

    What it does not bound: the kernel itself is shared, and a flaw in it is a way out. How long a program takes can be
    told from within, as can the processor and the kernel's version.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits

    def check(self) -> None:
        """Run a program that tries each layer, under limits that it certainly keeps.

        Raises:
            SandboxError: this machine cannot give every layer; the message names the first that is missing.
        """
        outcome = Sandbox(_TRIAL).run(PROBE)
        if outcome.status == "refused":
            raise SandboxError(f"expected a machine that can give every layer of the sandbox, got {outcome.reason}")
        if outcome.status != "ok" or outcome.stdout != b"closed\n":
            told = (outcome.stderr or outcome.stdout).decode(errors="replace").strip().splitlines() or [outcome.status]
            raise SandboxError(f"expected a sandbox that is closed, but a trial in it ended with: {told[-1]}")

    def run(self, source: str | bytes, *, stdin: bytes = b"", files: Mapping[str, bytes] | None = None) -> Outcome:
        """Run a program as `__main__`, with files in its working folder.

        The standard library can be imported, installed packages and the working folder cannot. Where a layer cannot be
        had the program is not started, and the outcome is `"refused"`.

        Raises:
            ConfigError: a file's name leads out of the working folder.
        """
        try:
            plan = self._plan(source if isinstance(source, bytes) else source.encode(), stdin, files or {})
        except SandboxError as error:
            return Outcome("refused", None, b"", b"", 0.0, reason=str(error))
        return _launch(plan, self.limits)

    def _plan(self, source: bytes, stdin: bytes, files: Mapping[str, bytes]) -> dict[str, Any]:
        if sys.platform != "linux":
            raise SandboxError(f"expected Linux, whose kernel the sandbox is made of; got {sys.platform}")
        for name in files:
            path = PurePosixPath(name)
            if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
                raise ConfigError(f"expected names of files within the working folder, got {name!r}")
        limits, tree = self.limits, read_tree()
        highest = 1 << (46 if platform.machine() == "x86_64" else 38)
        entry = (1 << 37) + secrets.randbelow(highest - (1 << 37))
        return {
            "entry": entry,
            "filter": _encode(snippet_filter(entry)),
            "interpreter": INTERPRETER,
            "arguments": [INTERPRETER, *_ARGUMENTS],
            "environment": _ENVIRONMENT,
            "mounts": tree.mounts,
            "links": tree.links,
            "hidden": tree.hidden,
            "source": _encode(source),
            "stdin": _encode(stdin),
            "files": {name: _encode(content) for name, content in files.items()},
            "seconds": limits.seconds,
            "memory": limits.memory,
            "disk": limits.disk,
            "inodes": limits.inodes,
            "threads": limits.threads,
            "descriptors": limits.descriptors,
        }


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _launch(plan: Mapping[str, Any], limits: Limits) -> Outcome:
    """Start a launcher, give it the plan, and gather what it and the program write until both have ended."""
    report_read, report_write = os.pipe()
    told = json.dumps(plan).encode()
    command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(report_write), str(_PACKAGE), str(_PACKAGE / "sandbox")]
    with (
        os.fdopen(report_read, "rb") as report,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[report_write],
            env={},
            cwd="/",
            bufsize=0,
            start_new_session=True,
        ) as process,
    ):
        os.close(report_write)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            _write_all(process.stdin, len(told).to_bytes(8, "little") + told)
            stdout, stderr, says = _Kept(limits.output), _Kept(limits.output), _Kept(1 << 16)
            _gather({process.stdout: stdout, process.stderr: stderr, report: says}, limits.seconds + _SLACK)
        finally:
            process.kill()  # which has ended by itself, but for an interrupt or a machine that stands still
    return _conclude(stdout, stderr, bytes(says.head))


def _write_all(file: IO[bytes], content: bytes) -> None:
    view = memoryview(content)
    try:
        while view:
            view = view[file.write(view) or 0 :]
    except BrokenPipeError:
        pass  # the launcher has ended, and its report says why


class _Kept:
    """The beginning of what comes, and its last bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.head = bytearray()
        self.tail = b""
        self.dropped = 0

    def add(self, piece: bytes) -> None:
        room = self.size - len(self.head)
        self.head += piece[:room]
        self.dropped += max(0, len(piece) - room)
        self.tail = (self.tail + piece)[-_TAIL:]


def _gather(pipes: Mapping[IO[bytes], _Kept], seconds: float) -> None:
    """Read all pipes until each has ended: what is not kept is read too, so that no writer waits."""
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pipe, kept in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, kept)
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                piece = os.read(key.fd, 1 << 16)
                key.data.add(piece)
                if not piece:
                    selector.unregister(key.fileobj)


def _conclude(stdout: _Kept, stderr: _Kept, report: bytes) -> Outcome:
    try:
        told = json.loads(report)
    except ValueError:
        return Outcome("refused", None, b"", b"", 0.0, reason=f"launcher: {_last_line(stderr.tail) or 'no report'}")
    if "refused" in told:
        return Outcome("refused", None, b"", b"", 0.0, reason=told["refused"])
    code: int | None = told["code"]
    dropped = stdout.dropped + stderr.dropped
    status = _status(code, _last_line(stderr.tail))
    return Outcome(status, code, bytes(stdout.head), bytes(stderr.head), told["seconds"], dropped)


def _status(code: int | None, last: str) -> Status:
    if code is None:
        return "timeout"
    if code < 0:
        return "killed"
    if code == 1 and last.startswith("MemoryError"):
        return "memory"
    return "error" if code else "ok"


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
