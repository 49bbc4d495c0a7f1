"""How much a program may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omniform.errors import ConfigError

__all__ = ["Limits"]

_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program in the sandbox may take, all its threads together.

    Attributes:
        seconds: of wall clock, from the interpreter's start; processor time, of all threads, ends a little later.
        memory: bytes of address space. There is one process, which cannot make another, so that this and `disk` bound
            all the memory that it holds.
        disk: bytes of its working folder, which lies in memory.
        inodes: files and folders in there.
        threads: at a time.
        descriptors: open at a time.
        output: bytes that are kept of each of stdout and stderr.
    """

    seconds: float = 3.0
    memory: int = 512 * _MEBIBYTE
    disk: int = 16 * _MEBIBYTE
    inodes: int = 1024
    threads: int = 16
    descriptors: int = 64
    output: int = 64 * 1024

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and 0 < self.seconds <= 3600):
            raise ConfigError(f"expected a time limit above 0 and of at most 3600 seconds, got {self.seconds}")
        least = {"memory": 64 * _MEBIBYTE, "disk": 4096, "inodes": 16, "threads": 1, "descriptors": 16, "output": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"expected a limit of {name} of at least {bound}, got {getattr(self, name)}")
