from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform_kernels.checks import ShapeError
from omniform_kernels.cross_scan import Order, cross_merge, cross_orders, cross_scan, merge_rows, rows
from omniform_kernels.selective_scan import selective_scan

GRIDS = [(7,), (3, 5), (2, 3, 4)]


def by_index(x, order):
    """Walk the grid by nested counters, as one would by hand."""
    grid = x.shape[1:-1]
    index = torch.cartesian_prod(*(torch.arange(grid[axis]) for axis in order.axes)).view(-1, len(grid))
    places = [index[:, order.axes.index(axis)] for axis in range(len(grid))]
    tokens = x[(slice(None), *places)]
    return tokens.flip(1) if order.reverse else tokens


@pytest.mark.parametrize("grid", GRIDS)
def test_every_order_is_walked(grid):
    x = torch.randn(2, *grid, 3)
    orders = [Order(axes, reverse) for axes in permutations(range(len(grid))) for reverse in (False, True)]
    y = cross_scan(x, orders)
    assert y.shape == (2, len(orders), x[0, ..., 0].numel(), 3)
    for k, order in enumerate(orders):
        assert torch.equal(y[:, k], by_index(x, order))


def test_images_are_scanned_as_in_vmamba():
    """Rows, columns, and both from the end (CrossScan of arXiv 2401.10166, which has channels before tokens)."""
    x = torch.randn(2, 3, 5, 4)
    image = x.permute(0, 3, 1, 2)  # (B, C, H, W)
    both = torch.stack([image.flatten(2), image.transpose(2, 3).flatten(2)], dim=1)
    expected = torch.cat([both, both.flip(-1)], dim=1)  # (B, 4, C, L)
    assert torch.equal(cross_scan(x), expected.transpose(2, 3))


def test_volumes_have_every_axis_once_the_fastest():
    orders = cross_orders(3)
    assert len(orders) == 6
    assert {order.axes[-1] for order in orders if not order.reverse} == {0, 1, 2}
    assert [order.axes for order in orders[:3]] == [order.axes for order in orders[3:]]


@pytest.mark.parametrize("grid", GRIDS)
def test_merge_is_the_adjoint(grid):
    x = torch.randn(2, *grid, 3, dtype=torch.float64)
    y = torch.randn_like(cross_scan(x))
    torch.testing.assert_close((cross_scan(x) * y).sum(), (x * cross_merge(y, grid)).sum())


@pytest.mark.parametrize("grid", GRIDS)
def test_round_trip_gives_each_token_once_for_each_order(grid):
    x = torch.randn(2, *grid, 3, dtype=torch.float64)
    torch.testing.assert_close(cross_merge(cross_scan(x), grid), 2 * len(grid) * x)
    torch.testing.assert_close(merge_rows(rows(x), grid), 2 * len(grid) * x)


@pytest.mark.parametrize("grid", GRIDS)
def test_gradcheck_twice(grid):
    x = torch.randn(1, *grid, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn_like(cross_scan(x)).requires_grad_()
    for function, tensor in ((cross_scan, x), (partial(cross_merge, grid=grid), y)):
        assert torch.autograd.gradcheck(function, [tensor])
        assert torch.autograd.gradgradcheck(function, [tensor])


def test_rows_copy_the_columns_alone():
    x = torch.randn(2, 3, 5, 4)
    across, down, across_back, down_back = rows(x)
    assert across.data_ptr() == across_back.data_ptr() == x.data_ptr()
    assert down.data_ptr() == down_back.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("backend", ["reference", "cpu", "native"])
def test_rows_with_reverse_scans_equal_the_written_out_sequences(agree, backend):
    grid, A = (3, 4), -torch.rand(2, 3) - 0.1

    def written(x, dt, B, C):
        sequences = zip(*(cross_scan(tensor).unbind(1) for tensor in (x, dt, B, C)), strict=True)
        ys = [selective_scan(u, step, A, b, c, backend="reference")[0] for u, step, b, c in sequences]
        return cross_merge(torch.stack(ys, dim=1), grid)

    def viewed(x, dt, B, C):
        sequences = zip(*(rows(tensor) for tensor in (x, dt, B, C)), cross_orders(2), strict=True)
        ys = [
            selective_scan(u, step, A, b, c, reverse=order.reverse, backend=backend)[0]
            for u, step, b, c, order in sequences
        ]
        return merge_rows(ys, grid)

    inputs = [torch.randn(2, *grid, 2), torch.rand(2, *grid, 2), torch.randn(2, *grid, 3), torch.randn(2, *grid, 3)]
    agree(viewed, written, inputs, 1e-5)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(grid=st.lists(st.integers(0, 6), min_size=1, max_size=4), B=st.integers(0, 2), C=st.integers(1, 3))
def test_any_grid(grid, B, C):
    x = torch.randn(B, *grid, C)
    y = cross_scan(x)
    for k, order in enumerate(cross_orders(len(grid))):
        assert torch.equal(y[:, k], by_index(x, order))
    assert cross_merge(y, tuple(grid)).shape == x.shape


def test_compiles_without_graph_break(agree, compiled):
    def there_and_back(x):
        return cross_merge(cross_scan(x).square(), tuple(x.shape[1:-1]))

    agree(compiled(there_and_back), there_and_back, [torch.randn(2, 3, 5, 4)], 1e-6)


def test_refuses_what_does_not_fit():
    x = torch.randn(2, 3, 5, 4)
    with pytest.raises(ShapeError, match="expected a grid"):
        cross_scan(torch.randn(2, 4))
    with pytest.raises(ShapeError, match="2 axes of the grid"):
        cross_scan(x, cross_orders(3))
    with pytest.raises(ShapeError, match="expected y of shape"):
        cross_merge(cross_scan(x), (3, 4))
    with pytest.raises(ShapeError, match="4 orders"):
        merge_rows(rows(x)[:2], (3, 5))
    with pytest.raises(ValueError, match="each axis"):
        Order((0, 2))
