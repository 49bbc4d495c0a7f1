"""Layouts in awkward cases: packed, padded on every side, dropped tokens, sets, global tokens, contradictions."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omniform.errors import IncompatibleError
from omniform.layout import Layout, compact, expand, pack, take, unpack


def numbered(*shape: int) -> Tensor:
    """Return `(*shape, 1)` tokens, each of which is its number in raster order."""
    size = int(torch.tensor(shape).prod())
    return torch.arange(size, dtype=torch.float64).view(*shape, 1)


masks = st.integers(1, 4).flatmap(
    lambda batch: st.integers(1, 7).flatmap(
        lambda length: st.lists(
            st.lists(st.booleans(), min_size=length, max_size=length), min_size=batch, max_size=batch
        ).map(torch.tensor)
    )
)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"grid": (4, 5), "axes": ("ordered",)}, "one kind per axis"),
        ({"grid": (4, 5), "num_global": 1}, "rank 1"),
        ({"grid": (4, 5), "offsets": torch.tensor([0, 4])}, "rank 1"),
        ({"grid": (4,), "offsets": torch.tensor([0, 4]), "mask": torch.ones(1, 4).bool()}, "not both"),
        ({"grid": (4,), "offsets": torch.tensor([0, 4]), "num_global": 1}, "pad them"),
        ({"grid": (4,), "mask": torch.ones(2, 5).bool()}, "mask of shape"),
        ({"grid": (4, 5), "mask": torch.ones(2, 20).bool()}, "mask of shape"),
        ({"grid": (4,), "coords": torch.zeros(1, 5, 2)}, "coords of shape"),
        ({"grid": (4, 5), "coords": torch.zeros(1, 4, 2)}, "coords of shape"),
    ],
)
def test_contradictions_are_refused(parts, message):
    with pytest.raises(IncompatibleError, match=message):
        Layout(**parts)


@pytest.mark.parametrize(
    ("layout", "shape", "message"),
    [
        (Layout((4,)), (2, 5, 3), "expected tokens"),
        (Layout((4,)), (2, 2, 2, 3), "expected tokens"),
        (Layout((4,), mask=torch.ones(1, 4).bool()), (2, 4, 3), "batch of 2, got one for 1"),
        (Layout((4,), offsets=torch.tensor([0, 4])), (2, 4, 3), "batch of one"),
    ],
)
def test_tokens_of_another_layout_are_refused(layout, shape, message):
    with pytest.raises(IncompatibleError, match=message):
        layout.check(torch.zeros(shape))


def test_plain_layout_is_ordered_and_frozen():
    layout = Layout.of(torch.zeros(2, 3, 4, 8))
    assert (layout.grid, layout.axes, layout.rank, layout.num_tokens) == ((3, 4), ("ordered", "ordered"), 2, 12)
    assert layout.valid(2, "cpu").shape == (2, 3, 4)
    assert layout.valid(2, "cpu").all()
    with pytest.raises(FrozenInstanceError):
        layout.grid = (12,)  # pyright: ignore[reportAttributeAccessIssue]


def test_positions_are_the_index_on_the_grid():
    positions = Layout((2, 3)).positions(torch.empty(0, dtype=torch.float64))
    assert positions.dtype == torch.float64
    assert positions[0].tolist() == [[[0, 0], [0, 1], [0, 2]], [[1, 0], [1, 1], [1, 2]]]


def test_positions_of_global_tokens_are_the_origin():
    assert Layout((5,), num_global=2).positions(torch.empty(0)).flatten().tolist() == [0, 0, 0, 1, 2]


def test_positions_are_the_coordinates_where_there_are_any():
    coords = torch.tensor([[[0.5], [7.0]]])
    assert torch.equal(Layout((2,), coords=coords).positions(torch.empty(0, dtype=torch.float64)), coords.double())


def test_flatten_keeps_places_and_mask_in_raster_order():
    mask = numbered(2, 3, 4)[..., 0] % 5 != 0
    layout = Layout((3, 4), ("circular", "ordered"), mask=mask).flatten()
    x = Layout((3, 4)).positions(torch.empty(0)).flatten(1, -2)  # tokens that are their own places
    assert (layout.grid, layout.axes) == ((12,), ("ordered",))
    assert layout.coords is not None
    assert torch.equal(layout.coords, x)
    assert torch.equal(layout.valid(2, "cpu"), mask.flatten(1))


def test_flatten_keeps_given_coordinates():
    coords = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    flat = Layout((3, 4), coords=coords).flatten()
    assert flat.coords is not None
    assert torch.equal(flat.coords, coords.view(2, 12, 5))


def test_flatten_keeps_a_set_a_set():
    assert Layout((3, 4), ("set", "set")).flatten().axes == ("set",)
    assert Layout((3, 4), ("set", "ordered")).flatten().axes == ("ordered",)
    line = Layout((3,), ("set",), num_global=1)
    assert line.flatten() is line


def test_take_keeps_what_belongs_to_a_token():
    x = numbered(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
    y, layout = take(x, Layout((6,), ("set",), mask=mask, coords=10 * x), torch.tensor([[4, 0, 3], [5, 2, 2]]))
    assert y[..., 0].tolist() == [[4, 0, 3], [11, 8, 8]]
    assert layout.axes == ("set",)
    assert layout.valid(2, "cpu").tolist() == [[False, True, True], [True, True, True]]
    assert torch.equal(layout.positions(x), 10 * y)


def test_take_keeps_global_tokens_in_front():
    x = numbered(2, 6)
    y, layout = take(x, Layout((6,), num_global=2), torch.tensor([[3, 1], [0, 2]]))
    assert y[..., 0].tolist() == [[0, 1, 5, 3], [6, 7, 8, 10]]
    assert (layout.grid, layout.num_global) == ((4,), 2)
    assert layout.positions(x)[..., 0].tolist() == [[0, 0, 3, 1], [0, 0, 0, 2]]


def test_take_twice_is_take_once():
    x = numbered(1, 8)
    first, second = torch.tensor([[6, 2, 5, 0]]), torch.tensor([[3, 0]])
    y, layout = take(*take(x, Layout((8,), num_global=1), first), second)
    z, direct = take(x, Layout((8,), num_global=1), first.gather(1, second))
    assert torch.equal(y, z)
    assert torch.equal(layout.positions(x), direct.positions(x))


def test_take_counts_beyond_what_bfloat16_holds():
    x = torch.zeros(1, 300, 1, dtype=torch.bfloat16)
    _, layout = take(x, Layout((300,)), torch.tensor([[257, 299]]))
    assert layout.positions(torch.empty(0)).flatten().tolist() == [257, 299]


def test_take_refuses_packed_sequences_and_grids():
    index = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(IncompatibleError, match="flatten the grid or unpack first"):
        take(torch.zeros(1, 4, 1), Layout((4,), offsets=torch.tensor([0, 4])), index)
    with pytest.raises(IncompatibleError, match="flatten the grid or unpack first"):
        take(torch.zeros(1, 2, 2, 1), Layout((2, 2)), index)


@given(masks)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_expand_undoes_compact(mask: Tensor):
    x = 1 + numbered(*mask.shape)
    front, right, order = compact(x, mask)
    for row, kept, whole, valid in zip(front[..., 0], right, x[..., 0], mask, strict=True):
        count = int(valid.sum())
        assert kept.tolist() == [True] * count + [False] * (len(kept) - count)
        assert row.tolist() == whole[valid].tolist() + [0.0] * (len(kept) - count)
    assert torch.equal(expand(front, right, order), x * mask[..., None])
    assert torch.equal(expand(front + 100 * ~right[..., None], right, order), x * mask[..., None])


def test_compact_lets_no_garbage_through():
    mask = torch.tensor([[False, True, False, True]])
    x = torch.tensor([[[torch.nan], [1.0], [torch.inf], [2.0]]], requires_grad=True)
    front, right, order = compact(x, mask)
    assert front[..., 0].tolist() == [[1, 2, 0, 0]]
    (grad,) = torch.autograd.grad(expand(front.square(), right, order).sum(), x)
    assert grad[..., 0].tolist() == [[0, 2, 0, 4]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_pack_undoes_unpack(lengths: list[int]):
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    x = 1 + numbered(1, sum(lengths))
    padded, mask = unpack(x, offsets)
    assert padded.shape[:2] == mask.shape == (len(lengths), max(lengths))
    assert mask.sum(1).tolist() == lengths
    for row, (start, stop) in zip(padded, pairwise(offsets.tolist()), strict=True):
        assert torch.equal(row[: stop - start], x[0, start:stop])
        assert not row[stop - start :].any()
    assert torch.equal(pack(padded, mask), x)


def test_gradients_pass_through_packing():
    x = numbered(1, 7).requires_grad_()
    (grad,) = torch.autograd.grad(pack(*unpack(x, torch.tensor([0, 3, 3, 7]))).square().sum(), x)
    assert torch.equal(grad, 2 * x)


def test_layouts_are_made_from_layouts():
    layout = Layout((3,), mask=torch.ones(1, 3).bool())
    assert replace(layout, mask=None, num_global=1).num_global == 1
    with pytest.raises(IncompatibleError, match="not both"):
        replace(layout, offsets=torch.tensor([0, 3]))
