"""The time that a training run has used, counted only while it holds its turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Clock", "Gate"]


class Gate(Protocol):
    """A turn among several runs in threads: `enter` waits for it, `leave` passes it on."""

    def enter(self) -> None: ...

    def leave(self) -> None: ...


class Clock:
    """Count wall and CPU seconds between `start` and `stop`, and hold the gate meanwhile.

    CPU seconds are those of the whole process: whoever else would run in it waits at the gate.
    """

    def __init__(self, gate: Gate | None = None, *, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._gate = gate
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._since: tuple[float, float] | None = None

    def start(self) -> None:
        """Take the turn, unless it is held already."""
        if self._since is None:
            if self._gate is not None:
                self._gate.enter()
            self._since = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Give the turn back, if it is held."""
        if self._since is not None:
            self._seconds, self._cpu_seconds = self.read()
            self._since = None
            if self._gate is not None:
                self._gate.leave()

    def read(self) -> tuple[float, float]:
        """Return wall and CPU seconds so far."""
        if self._since is None:
            return self._seconds, self._cpu_seconds
        wall, cpu = self._since
        return self._seconds + time.perf_counter() - wall, self._cpu_seconds + time.process_time() - cpu

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Hold the turn for work that is not training, such as compiling."""
        if self._gate is not None:
            self._gate.enter()
        try:
            yield
        finally:
            if self._gate is not None:
                self._gate.leave()
