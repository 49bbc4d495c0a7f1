"""DuoFormer's patches are a bijection, know themselves alone, and with one scale are those of a vision transformer."""

import pytest
import torch
from torch import nn

from omniform.plugins import find_mixer
from omniform.task import Size
from omniform_medical.classification.models.duoformer import DuoFormer, cut_patches, join_patches
from omniform_medical.classification.models.residual import BasicBlock

SIZE = Size(dim=16, hidden=24, depth=2)


def build(mixer="attention", image=(40, 64), **options):
    torch.manual_seed(0)
    model = DuoFormer(find_mixer(mixer), SIZE, image=image, channels=1, classes=3, **options)
    return model.double().eval()


@pytest.mark.parametrize("side", [1, 2, 4, 8])
def test_cutting_into_patches_loses_nothing_and_keeps_neighbours(side):
    x = torch.randn(2, 5, 3 * side, 4 * side)
    cut = cut_patches(x, (3, 4))
    assert cut.shape == (2, 12, side * side, 5)
    torch.testing.assert_close(join_patches(cut, (3, 4)), x, rtol=0, atol=0)
    row, column = 2, 1
    expected = x[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
    torch.testing.assert_close(cut[:, row * 4 + column], expected.flatten(2).transpose(1, 2), rtol=0, atol=0)


@pytest.mark.parametrize("stage", range(4))
def test_a_patch_knows_itself_alone_before_patches_are_mixed(stage):
    model = build()
    maps = model.features(torch.randn(2, 1, 40, 64, dtype=torch.float64))
    assert model.grid == (3, 4)  # 40 rows are padded to 48
    row, column, side = 1, 2, 8 >> stage
    changed = [m.clone() for m in maps]
    changed[stage][:, :, row * side : (row + 1) * side, column * side : (column + 1) * side] += 1
    moved = (model.summaries(tuple(changed)) - model.summaries(maps)).abs().amax(dim=(0, 2))
    assert moved[row * 4 + column] > 1e-6
    moved[row * 4 + column] = 0
    assert moved.max() == 0
    assert not torch.allclose(model.classify(tuple(changed)), model.classify(maps), rtol=0, atol=1e-9)


def test_a_patch_owns_85_tokens_and_a_summary():
    model = build()
    maps = model.features(torch.randn(2, 1, 40, 64, dtype=torch.float64))
    assert model.tokenize(maps).shape == (2, 12, 85, 16)
    coarse = torch.einsum("dc,bchw->bdhw", model.project[0].weight[..., 0, 0], maps[-1])
    coarse = coarse + model.project[0].bias[:, None, None]
    torch.testing.assert_close(model.tokenize(maps)[:, :, 0], coarse.flatten(2).transpose(1, 2))
    assert model.scale_places.shape == (86, 16)
    assert model.summaries(maps).shape == (2, 12, 16)


def encoder_of(layers, dim, hidden):
    """Return torch's own pre-norm encoder with the weights of our layers."""
    heads = layers.layers[0].branches[0].op.num_heads
    layer = nn.TransformerEncoderLayer(dim, heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, len(layers.layers), nn.LayerNorm(dim), enable_nested_tensor=False).double()
    with torch.no_grad():
        for theirs, ours in zip(encoder.layers, layers.layers, strict=True):
            mix, mlp = ours.branches
            weights = [mix.op.query.weight, mix.op.key.weight, mix.op.value.weight]
            theirs.self_attn.in_proj_weight.copy_(torch.cat(weights))
            theirs.self_attn.in_proj_bias.zero_()
            theirs.self_attn.out_proj.weight.copy_(mix.op.out.weight)
            theirs.self_attn.out_proj.bias.zero_()
            theirs.linear1.load_state_dict(mlp.op.up.state_dict())
            theirs.linear2.load_state_dict(mlp.op.down.state_dict())
            theirs.norm1.load_state_dict(mix.norm.state_dict())
            theirs.norm2.load_state_dict(mlp.norm.state_dict())
        encoder.norm.load_state_dict(layers.norm.state_dict())
    return encoder.eval()


def test_with_one_scale_it_is_a_hybrid_vision_transformer():
    model = build(scales=1)
    assert not hasattr(model, "scale_token")
    x = torch.randn(2, 1, 40, 64, dtype=torch.float64)
    patches = nn.functional.conv2d(model.features(x)[-1], model.project[0].weight, model.project[0].bias)
    tokens = torch.cat([model.class_token.expand(2, 1, 16), patches.flatten(2).transpose(1, 2)], dim=1)
    out = encoder_of(model.mixing, 16, 24)(tokens + model.patch_places)
    torch.testing.assert_close(model(x), model.head(out[:, 0]))


def test_both_mixings_equal_torchs_encoders_on_copied_weights():
    model = build()
    maps = model.features(torch.randn(2, 1, 40, 64, dtype=torch.float64))
    tokens = model.tokenize(maps).reshape(24, 85, 16)
    tokens = torch.cat([model.scale_token.expand(24, 1, 16), tokens], dim=1) + model.scale_places
    local = encoder_of(model.local, 16, 24)(tokens)[:, 0].reshape(2, 12, 16)
    tokens = torch.cat([model.class_token.expand(2, 1, 16), local], dim=1) + model.patch_places
    torch.testing.assert_close(model.classify(maps), model.head(encoder_of(model.mixing, 16, 24)(tokens)[:, 0]))


def test_a_residual_block_is_its_formula():
    torch.manual_seed(0)
    block = BasicBlock(4, 6, stride=2).double().eval()
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    scale = (1 + 1e-5) ** -0.5  # fresh batch norms divide by sqrt(1 + eps)
    y = (nn.functional.conv2d(x, block.first.weight, stride=2, padding=1) * scale).relu()
    y = nn.functional.conv2d(y, block.second.weight, padding=1) * scale
    expected = (y + nn.functional.conv2d(x, block.shortcut[0].weight, stride=2) * scale).relu()
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("mixer", ["gla", "mlp-mixer", "hyena-nd"])
def test_other_mixers_fill_both_slots(mixer):
    model = build(mixer, image=(28, 28))
    assert model(torch.randn(2, 1, 28, 28, dtype=torch.float64)).shape == (2, 3)
