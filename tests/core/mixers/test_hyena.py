"""Hyena N-D against convolutions written as matrices over pairs of tokens, in float64."""

from itertools import product
from typing import Any

import pytest
import torch

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.hyena import HyenaND

CASES: list[dict[str, Any]] = [
    {"grid": (7,), "causal": True},
    {"grid": (6,)},
    {"grid": (4, 5)},
    {"grid": (4, 5), "variant": "product"},
    {"grid": (2, 3, 4)},
    {"grid": (3, 2, 4), "variant": "product"},
]


def example(grid, causal=False, variant="joint") -> tuple[HyenaND, torch.Tensor]:
    torch.manual_seed(0)
    mixer = HyenaND(6, rank=len(grid), variant=variant, causal=causal).double()
    return mixer, torch.randn(2, *grid, 6, dtype=torch.float64)


def offsets(grid: tuple[int, ...]) -> torch.Tensor:
    """Return (L, L, rank): how far token t lies behind token s."""
    places = torch.tensor(list(product(*map(range, grid))))
    return places[:, None] - places


def short(mixer: HyenaND, u: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """Convolve (B, L, C) with the three taps per axis, tap by tap."""
    gap = offsets(grid)
    y = mixer.short.bias.expand_as(u)
    for tap in product(range(3), repeat=len(grid)):
        shift = torch.tensor(tap) - (2 if mixer.causal else 1)  # the token that the tap reads, seen from its own
        reads = (gap == -shift).all(-1).double()  # (L, L)
        y = y + torch.einsum("ts,bsc->btc", reads, u) * mixer.short.weight[(slice(None), 0, *tap)]
    return y


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_direct_convolutions(case):
    mixer, x = example(**case)
    grid = case["grid"]
    gap = offsets(grid)
    seen = gap.ge(0).all(-1) if mixer.causal else torch.ones(len(gap), len(gap), dtype=torch.bool)
    index = gap.clamp(min=0) if mixer.causal else gap + torch.tensor(grid) - 1
    filters = mixer.filter(grid)[tuple(index.unbind(-1))] * seen[..., None]  # (L, L, 2 D)
    v, *gates = short(mixer, mixer.input(x).flatten(1, -2), grid).split(6, dim=-1)
    for i, gate in enumerate(gates):
        h = filters[..., 6 * i : 6 * (i + 1)]
        v = gate * (torch.einsum("tsc,bsc->btc", h, v) + mixer.skip[i] * v)
    expected = mixer.out(v).view_as(x)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)


def test_product_filter_is_the_outer_product_of_its_axes():
    mixer, _ = example((4, 3, 2), variant="product")
    a, b, c = (
        make([torch.arange(1 - n, n, dtype=torch.float64)]) for make, n in zip(mixer.filters, (4, 3, 2), strict=True)
    )
    torch.testing.assert_close(mixer.filter((4, 3, 2)), torch.einsum("ic,jc,kc->ijkc", a, b, c))


@pytest.mark.parametrize("variant", ["joint", "product"])
def test_a_larger_grid_only_adds_taps(variant):
    mixer, _ = example((4, 5), variant=variant)
    large = mixer.filter((9, 7))
    assert large.shape == (17, 13, 12)
    torch.testing.assert_close(large[5:12, 2:11], mixer.filter((4, 5)))


def test_filters_fade_as_the_window_says():
    mixer, _ = example((8,))
    (make,) = mixer.filters
    with torch.no_grad():
        make.out.weight.fill_(1.0)
        for layer in make.layers:
            layer.weight.zero_()
            layer.bias.fill_(1.0)
    near, far = make([torch.tensor([0.0, 64.0, -64.0], dtype=torch.float64)])[:2]
    torch.testing.assert_close((far / near)[[0, -1]], torch.tensor([0.01 ** (1 / 1.5), 0.01 ** (1 / 0.3)]).double())


def test_filters_tell_far_offsets_apart_in_half_precision():
    mixer, _ = example((8,), causal=True)
    filters = mixer.to(torch.bfloat16).filter((2048,)).float()
    assert filters.shape == (2048, 12)
    assert (filters[256:300].diff(dim=0).abs().amax(1) > 0).all()


def test_refuses_another_rank():
    mixer, _ = example((4, 5))
    with pytest.raises(IncompatibleError, match="rank 2"):
        mixer(torch.zeros(1, 4, 6, dtype=torch.float64), Layout((4,)))
    with pytest.raises(IncompatibleError, match="causal grid"):
        HyenaND(6, rank=2, causal=True)
