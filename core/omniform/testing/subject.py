"""What the checks share: mixers that hide nothing, tokens, gradients, and comparisons that explain themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Mixer, State, Traits

__all__ = [
    "GRIDS",
    "build",
    "close",
    "expect",
    "gradients",
    "identical",
    "influence",
    "modes",
    "native_axes",
    "plain",
    "refuses",
    "seeded",
    "settings",
    "state_tensors",
    "tokens",
]

GRIDS: dict[int, tuple[int, ...]] = {1: (67,), 2: (9, 10), 3: (5, 4, 6)}
"""A grid of each rank: odd, and longer than the windows and chunks that mixers work in."""


def modes(traits: Traits) -> tuple[bool, ...]:
    """Return the values of `causal` that the traits allow."""
    return {"never": (False,), "optional": (False, True), "always": (True,)}[traits.causal]


def native_axes(traits: Traits, rank: int) -> tuple[AxisKind, ...]:
    """Return the plainest axes of this rank: ordered, where the mixer takes that."""
    return ("ordered" if "ordered" in traits.axes else traits.axes[0],) * rank


def plain(traits: Traits, grid: tuple[int, ...]) -> Layout:
    """Return the layout of a full grid with `native_axes`."""
    return Layout(grid, native_axes(traits, len(grid)))


def settings(traits: Traits) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield a grid and `causal` for each rank and mode that is declared; causality is a matter of rank 1."""
    for rank in traits.ranks:
        for causal in modes(traits):
            if rank == 1 or not causal:
                yield GRIDS[rank], causal


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed the global generator, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(
    cls: type[Mixer],
    dim: int,
    grid: tuple[int, ...],
    *,
    axes: tuple[AxisKind, ...] | None = None,
    causal: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Mixer:
    """Make a mixer in eval mode whose parameters are moved by noise, so that what starts at zero hides no fault."""
    axes = native_axes(cls.traits, len(grid)) if axes is None else axes
    with seeded(seed), torch.no_grad():
        mixer = cls.make(dim, grid=grid, axes=axes, causal=causal).to(dtype).eval()
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=dtype))
    return mixer


def tokens(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normal random numbers of this shape, the same ones each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(mixer: Mixer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a fixed random sum of `outputs`, summed over the calls that made them.

    Keys are the names of the parameters that learn, and `"input 0"`, `"input 1"`... for `inputs`; what has no part in
    the outputs has the gradient zero.
    """
    named = {name: p for name, p in mixer.named_parameters() if p.requires_grad}
    named |= {f"input {i}": x for i, x in enumerate(inputs)}
    loss = torch.stack([(y * tokens(*y.shape, seed=2).to(y.dtype)).sum() for y in outputs]).sum()
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, grads, strict=True))


def influence(mixer: Mixer, layout: Layout) -> Tensor:
    """Return `(L, L)` bool for a rank-1 layout: whether output `i` depends on token `j`, to first order."""
    x = tokens(1, layout.num_tokens, mixer.dim).requires_grad_()
    weights = tokens(mixer.dim, seed=2)
    y = mixer(x, layout) @ weights  # (1, L)
    rows = [torch.autograd.grad(y[0, i], x, retain_graph=True)[0][0].norm(dim=-1) for i in range(layout.num_tokens)]
    strength = torch.stack(rows)  # (L, L)
    return strength > 1e-10 * strength.max()


def state_tensors(state: State) -> list[Tensor]:
    """Return every tensor of a state, nested states and tuples included, in a fixed order."""

    def walk(value: Any) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, State):
            for field in fields(value):
                yield from walk(getattr(value, field.name))
        elif isinstance(value, tuple):
            for item in value:
                yield from walk(item)

    return list(walk(state))


def expect(condition: object, message: str) -> None:
    """Raise with this message unless the condition holds; an `assert` that `python -O` keeps."""
    if not condition:
        raise AssertionError(message)


def close(actual: Tensor, expected: Tensor, what: str, tolerance: float = 1e-9) -> None:
    """Raise unless the largest difference is within `tolerance`, relative to the largest expected value or to one."""
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: expected the shape {tuple(expected.shape)}, got {tuple(actual.shape)}")
    if expected.numel() == 0:
        return
    error = (actual - expected).abs().max().item()
    limit = tolerance * max(1.0, expected.abs().max().item())
    if not error <= limit:  # NaN counts as a difference
        raise AssertionError(f"{what}: the largest difference is {error:.2e}, allowed {limit:.2e}")


def identical(actual: Tensor, expected: Tensor, what: str) -> None:
    """Raise unless two tensors are equal bit by bit."""
    if not torch.equal(actual, expected):
        raise AssertionError(f"{what}: values differ")


def refuses(action: Callable[[], object], what: str) -> None:
    """Raise unless `action` is refused by an `IncompatibleError` of one line."""
    try:
        action()
    except IncompatibleError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError(f"{what} must be refused in one clear line, got {str(error)!r}") from error
        return
    except Exception as error:
        raise AssertionError(f"{what} must raise IncompatibleError, got {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what} must raise IncompatibleError, but was accepted")
