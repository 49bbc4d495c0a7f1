"""What a running training tells, and the bar that shows it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Progress", "ProgressBar"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a training run.

    Attributes:
        step: steps done.
        share: of the budget that has elapsed, 0 to 1.
        seconds: used so far.
        loss: of this step's batch.
        learning_rate: of this step.
        validation: the validation score, on the steps that have one.
        best: the best validation score so far.
    """

    step: int
    share: float
    seconds: float
    loss: float
    learning_rate: float
    validation: float | None
    best: float | None


class ProgressBar:
    """Draw a bar on stderr if it is a terminal (or `FORCE_COLOR` asks for one)."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Redraw, at most ten times a second."""
        best = "" if progress.best is None else f"  best validation {progress.best:.4g}"
        text = f"step {progress.step}  loss {progress.loss:.4g}{best}"
        self._bar.update(self._task, completed=progress.share, description=text)
