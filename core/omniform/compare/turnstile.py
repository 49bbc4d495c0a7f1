"""Several trainings side by side on one machine, one running at a time."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition
from types import TracebackType

__all__ = ["Interrupted", "Turn", "Turnstile"]


class Interrupted(BaseException):
    """The comparison ends before this thread's work does; no error of the work, hence no `Exception`."""


class Turnstile:
    """Let one of several threads run at a time, in turn, about `slice_seconds` each.

    Whatever else the machine is doing then slows every contender alike, which one after another would not.
    """

    def __init__(self, slice_seconds: float) -> None:
        self.slice_seconds = slice_seconds
        self._ring: deque[Turn] = deque()
        self._changed = Condition()
        self.closed = False

    def join(self) -> Turn:
        """Return a place in the ring; all join before the first thread starts."""
        turn = Turn(self)
        self._ring.append(turn)
        return turn

    def close(self) -> None:
        """Make every thread raise at its next step, so that an interrupted comparison ends."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _wait(self, turn: Turn) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._ring[0] is turn)
            if self.closed:
                raise Interrupted

    def _pass_on(self) -> None:
        with self._changed:
            self._ring.rotate(-1)
            self._changed.notify_all()

    def _remove(self, turn: Turn) -> None:
        with self._changed:
            self._ring.remove(turn)
            self._changed.notify_all()


class Turn:
    """One thread's place: a context manager around all of its work, and the gate of its training.

    The turn is handed on inside `enter` alone, so that set-up, data loading and compilation never run beside another
    contender's step.
    """

    def __init__(self, turnstile: Turnstile) -> None:
        self._turnstile = turnstile
        self._began = 0.0
        self._depth = 0

    def __enter__(self) -> Turn:
        self._acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turnstile._remove(self)

    def enter(self) -> None:
        """Begin a training step or a validation; wait here when the slice is used up."""
        if self._turnstile.closed:
            raise Interrupted
        if self._depth == 0 and time.perf_counter() - self._began >= self._turnstile.slice_seconds:
            self._turnstile._pass_on()
            self._acquire()
        self._depth += 1

    def leave(self) -> None:
        """End what `enter` began."""
        self._depth -= 1

    def _acquire(self) -> None:
        self._turnstile._wait(self)
        self._began = time.perf_counter()
