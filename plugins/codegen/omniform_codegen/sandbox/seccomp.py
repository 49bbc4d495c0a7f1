"""The filter of system calls: what a single-process program may ask of the kernel; all else is refused.

A filter is a program of classic BPF (seccomp(2)): 8 bytes an instruction, over a record of a call's number, machine and
six arguments.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable

from omniform.errors import SandboxError
from omniform_codegen.sandbox.calls import ALLOWED, NUMBERS

__all__ = ["ALLOW", "KILL", "error", "read_word", "snippet_filter", "unless_equal"]

ALLOW = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
KILL = struct.pack("=HBBI", 0x06, 0, 0, 0x80000000)

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_EPERM, _ENOSYS = 1, 38

_THREAD = 0x00010000
_NEW_NAMESPACES = 0x7E020080
_UNIX = 1
_FCNTL = (0, 1, 2, 3, 4, 1030, 1032)  # duplicates, flags, the size of a pipe; no locks, leases, notices, larger pipes
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, its size, bytes waiting; flags
_PRCTL = (3, 15, 16)  # dumpable, and a thread's name


def error(number: int) -> bytes:
    """Return the instruction that has a call fail with this error number."""
    return struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | number)


def read_word(place: int) -> bytes:
    """Return the instruction that reads 32 bits of the record."""
    return struct.pack("=HBBI", 0x20, 0, 0, place)


def _allow_if(number: int, *tests: bytes) -> bytes:
    """Return instructions that allow a call where no test refuses it; the number must have been read."""
    body = b"".join(tests) + ALLOW
    return unless_equal(number, len(body) // 8) + body


def snippet_filter(entry: int, machine: str | None = None) -> bytes:
    """Return the filter for a snippet.

    Threads may be made, processes may not. One program may be executed, that whose path lies at `entry`: an address
    drawn anew for each run from 2^37 or more, which the program that is then executed does not know.

    Raises:
        SandboxError: the machine is neither x86_64 nor aarch64.
    """
    machine = platform.machine() if machine is None else machine
    if machine not in _ARCHITECTURES:
        raise SandboxError(f"expected a machine of {' or '.join(_ARCHITECTURES)} for the sandbox, got {machine}")
    numbers = NUMBERS[machine]
    program = [read_word(_ARCHITECTURE), unless_equal(_ARCHITECTURES[machine], 1, otherwise=True), KILL]
    program += [read_word(_NUMBER)]
    if machine == "x86_64":
        program += [struct.pack("=HBBI", 0x35, 0, 1, _X32), KILL]  # at least
    program += [_allow_if(numbers[name]) for name in ALLOWED if name in numbers]
    tests: dict[str, tuple[bytes, ...]] = {
        "clone": (_argument(0), _need_bits(_THREAD), _refuse_bits(_NEW_NAMESPACES)),
        "socketpair": (_argument(0), _need_one_of([_UNIX])),
        "fcntl": (_argument(1), _need_one_of(_FCNTL)),
        "ioctl": (_argument(1), _need_one_of(_IOCTL)),
        "prctl": (_argument(0), _need_one_of(_PRCTL)),
        "prlimit64": (_argument(0), _need_one_of([0])),
        "execve": (
            *(_argument(0), _need_one_of([entry & 0xFFFFFFFF])),
            *(_argument(0, high=True), _need_one_of([entry >> 32])),
        ),
    }
    program += [_allow_if(numbers[name], *each) for name, each in tests.items()]
    program += [unless_equal(numbers["clone3"], 1), error(_ENOSYS)]  # whose flags lie in memory: libc then takes clone
    return b"".join(program) + error(_EPERM)


def unless_equal(value: int, skip: int, *, otherwise: bool = False) -> bytes:
    """Skip instructions where the word read is not `value`; `otherwise`, where it is."""
    return struct.pack("=HBBI", 0x15, skip * otherwise, skip * (not otherwise), value)


def _argument(place: int, *, high: bool = False) -> bytes:
    return read_word(_ARGUMENTS + 8 * place + 4 * high)


def _need_one_of(values: Iterable[int]) -> bytes:
    """Refuse unless the word is one of these: each match skips the rest and the refusal."""
    values = tuple(values)
    tests = [unless_equal(value, len(values) - place, otherwise=True) for place, value in enumerate(values)]
    return b"".join(tests) + error(_EPERM)


def _need_bits(bits: int) -> bytes:
    return struct.pack("=HBBI", 0x45, 1, 0, bits) + error(_EPERM)


def _refuse_bits(bits: int) -> bytes:
    return struct.pack("=HBBI", 0x45, 0, 1, bits) + error(_EPERM)
