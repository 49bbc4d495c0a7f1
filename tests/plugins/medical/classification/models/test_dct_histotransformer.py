"""The two pathways of DCT-HistoTransformer: what each passes on, and what the corner saves."""

import pytest
import torch
from scipy.fft import dctn, idctn
from torch import nn

from omniform.mixers.attention import Attention
from omniform.plugins import find_mixer
from omniform.task import Size
from omniform_medical.classification.models.dct_histotransformer import DCTHistoTransformer, DCTMixing, DuoBlock

SIZE = Size(dim=16, hidden=24, depth=1)


class Same(nn.Module):
    def forward(self, x, layout):
        return x


@pytest.mark.parametrize(("keep", "share"), [(1.0, 1.0), (0.5, None)])
def test_all_frequencies_through_an_identity_are_the_map_itself(keep, share):
    torch.manual_seed(0)
    mixing = DCTMixing(Attention, 8, 16, grid=(6, 9), keep=keep, dropout=0.0)
    mixing.layer = Same()
    x = torch.randn(2, 8, 6, 9)
    coefficients = dctn(x.double().numpy(), type=2, norm="ortho", axes=(2, 3))
    coefficients[:, :, int(keep * 6) :] = 0
    coefficients[..., -int(-keep * 9 // 1) :] = 0
    expected = torch.from_numpy(idctn(coefficients, type=2, norm="ortho", axes=(2, 3))).float()
    torch.testing.assert_close(mixing(x), expected, rtol=0, atol=1e-5)
    assert torch.allclose(mixing(x), x, atol=1e-5) == (share == 1.0)


def test_pairs_of_attention_fall_by_the_square_of_the_kept_share():
    def pairs(mixing, grid):
        """Return what attention costs beyond its projections, which are linear in the number of tokens."""
        mixer, tokens = mixing.layer.branches[0].op, grid[0] * grid[1]
        linear = 2 * mixer.cost((tokens,)).flops - mixer.cost((2 * tokens,)).flops / 2
        return mixer.cost((tokens,)).flops - linear

    grid = (16, 16)
    whole = DCTMixing(Attention, 32, 64, grid=grid, keep=1.0, dropout=0.0)
    for keep in (0.5, 0.25):
        part = DCTMixing(Attention, 32, 64, grid=grid, keep=keep, dropout=0.0)
        kept = tuple(int(keep * n) for n in grid)
        assert part.transform.rows.shape[0], part.transform.columns.shape[0] == kept
        assert pairs(part, kept) == pytest.approx(pairs(whole, grid) * (keep**2) ** 2)


def test_the_block_adds_the_fused_pathways_to_its_input():
    torch.manual_seed(0)
    block = DuoBlock(Attention, 8, 16, grid=(6, 4), keep=0.5, dropout=0.0).eval()
    x = torch.randn(3, 8, 6, 4)
    weight, bias = block.fuse.weight[:, :, 0, 0], block.fuse.bias
    ways = torch.cat([block.frequencies(x), block.pixels(x)], dim=1)
    expected = x + torch.einsum("dc,bchw->bdhw", weight, ways) + bias[:, None, None]
    torch.testing.assert_close(block(x), expected)
    nn.init.zeros_(block.fuse.weight)
    nn.init.zeros_(block.fuse.bias)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("mixer", ["attention", "gla", "mlp-mixer"])
@pytest.mark.parametrize("image", [(64, 64), (17, 30)])
def test_every_stage_halves_and_doubles(mixer, image):
    torch.manual_seed(0)
    model = DCTHistoTransformer(find_mixer(mixer), SIZE, image=image, channels=3, classes=4, keep=0.3).eval()
    x = torch.randn(2, 3, *image)
    maps = model.features(x)
    assert [m.shape[1] for m in maps] == [16, 32, 64]
    fine = maps[0].shape[2:]
    assert all(m.shape[2:] == (-(-fine[0] >> s), -(-fine[1] >> s)) or s for s, m in enumerate(maps))
    assert model(x).shape == (2, 4)
    torch.testing.assert_close(model.classify(maps), model(x))
