"""What is timed: one op at one shape, our forms beside peers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from omniform_kernels.backends import Form
from omniform_kernels.compiler import Library

__all__ = ["Case", "Run", "Target", "cpu_forms", "relative_error"]

Run = Callable[[], object]
"""Do the work once; everything that is not to be timed was prepared before."""


@dataclass(frozen=True, slots=True)
class Target:
    """A wish: `form` is at least `ratio` times as fast as `peer` (below 1: at most 1 / ratio times as slow)."""

    form: str
    peer: str
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One op at one shape.

    Attributes:
        op: the op's folder.
        name: what runs, and its shape: "forward+backward, per channel, B1 T2048 H8 D64".
        forms: our forms by backend ("cpu", "native", "triton"), each ready to run.
        peers: what stands beside them; each builds its run when it is wanted, and raises ImportError where the peer is
            not installed.
        check: the largest relative error of our forms against the definition, in outputs and gradients, at this shape
            or one that the definition can bear; timings are refused if it exceeds `bound`.
        bound: what the error may be.
        targets: what the project wishes.
        flops, bytes: work of one run, and the least memory traffic it needs; None where no limit is of interest.
        repeats: how many interleaved rounds; slow peers want few.
    """

    op: str
    name: str
    forms: Mapping[str, Run]
    peers: Mapping[str, Callable[[], Run]] = field(default_factory=dict)
    check: Callable[[], float]
    bound: float
    targets: tuple[Target, ...] = ()
    flops: float | None = None
    bytes: float | None = None
    repeats: int = 7


def cpu_forms(library: Library) -> tuple[Form, ...]:
    """Return the forms that a CPU times: plain torch, and C++ where it can be built."""
    return ("cpu", "native") if library.available() else ("cpu",)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the root mean square of the difference over that of what was expected; infinite where not finite."""
    actual, expected = actual.detach().double(), expected.detach().double()
    if not actual.isfinite().all():
        return float("inf")
    scale = expected.square().mean().sqrt().clamp(min=1e-30)
    return float((actual - expected).square().mean().sqrt() / scale)
