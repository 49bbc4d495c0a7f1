"""A machine that lacks a layer runs nothing: never a weaker mode.

Lacks are made by a filter of system calls in a process of its own, whose children inherit it: one call fails, as it
does where the kernel or another sandbox does not grant it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import omniform
import omniform_codegen.sandbox
from omniform.errors import SandboxError
from omniform_codegen.sandbox import Sandbox

DRIVER = """
import struct, sys
from omniform.errors import SandboxError
from omniform_codegen.sandbox import Limits, Sandbox, kernel
from omniform_codegen.sandbox.seccomp import ALLOW, error, read_word, unless_equal

number, place, bits, errno = map(int, sys.argv[1:])
fail = [error(errno)]
if place >= 0:  # only where an argument has some of these bits
    fail = [read_word(16 + 8 * place), struct.pack("=HBBI", 0x45, 0, 1, bits), error(errno)]
kernel.forbid_privileges()
kernel.install_filter(b"".join([read_word(0), unless_equal(number, len(fail)), *fail, ALLOW]))
sandbox = Sandbox(Limits(seconds=2.0))
outcome = sandbox.run("print('it ran')")
print(outcome.status, outcome.stdout, outcome.reason)
try:
    sandbox.check()
except SandboxError as error:
    print("check refuses:", error)
"""

# lack: number on x86-64, which argument (-1: whatever they are), which bits of it, error, layer that is named
LACKS = {
    "user namespaces": (56, 0, 0x10000000, 1, "namespaces"),
    "process namespaces": (56, 0, 0x20000000, 22, "namespaces"),
    "network namespaces": (56, 0, 0x40000000, 28, "namespaces"),
    "mount copies": (428, -1, 0, 38, "file systems"),
    "file systems in memory": (430, -1, 0, 1, "file systems"),
    "read-only mounts": (442, -1, 0, 38, "file systems"),
    "mounting": (429, -1, 0, 1, "file systems"),
    "another root": (155, -1, 0, 1, "file systems"),
    "letting go of the old root": (166, -1, 0, 1, "file systems"),
    "a host name": (170, -1, 0, 1, "host name"),
    "dropping users": (117, -1, 0, 1, "capabilities"),
    "dropping groups": (119, -1, 0, 1, "capabilities"),
    "dropping capabilities": (126, -1, 0, 1, "capabilities"),
    "the bounding set": (157, -1, 0, 22, "capabilities"),
    "limits": (302, 2, 0xFFFFFFFF, 1, "limits"),
    "filters of system calls": (317, -1, 0, 38, "system calls"),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("lack", LACKS)
def test_a_missing_layer_refuses(lack, sandbox):
    *call, layer = LACKS[lack]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, call)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(f"refused b'' {layer}: "), done.stdout + done.stderr
    assert "it ran" not in done.stdout
    assert "check refuses: expected a machine that can give every layer" in done.stdout


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_landlock_is_a_second_wall_where_there_is_one(sandbox):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "444", "-1", "0", "38"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("ok b'it ran\\n'"), done.stdout + done.stderr


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Sandbox().run("print(1)").status == "refused"
    with pytest.raises(SandboxError, match="expected Linux"):
        Sandbox().check()


def test_other_machines_are_refused(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert Sandbox().run("print(1)").status == "refused"
    with pytest.raises(SandboxError, match="riscv64"):
        Sandbox().check()


def test_an_interpreter_that_cannot_be_reached_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "nowhere"))
    outcome = Sandbox().run("print('it ran')")
    if outcome.status != "refused":  # an interpreter without its library starts, and ends
        assert outcome.status == "error"
    assert outcome.stdout == b""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_an_unprivileged_user_needs_no_more(sandbox):
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("there is no interpreter that every user can reach")
    modules = ((omniform, 1), (omniform_codegen.sandbox, 2))
    sources = [Path(module.__file__).parents[depth] for module, depth in modules] + [sysconfig.get_path("purelib")]
    program = (
        f"import sys; sys.path += {list(map(str, sources))}\n"
        "assert sys.version_info >= (3, 11), 'too old'\n"
        "from omniform_codegen.sandbox import Sandbox\n"
        "Sandbox().check()\n"
        "outcome = Sandbox().run('import os; print(os.getuid(), os.listdir(\".\"))', files={'a': b''})\n"
        "print(outcome.status, outcome.stdout, outcome.reason)"
    )
    done = subprocess.run(
        [python, "-I", "-B", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        user=12345,
        group=12345,
        cwd="/",
        extra_groups=[],
        env={},
    )
    if "too old" in done.stderr or "Permission denied" in done.stderr or "No module" in done.stderr:
        pytest.skip("no interpreter that another user can reach has the sources")
    assert done.stdout == "ok b\"65534 ['a']\\n\" \n", done.stdout + done.stderr
