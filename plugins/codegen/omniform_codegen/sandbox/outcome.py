"""What became of a program that ran in the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Outcome", "Status"]

Status = Literal["ok", "error", "timeout", "memory", "killed", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: `"ok"`: it exited with 0, which says nothing of what it did; `"error"`: with another code; `"timeout"`:
            it was still there at the end of its time; `"memory"`: the interpreter says that memory was wanting;
            `"killed"`: by a signal; `"refused"`: it was not started, for a layer of the sandbox is missing.
        code: its exit code, or a signal's number below zero; `None` where it did not end by itself.
        stdout, stderr: what it wrote, as far as it is kept.
        seconds: from the interpreter's start to the end.
        dropped: bytes of stdout and stderr that were not kept.
        reason: why it was refused.
    """

    status: Status
    code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    dropped: int = 0
    reason: str = ""
