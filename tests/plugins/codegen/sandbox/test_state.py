"""What the kernel says, from outside, of a program in the sandbox."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def program(sandbox, canary) -> Iterator[Path]:
    """Return the folder in /proc of a program that sleeps."""
    tag = uuid.uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(sandbox.run, f"# {tag}\nimport time; time.sleep(60)")
        found = None
        while found is None and not outcome.done():
            for number in canary.left(tag):
                folder = Path("/proc", str(number))
                # not the first process of the namespace, nor the interpreter before it has begun
                if _status(folder)["NSpid"].split()[-1] == "2" and b"main.py" in (folder / "cmdline").read_bytes():
                    found = folder
            time.sleep(0.01)
        assert found is not None
        yield found


def _status(folder: Path) -> dict[str, str]:
    lines = (folder / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_has_no_capabilities(program):
    status = _status(program)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_it_is_nobody(program):
    status = _status(program)
    outside = os.geteuid() or 65534
    assert set(status["Uid"].split()) == {str(outside)}
    assert status["Groups"] == "" or os.geteuid() != 0


def test_its_namespaces_are_its_own(program):
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(program / "ns" / name) != os.readlink(f"/proc/self/ns/{name}"), name


def test_only_the_working_folder_can_be_written(program):
    mounts = [line.split() for line in (program / "mountinfo").read_text().splitlines()]
    for mount in mounts:
        place, flags = mount[4], set(mount[5].split(","))
        assert ("rw" in flags) == (place == "/tmp"), mount
        assert "nosuid" in flags, mount
        assert "nodev" in flags or place.startswith("/dev/"), mount
        assert "noexec" in flags or place.startswith(("/usr/lib", "/lib", "/python", "/etc")), mount
    kinds = {mount[mount.index("-") + 1] for mount in mounts}
    assert not kinds & {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"}


def test_its_limits_bind(program, sandbox):
    lines = (program / "limits").read_text().splitlines()[1:]
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    expected = {
        "Max address space": sandbox.limits.memory,
        "Max file size": sandbox.limits.disk,
        "Max open files": sandbox.limits.descriptors,
        "Max processes": sandbox.limits.threads + 1,
        "Max core file size": 0,
        "Max locked memory": 0,
    }
    for name, value in expected.items():
        assert limits[name] == [str(value)] * 2, name
    for name in ("Max cpu time", "Max stack size", "Max pending signals"):
        assert "unlimited" not in limits[name], name


def test_it_has_no_descriptors_but_three(program):
    assert sorted(os.listdir(program / "fd")) == ["0", "1", "2"]
    assert os.readlink(program / "fd" / "0") == "/stdin"


def test_it_has_a_session_without_a_terminal(program):
    fields = (program / "stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) != os.getsid(0)  # session
    assert fields[4] == "0"  # terminal
