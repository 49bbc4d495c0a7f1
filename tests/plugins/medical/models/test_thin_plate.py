from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from omniform_medical.models.thin_plate import control_points, restore, spline_basis, voxel_places, warp

GRIDS = [(7, 5), (6, 5, 4)]


def _places(grid: tuple[int, ...], *, shift: float, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    voxels = voxel_places(grid, torch.zeros(1, dtype=torch.float64))
    return voxels + shift * (torch.rand(batch, *voxels.shape, generator=generator, dtype=torch.float64) - 0.5)


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_spline_passes_through_its_points(rank: int):
    points = control_points(4, rank)
    basis = spline_basis(points, points)
    torch.testing.assert_close(basis, torch.eye(4**rank, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("rank", "kernel"), [(2, "thin_plate_spline"), (3, "linear")])
def test_the_spline_is_that_of_scipy(rank: int, kernel: str):
    points, values = control_points(3, rank), _noise(3**rank, 2)
    places = 2 * torch.rand(50, rank, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1
    ours = spline_basis(points, places) @ values
    theirs = RBFInterpolator(points.numpy(), values.numpy(), kernel=kernel, degree=1)(places.numpy())
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS)
def test_warp_is_linear_interpolation(grid: tuple[int, ...]):
    x, places = _noise(2, *grid, 3), _places(grid, shift=6.0)
    ours = warp(x, places)
    for image in range(2):
        for channel in range(3):
            where = places[image].T.numpy()
            theirs = map_coordinates(x[image, ..., channel].numpy(), where, order=1, mode="nearest")
            np.testing.assert_allclose(ours[image, ..., channel].flatten().numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize("grid", [*GRIDS, (5, 1), (1, 1, 4), (1, 1)])
def test_unmoved_voxels_come_and_go_to_the_bit(grid: tuple[int, ...]):
    x, places = _noise(2, *grid, 3), _places(grid, shift=0.0)
    assert torch.equal(warp(x, places), x)
    assert torch.equal(restore(x, places), x)


@pytest.mark.parametrize("rank", [2, 3])
def test_restore_undoes_small_warps_of_smooth_maps(rank: int):
    grid = (16,) * rank
    lines = voxel_places(grid, torch.zeros(1, dtype=torch.float64)) / 15
    smooth = torch.sin(2 * lines[:, :1]) * torch.cos(lines[:, 1:2]).expand(-1, 1)
    x = smooth.unflatten(0, grid)[None]
    errors = []
    for shift in (1.0, 0.1, 0.01, 0.001):
        places = _places(grid, shift=shift, batch=1)
        errors.append(float((restore(warp(x, places), places) - x).abs().max()))
    assert all(later < 0.2 * earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 2e-4


def test_voxels_that_were_passed_by_are_filled_from_around():
    grid = (9, 9)
    line = voxel_places(grid, torch.zeros(1, dtype=torch.float64)).unflatten(0, grid)
    places = line.clone()
    places[4] += torch.tensor([1.0, 0.0], dtype=torch.float64)  # the middle row is sampled nowhere
    x = line[..., :1][None]
    filled = restore(warp(x, places.reshape(1, -1, 2)), places.reshape(1, -1, 2))
    assert float((filled[0, 4] - 4).abs().max()) < 1.5
    assert torch.equal(filled[0, :4], x[0, :4])


@pytest.mark.parametrize("grid", [(4, 3), (3, 2, 2)])
@pytest.mark.parametrize("move", [warp, restore])
def test_gradients(grid: tuple[int, ...], move):
    x, places = _noise(1, *grid, 2).requires_grad_(), _places(grid, shift=0.9, batch=1).requires_grad_()
    assert torch.autograd.gradcheck(move, (x, places), eps=1e-7, atol=1e-5)
