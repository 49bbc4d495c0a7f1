"""Axial attention against a loop of dense attention over rows and columns."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.attention import Attention
from omniform.mixers.axial import AxialAttention

GRIDS = {1: (5,), 2: (4, 5), 3: (2, 3, 4)}


def _tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _build(rank: int) -> AxialAttention:
    torch.manual_seed(0)
    return AxialAttention(8, rank, num_heads=2).double()


def _line(attention: Attention, x: Tensor, mask: Tensor) -> Tensor:
    """Attend along one line (n, D) by dense algebra; masked tokens are left out and get zeros."""
    y = torch.zeros_like(x)
    if not mask.any():
        return y
    x = x[mask]
    heads = []
    for h in range(2):
        q, k, v = (x @ m.weight[4 * h : 4 * h + 4].T for m in (attention.query, attention.key, attention.value))
        weights = torch.exp(q @ k.T / 2)
        heads.append(weights @ v / weights.sum(1, keepdim=True))
    return y.index_put((mask.nonzero()[:, 0],), torch.cat(heads, 1) @ attention.out.weight.T)


def _by_hand(mixer: AxialAttention, x: Tensor, mask: Tensor) -> Tensor:
    """Sum over the axes of each line by itself."""
    total = torch.zeros_like(x)
    grid = x.shape[1:-1]
    for axis, attention in enumerate(mixer.along):
        assert isinstance(attention, Attention)
        for place in product(range(len(x)), *(range(n) for i, n in enumerate(grid) if i != axis)):
            line = (*place[: axis + 1], slice(None), *place[axis + 1 :])
            total[line] += _line(attention, x[line], mask[line])
    return total


@pytest.mark.parametrize("rank", GRIDS)
def test_equals_a_loop_over_lines(rank: int) -> None:
    mixer, x = _build(rank), _tokens(2, *GRIDS[rank], 8)
    y = mixer(x, Layout(GRIDS[rank]))
    torch.testing.assert_close(y, _by_hand(mixer, x, torch.ones(x.shape[:-1]).bool()))


@pytest.mark.parametrize("rank", GRIDS)
def test_masks_of_any_shape_leave_their_tokens_out(rank: int) -> None:
    mixer, x = _build(rank), _tokens(2, *GRIDS[rank], 8)
    mask = _tokens(2, *GRIDS[rank], seed=3) > 0.3
    mask[0, 0] = False
    y = mixer(x.masked_fill(~mask[..., None], torch.inf), Layout(GRIDS[rank], mask=mask))
    torch.testing.assert_close(y[mask], _by_hand(mixer, x, mask)[mask])


def test_a_line_of_padding_alone_gives_zeros() -> None:
    mixer, x = _build(2), _tokens(1, 4, 5, 8)
    y = mixer(x, Layout((4, 5), mask=torch.zeros(1, 4, 5).bool()))
    assert not y.any()


def test_a_token_sees_its_row_and_its_column_alone() -> None:
    mixer, x = _build(2), _tokens(1, 4, 5, 8).requires_grad_()
    (grad,) = torch.autograd.grad(mixer(x, Layout((4, 5)))[0, 1, 2].sum(), x)
    seen = grad[0].norm(dim=-1) > 0
    expected = torch.zeros(4, 5).bool()
    expected[1], expected[:, 2] = True, True
    assert torch.equal(seen, expected)


def test_one_axis_is_plain_attention() -> None:
    mixer, x = _build(1), _tokens(2, 5, 8)
    torch.testing.assert_close(mixer(x, Layout((5,))), mixer.along[0](x, Layout((5,))))


def test_cost_is_that_of_the_lines() -> None:
    line = Attention(8, num_heads=2)
    cost = _build(2).cost((4, 5))
    assert cost.flops == 5 * line.cost((4,)).flops + 4 * line.cost((5,)).flops
    assert cost.parameters == 2 * line.cost((4,)).parameters


def test_a_rank_beyond_three_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank of 1 to 3"):
        AxialAttention(8, 4)
