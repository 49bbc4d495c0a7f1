"""A sandbox with small limits, and what must be unharmed after every attack."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from omniform.errors import SandboxError
from omniform_codegen.sandbox import Limits, Sandbox

SECRET = "the secret that was planted"
SMALL = Limits(seconds=5.0, memory=256 << 20, disk=4 << 20, inodes=64, threads=8, output=16_384)


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    made = Sandbox(SMALL)
    try:
        made.check()
    except SandboxError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture(scope="session")
def hasty(sandbox: Sandbox) -> Sandbox:
    """A sandbox for programs that do not end by themselves."""
    return Sandbox(replace(SMALL, seconds=0.5))


@dataclass
class Canary:
    """A folder, a server on the loopback and a process of this machine."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    callers: list[object] = field(default_factory=list)

    @property
    def victim(self) -> Path:
        return self.folder / "secret.txt"

    def unharmed(self) -> None:
        assert self.process.poll() is None, "a process of the machine was ended"
        assert self.callers == [], "a server of the machine was reached"
        assert sorted(path.name for path in self.folder.iterdir()) == ["secret.txt"]
        assert self.victim.read_text() == SECRET
        assert os.environ["OMNIFORM_SECRET"] == SECRET

    def left(self, tag: str) -> list[int]:
        """Return the processes whose root holds a main program with a tag: what a sandbox has left behind."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and tag in (folder / "root" / "main.py").read_text():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="session")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    folder = tmp_path_factory.mktemp("canary")
    (folder / "secret.txt").write_text(SECRET)
    folder.chmod(0o777)
    (folder / "secret.txt").chmod(0o666)
    server = socket.create_server(("127.0.0.1", 0))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    made = Canary(folder, process, server.getsockname()[1])
    os.environ["OMNIFORM_SECRET"] = SECRET

    def serve() -> None:
        while True:
            try:
                made.callers.append(server.accept())
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield made
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    process.kill()
    process.wait()
    del os.environ["OMNIFORM_SECRET"]
