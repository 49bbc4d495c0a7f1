"""Neighborhood attention against dense attention under a brute-force list of neighbours."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.neighborhood import NeighborhoodAttention
from omniform.testing import CHECKS

CASES = [
    ((11,), (5,), (1,)),
    ((11,), (3,), (3,)),
    ((4,), (7,), (1,)),
    ((6, 7), (3, 5), (1, 1)),
    ((6, 7), (3, 3), (2, 2)),
    ((3, 4, 5), (3, 3, 3), (1, 1, 1)),
    ((3, 4, 5), (1, 2, 3), (1, 2, 1)),
]


def _tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _build(kernel_size: tuple[int, ...], dilation: tuple[int, ...]) -> NeighborhoodAttention:
    torch.manual_seed(0)
    mixer = NeighborhoodAttention(8, kernel_size, dilation=dilation, num_heads=2).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return mixer


def _neighbours(i: int, n: int, size: int, dilation: int) -> list[int]:
    """Return the `size` tokens of i's residue class whose window, shifted inward at borders, is centred on i."""
    fellows = [j for j in range(n) if (j - i) % dilation == 0]
    at = fellows.index(i)
    windows = [range(s, s + size) for s in range(max(len(fellows) - size, 0) + 1)]
    best = min(windows, key=lambda w: abs(w[0] + size // 2 - at))
    return [fellows[p] for p in best if p < len(fellows)]


def _dense(mixer: NeighborhoodAttention, x: Tensor) -> Tensor:
    """Mix one sample (*grid, D)."""
    grid = x.shape[:-1]
    places = list(product(*(range(n) for n in grid)))
    bias = torch.full((2, len(places), len(places)), -torch.inf, dtype=torch.float64)
    for i, p in enumerate(places):
        axes = zip(p, grid, mixer.kernel_size, mixer.dilation, strict=True)
        for r in product(*(_neighbours(*axis) for axis in axes)):
            steps = zip(p, r, mixer.kernel_size, mixer.dilation, strict=True)
            row = tuple((b - a) // d + size - 1 for a, b, size, d in steps)
            bias[:, i, places.index(r)] = mixer.table[(slice(None), *row)]
    q, k, v = (t.flatten(0, -2).unflatten(-1, (2, 4)).transpose(0, 1) for t in mixer.qkv(x).chunk(3, -1))
    y = ((q @ k.mT / 2 + bias).softmax(-1) @ v).transpose(0, 1).flatten(1)
    return mixer.out(y).view_as(x)


@pytest.mark.parametrize(("grid", "kernel_size", "dilation"), CASES)
def test_equals_dense_attention_among_neighbours(
    grid: tuple[int, ...], kernel_size: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    mixer, x = _build(kernel_size, dilation), _tokens(2, *grid, 8)
    torch.testing.assert_close(mixer(x, Layout(grid)), torch.stack([_dense(mixer, row) for row in x]))


def test_dilation_is_attention_on_each_dilated_sub_grid() -> None:
    dilated, plain, x = _build((3, 3), (2, 3)), _build((3, 3), (1, 1)), _tokens(2, 8, 9, 8)
    y = dilated(x, Layout((8, 9)))
    for a, b in product(range(2), range(3)):
        part = x[:, a::2, b::3]
        torch.testing.assert_close(y[:, a::2, b::3], plain(part, Layout.of(part)))


@pytest.mark.parametrize("side", ["right", "left", "ragged"])
def test_a_padded_sequence_has_the_borders_that_it_has_alone(side: str) -> None:
    mixer, x = _build((5,), (2,)), _tokens(3, 12, 8)
    lengths = torch.tensor([12, 7, 0])[:, None]
    mask = {
        "right": torch.arange(12) < lengths,
        "left": torch.arange(12) >= 12 - lengths,
        "ragged": torch.rand(3, 12, generator=torch.Generator().manual_seed(0)).argsort(1) < lengths,
    }[side]
    y = mixer(x, Layout((12,), mask=mask))
    for row, tokens, valid in zip(y[:2], x, mask, strict=False):
        torch.testing.assert_close(row[valid], _dense(mixer, tokens[valid]))
    assert y.isfinite().all()


def test_a_hole_in_a_grid_gets_no_weight() -> None:
    mixer, x = _build((3, 3), (1, 1)), _tokens(2, 5, 6, 8).requires_grad_()
    mask = torch.ones(2, 5, 6).bool()
    mask[:, 2, 3] = False
    mask[1, 4:] = False
    y = mixer(x, Layout((5, 6), mask=mask))
    (grad,) = torch.autograd.grad(y[mask].square().sum(), x)
    assert not grad[~mask].any()
    assert (grad[mask].norm(dim=-1) > 0).all()


def test_dilation_alternates_as_far_as_the_grid_allows() -> None:
    assert NeighborhoodAttention.dilation_at(0, (7, 7), (56, 28)) == (1, 1)
    assert NeighborhoodAttention.dilation_at(1, (7, 7), (56, 28)) == (8, 4)
    assert NeighborhoodAttention.dilation_at(1, (7,), (5,)) == (1,)


def test_cost_counts_the_pairs_of_neighbours() -> None:
    for grid, kernel_size, dilation in CASES:
        mixer = NeighborhoodAttention(8, kernel_size, dilation=dilation, num_heads=2)
        pairs = 1
        for axis in zip(grid, kernel_size, dilation, strict=True):
            pairs *= sum(len(_neighbours(i, *axis)) for i in range(axis[0]))
        tokens = torch.zeros(grid).numel()
        assert mixer.cost(grid).flops == 8 * tokens * 8**2 + 4 * pairs * 8
        assert mixer.cost(grid).parameters == sum(p.numel() for p in mixer.parameters())


def test_describe_gives_kernel_and_dilation() -> None:
    assert NeighborhoodAttention(8, (7, 5)).describe() == "dinat 7x5"
    assert NeighborhoodAttention(8, (7, 5), dilation=(4, 1)).describe() == "dinat 7x5, dilated by 4x1"


def test_kernels_that_cannot_be_are_refused() -> None:
    for kernel_size, dilation in (((0,), None), ((3, 3), (1,)), ((3,), (0,)), ((3, 3, 3, 3), None)):
        with pytest.raises(ConfigError, match="expected"):
            NeighborhoodAttention(8, kernel_size, dilation=dilation)


class _Dilated(NeighborhoodAttention):
    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[str, ...], causal: bool) -> NeighborhoodAttention:
        return cls(dim, (3, 2, 3)[: len(grid)], dilation=(2, 3, 1)[: len(grid)], causal=causal)


@pytest.mark.parametrize(
    "check", [check for check in CHECKS.values() if check.name != "growth"], ids=lambda check: check.name
)
def test_dilated_form_keeps_the_contract(check: Any) -> None:
    if reason := check.reason_to_skip(_Dilated):
        pytest.skip(reason)
    check(_Dilated, 32)
