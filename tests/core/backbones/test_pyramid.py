"""Pyramid: sizes, padding and learning on real images."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omniform.backbones import Down, Pyramid
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.plugins import find_mixer


def _pyramid(name, *, grid, dims=(16, 32), depths=(1, 1)):
    def make_layer(index, dim):
        here = grid if index < depths[0] else tuple(-(-n // 2) for n in grid)
        mixer = adapt(find_mixer(name), dim, grid=here)
        return Layer(Branch(mixer, nn.LayerNorm(dim)), Branch(Mlp(dim, 2 * dim), nn.LayerNorm(dim)))

    return Pyramid(make_layer, dims=dims, depths=depths, rank=len(grid))


@pytest.mark.parametrize("grid", [(7,), (5, 8), (3, 4, 5)])
def test_down_takes_any_size_and_merges_by_hand(grid):
    torch.manual_seed(0)
    down = Down(4, 6, factors=(2,) * len(grid)).double()
    x = torch.randn(2, *grid, 4, dtype=torch.float64)
    y, layout = down(x, Layout.of(x))
    coarse = tuple(-(-n // 2) for n in grid)
    assert layout.grid == coarse == tuple(y.shape[1:-1])
    first = x[(slice(None), *(slice(0, 2) for _ in grid))].reshape(2, -1)
    torch.testing.assert_close(y[(slice(None), *(0 for _ in grid))], down.project(down.norm(first)))


def test_down_keeps_masks_and_coordinates():
    down = Down(4, 4, factors=(2,))
    x = torch.randn(1, 5, 4)
    mask = torch.tensor([[True, True, True, False, False]])
    coords = torch.tensor([[[0.0], [2.0], [5.0], [9.0], [9.0]]])
    _, layout = down(x, Layout((5,), mask=mask, coords=coords))
    assert layout.mask is not None
    assert layout.coords is not None
    assert layout.mask.tolist() == [[True, True, False]]
    assert layout.coords[0, :2, 0].tolist() == [1.0, 5.0]


@pytest.mark.parametrize("name", ["attention", "convmixer", "spectformer", "window"])
def test_learns_digits(name):
    """Tell scikit-learn's 8 x 8 digits apart after eighteen epochs, where chance is 10 %."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = (torch.tensor(part) for part in datasets.load_digits(return_X_y=True))
    images = (images.float() / 8 - 1).reshape(-1, 8, 8, 1)
    torch.manual_seed(0)
    stem, head, model = nn.Linear(1, 16), nn.Linear(32, 10), _pyramid(name, grid=(8, 8))
    place = nn.Parameter(torch.randn(8, 8, 16) * 0.1)
    parts = nn.ModuleList([stem, head, model])

    def classify(x):
        tokens = stem(x) + place
        return head(model(tokens, Layout.of(tokens)).last.mean(dim=(1, 2)))

    optimizer = torch.optim.AdamW([*parts.parameters(), place], lr=1e-2)
    order = torch.randperm(1400, generator=torch.Generator().manual_seed(0))
    for step in range(250):
        batch = order[torch.arange(step * 100, step * 100 + 100) % 1400]
        optimizer.zero_grad()
        F.cross_entropy(classify(images[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.inference_mode():
        accuracy = (classify(images[1400:]).argmax(-1) == labels[1400:]).float().mean()
    assert accuracy > 0.8
