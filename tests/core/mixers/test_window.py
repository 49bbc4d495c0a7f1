"""Window attention against dense attention under a list of who sees whom."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from omniform.errors import ConfigError, IncompatibleError
from omniform.layout import Layout
from omniform.mixers.window import WindowAttention
from omniform.testing import CHECKS

CASES = [
    ((11,), (4,), (0,)),
    ((11,), (4,), (2,)),
    ((12,), (4,), (3,)),
    ((3,), (4,), (0,)),
    ((3,), (4,), (2,)),
    ((7, 10), (3, 4), (0, 0)),
    ((7, 10), (3, 4), (1, 2)),
    ((6, 8), (3, 4), (1, 2)),
    ((2, 9), (4, 3), (0, 1)),
    ((3, 5, 4), (2, 3, 2), (1, 0, 1)),
    ((3, 5, 4), (2, 2, 5), (1, 1, 2)),
]


def _tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _build(window: tuple[int, ...], shift: tuple[int, ...]) -> WindowAttention:
    torch.manual_seed(0)
    mixer = WindowAttention(8, window, shift=shift, num_heads=2).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return mixer


def _window_of(place: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]) -> tuple[int, ...]:
    """Return the window that holds a place: of each axis the first `shift` tokens, then `window` at a time."""
    ends = (range(s or w, p + w + 1, w) for p, w, s in zip(place, window, shift, strict=True))
    return tuple(sum(end <= p for end in axis) for p, axis in zip(place, ends, strict=True))


def _dense(mixer: WindowAttention, x: Tensor, mask: Tensor) -> Tensor:
    grid = x.shape[1:-1]
    places = list(product(*(range(n) for n in grid)))
    logits = torch.full((2, len(places), len(places)), -torch.inf, dtype=torch.float64)
    for (i, p), (j, r) in product(enumerate(places), repeat=2):
        if _window_of(p, mixer.window, mixer.shift) == _window_of(r, mixer.window, mixer.shift):
            relative = (b - a + size - 1 for a, b, size in zip(p, r, mixer.window, strict=True))
            logits[:, i, j] = mixer.table[(slice(None), *relative)]
    q, k, v = (t.flatten(1, -2).unflatten(-1, (2, 4)).transpose(1, 2) for t in mixer.qkv(x).chunk(3, -1))
    logits = (q @ k.mT / 2 + logits).masked_fill(~mask.flatten(1)[:, None, None], -torch.inf)
    y = (logits.softmax(-1).nan_to_num() @ v).transpose(1, 2).flatten(2)
    return mixer.out(y).view_as(x)


@pytest.mark.parametrize(("grid", "window", "shift"), CASES)
def test_equals_dense_attention_among_the_tokens_of_each_window(
    grid: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> None:
    mixer, x = _build(window, shift), _tokens(2, *grid, 8)
    everything = torch.ones(2, *grid).bool()
    torch.testing.assert_close(mixer(x, Layout(grid)), _dense(mixer, x, everything))
    mask = _tokens(2, *grid, seed=3) > 0.3
    torch.testing.assert_close(mixer.mix(x, Layout(grid, mask=mask))[mask], _dense(mixer, x, mask)[mask])


def test_shifted_layers_let_windows_meet() -> None:
    grid, window = (8, 8), (4, 4)
    x = _tokens(1, *grid, 8).requires_grad_()
    layers = [_build(window, WindowAttention.shift_at(index, window, grid)) for index in range(2)]
    y = layers[1](layers[0](x, Layout(grid)), Layout(grid))
    (grad,) = torch.autograd.grad(y[0, 3, 3].sum(), x)
    assert (grad[0].norm(dim=-1) > 0).all()


def test_the_shift_alternates_along_axes_longer_than_the_window() -> None:
    assert WindowAttention.shift_at(0, (7, 7), (14, 14)) == (0, 0)
    assert WindowAttention.shift_at(1, (7, 7), (14, 7)) == (3, 0)


def test_the_bias_starts_as_in_the_paper() -> None:
    mixer = WindowAttention(32, (7, 7), num_heads=4)
    assert mixer.table.shape == (4, 13, 13)
    assert 0.015 < mixer.table.std().item() < 0.025
    assert not mixer.qkv.bias.any()


def test_describe_gives_window_and_shift() -> None:
    assert WindowAttention(8, (4, 3)).describe() == "window 4x3"
    assert WindowAttention(8, (4, 3), shift=(2, 1)).describe() == "window 4x3, shifted by 2x1"


def test_windows_that_cannot_be_are_refused() -> None:
    for window, shift in (((4,), (4,)), ((4, 4), (1,)), ((0,), None), ((2, 2, 2, 2), None)):
        with pytest.raises(ConfigError, match="expected"):
            WindowAttention(8, window, shift=shift)
    with pytest.raises(IncompatibleError, match="rank 1"):
        WindowAttention(8, (4, 4))(torch.zeros(1, 5, 8), Layout((5,)))


class _Shifted(WindowAttention):
    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[str, ...], causal: bool) -> WindowAttention:
        return cls(dim, (4, 3, 2)[: len(grid)], shift=(2, 1, 1)[: len(grid)], causal=causal)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_shifted_form_keeps_the_contract(check: Any) -> None:
    if reason := check.reason_to_skip(_Shifted):
        pytest.skip(reason)
    check(_Shifted, 32)
