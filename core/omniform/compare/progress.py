"""What a running comparison tells, and the bar that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread, current_thread

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Progress", "Tracker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a comparison is.

    Attributes:
        share: of all training that is to be done, 0 to 1.
        label: the run that just made a step.
        validation: its latest validation score, if this step had one.
    """

    share: float
    label: str
    validation: float | None = None


class Tracker:
    """Add up the shares of all runs; show a bar on stderr if it is a terminal, and a line per finished run.

    Args:
        total: the work to be done, in runs of a whole budget.
    """

    def __init__(self, total: float, *, show: bool, on_progress: Callable[[Progress], None] | None) -> None:
        console = Console(stderr=True, quiet=not show)
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, transient=True, disable=not (show and console.is_terminal))
        self._task = self._bar.add_task("", total=1.0)
        self._console = console
        self._total = total
        self._on_progress = on_progress
        self._done: dict[str, float] = {}
        self._owner = current_thread()
        self._reports: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def __enter__(self) -> Tracker:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._act(lambda: self._console.print(text, markup=False, highlight=False))

    def advance(self, label: str, work: float, *, validation: float | None = None) -> None:
        """Note that the run `label` has done `work` of the total."""
        self._act(lambda: self._advance(label, work, validation))

    def follow(self, threads: Sequence[Thread]) -> None:
        """Show what these threads report, until they have ended."""
        while any(thread.is_alive() for thread in threads) or not self._reports.empty():
            with suppress(Empty):
                self._reports.get(timeout=0.1)()

    def _act(self, act: Callable[[], None]) -> None:
        """Act in the thread that made this tracker: callbacks draw, and few toolkits draw from any other."""
        if current_thread() is self._owner:
            act()
        else:
            self._reports.put(act)

    def _advance(self, label: str, work: float, validation: float | None) -> None:
        self._done[label] = work
        share = min(sum(self._done.values()) / self._total, 1.0)
        self._bar.update(self._task, completed=share, description=label)
        if self._on_progress is not None:
            self._on_progress(Progress(share=share, label=label, validation=validation))
