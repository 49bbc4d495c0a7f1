"""The cosine transform against scipy, and what is left when only low frequencies are kept."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from omniform_medical.classification.models.cosine import CosineTransform, cosine_matrix


def transform(grid, kept):
    made = CosineTransform(grid, kept)
    made.rows, made.columns = cosine_matrix(grid[0], kept[0]), cosine_matrix(grid[1], kept[1])
    return made


@pytest.mark.parametrize("grid", [(8, 8), (7, 10), (1, 5)])
def test_the_transform_is_scipys_and_undone_by_its_inverse(grid):
    x = torch.randn(2, *grid, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = transform(grid, grid)
    expected = dctn(x.numpy(), type=2, norm="ortho", axes=(1, 2))
    np.testing.assert_allclose(whole(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.inverse(whole(x)), x, rtol=0, atol=1e-12)


def test_kept_frequencies_are_the_corner_and_the_others_come_back_as_zero():
    x = torch.randn(2, 7, 10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    corner = transform((7, 10), (3, 4))
    expected = dctn(x.numpy(), type=2, norm="ortho", axes=(1, 2))
    np.testing.assert_allclose(corner(x), expected[:, :3, :4], rtol=0, atol=1e-12)
    expected[:, 3:] = expected[:, :, 4:] = 0
    np.testing.assert_allclose(
        corner.inverse(corner(x)), idctn(expected, type=2, norm="ortho", axes=(1, 2)), rtol=0, atol=1e-12
    )


def test_rows_are_orthonormal_in_every_size():
    for size in (1, 2, 9, 64):
        matrix = cosine_matrix(size, size)
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)
    assert cosine_matrix(4, 1)[0, 0] == pytest.approx(math.sqrt(1 / 4))


def test_a_quarter_of_the_frequencies_holds_most_of_what_a_real_picture_varies(needs_sample):
    from omniform_medical.classification.sample import sample_album

    pixels = torch.from_numpy(sample_album().pixels[:60].astype(np.float64))
    pixels = pixels - pixels.mean(dim=(1, 2), keepdim=True)
    energy = transform((64, 64), (32, 32))(pixels).square().sum(dim=(1, 2, 3)) / pixels.square().sum(dim=(1, 2, 3))
    assert energy.min() > 0.95
    assert energy.max() < 1
