"""The filter, run by an interpreter of BPF written here, and the numbers of calls beside the kernel's headers."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from omniform.errors import SandboxError
from omniform_codegen.sandbox.calls import ALLOWED, NUMBERS
from omniform_codegen.sandbox.seccomp import snippet_filter

ENTRY = 0x2345_6789_ABCD
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return what a filter says of a call."""
    padded = [each & (1 << 64) - 1 for each in (*arguments, *[0] * 6)][:6]
    architecture = ARCHITECTURES[machine] if architecture is None else architecture
    record = struct.pack("<IIQ6Q", number, architecture, 0, *padded)
    program = list(struct.iter_unpack("<HBBI", snippet_filter(ENTRY, machine)))
    place = word = 0
    while True:
        code, true, false, value = program[place]
        place += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (word,) = struct.unpack_from("<I", record, value)
            continue
        holds = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[code]
        place += true if holds else false


@pytest.mark.parametrize("machine", NUMBERS)
def test_every_number_is_decided_as_listed(machine):
    names = {number: name for name, number in NUMBERS[machine].items()}
    for number in range(600):
        allowed = names.get(number) in ALLOWED
        expected = ALLOW if allowed else ENOSYS if names.get(number) == "clone3" else EPERM
        if names.get(number) in ("fcntl", "prlimit64"):
            continue  # whose arguments of zero are good
        assert decide(machine, number) == expected, names.get(number, number)


@pytest.mark.parametrize("machine", NUMBERS)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (0x3D0F00,), True),  # as glibc makes threads
        ("clone", (0x01200011,), False),  # as glibc forks
        ("clone", (0x4111,), False),  # vfork
        ("clone", (0x3D0F00 | 0x10000000,), False),
        ("clone", (0x3D0F00 | 0x20000,), False),
        ("clone", (0x3D0F00 | 0x80,), False),
        ("execve", (ENTRY,), True),
        ("execve", (ENTRY + 1,), False),
        ("execve", (ENTRY & 0xFFFFFFFF,), False),
        ("execve", (ENTRY | 1 << 60,), False),
        ("socketpair", (1, 1), True),
        ("socketpair", (2, 1), False),
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0x5412), False),
        ("ioctl", (0x5401, 0x541C), False),
        ("fcntl", (5, 3), True),
        ("fcntl", (5, 6), False),
        ("fcntl", (5, 1031), False),
        ("prctl", (15,), True),
        ("prctl", (22,), False),
        ("prctl", (4,), False),
        ("prlimit64", (0, 9), True),
        ("prlimit64", (1, 9), False),
    ],
)
def test_arguments_decide(machine, name, arguments, allowed):
    assert decide(machine, NUMBERS[machine][name], *arguments) == (ALLOW if allowed else EPERM)


def test_other_interfaces_are_killed():
    assert decide("x86_64", 39, architecture=0x40000003) == KILL  # int 0x80
    assert decide("x86_64", 0x40000000 | 39) == KILL  # x32
    assert decide("aarch64", 172, architecture=0x40000028) == KILL
    assert decide("x86_64", 0xFFFFFFFF) == KILL


def test_unknown_machines_are_refused():
    with pytest.raises(SandboxError, match="mips"):
        snippet_filter(ENTRY, "mips")


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")],
)
def test_numbers_are_those_of_the_kernel(machine, header):
    path = Path("/usr/include", header)
    if not path.exists():
        pytest.skip(f"there is no {header}")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    renamed = {"newfstatat": "fstatat"} if machine == "aarch64" else {}
    for name, number in NUMBERS[machine].items():
        assert defined[renamed.get(name, name)] == str(number), name
