"""The parts of the fetal-plane classifier against transformers' EfficientNet and the formulas of its gates."""

import pytest
import torch
from torch import nn

from omniform.mixers.attention import Attention
from omniform.plugins import find_mixer
from omniform.task import Size
from omniform_medical.classification.models.fetal_plane import FetalPlane
from omniform_medical.classification.models.gates import ChannelGate, PlaceGate
from omniform_medical.classification.models.mobile import MBConv


@pytest.mark.parametrize(("in_dim", "dim", "stride"), [(8, 8, 1), (8, 12, 1), (8, 12, 2)])
def test_a_block_equals_transformers_on_copied_weights(in_dim, dim, stride):
    transformers = pytest.importorskip("transformers")
    from transformers.models.efficientnet.modeling_efficientnet import EfficientNetBlock

    torch.manual_seed(0)
    config = transformers.EfficientNetConfig(hidden_act="swish")
    theirs = EfficientNetBlock(
        config, in_dim, dim, stride, 4, 3, 0.0, id_skip=stride != 1 or in_dim != dim, adjust_padding=False
    ).double()
    ours = MBConv(in_dim, dim, 4 * in_dim, stride=stride).double()
    pairs = [
        (theirs.expansion.expand_conv, ours.expand),
        (theirs.expansion.expand_bn, ours.expand_norm),
        (theirs.depthwise_conv.depthwise_conv, ours.depthwise),
        (theirs.depthwise_conv.depthwise_norm, ours.depthwise_norm),
        (theirs.squeeze_excite.reduce, ours.excite.reduce),
        (theirs.squeeze_excite.expand, ours.excite.expand),
        (theirs.projection.project_conv, ours.project),
        (theirs.projection.project_bn, ours.project_norm),
    ]
    for a, b in pairs:
        if isinstance(a, nn.BatchNorm2d):
            a.running_mean.normal_()
            a.running_var.uniform_(0.5, 2)
        b.load_state_dict(a.state_dict())
    x = torch.randn(2, in_dim, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_gates_without_weights_halve():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 5, 7)
    channels, places = ChannelGate(16), PlaceGate(Attention, 16, (5, 7))
    for parameter in (*channels.parameters(), *places.parameters()):
        nn.init.zeros_(parameter)
    torch.testing.assert_close(channels(x), x / 2)
    torch.testing.assert_close(places(x), x / 2)
    torch.testing.assert_close(places(channels(x)), x / 4)


def test_gates_are_their_formulas():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 5, 7).double()
    gate = ChannelGate(16).double()

    def perceptron(v):
        return gate.expand.weight @ torch.relu(gate.reduce.weight @ v + gate.reduce.bias) + gate.expand.bias

    for b in range(2):
        scale = torch.sigmoid(perceptron(x[b].mean(dim=(1, 2))) + perceptron(x[b].amax(dim=(1, 2))))
        torch.testing.assert_close(gate(x)[b], x[b] * scale[:, None, None])

    gate = PlaceGate(Attention, 16, (5, 7)).double()
    pooled = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)
    published = torch.sigmoid(nn.functional.conv2d(pooled, gate.surroundings.weight, padding=3))
    torch.testing.assert_close(gate(x), x * published)  # a fresh gate is the published one
    nn.init.normal_(gate.score.weight)
    assert not torch.allclose(gate(x), x * published, atol=1e-3)


@pytest.mark.parametrize("mixer", ["attention", "gla", "mlp-mixer"])
def test_four_stages_and_a_perceptron_of_three_layers(mixer):
    torch.manual_seed(0)
    model = FetalPlane(find_mixer(mixer), Size(dim=8, hidden=12, depth=2), image=(50, 33), channels=3, classes=5).eval()
    x = torch.randn(2, 3, 50, 33)
    maps = model.features(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 25, 17), (16, 13, 9), (24, 7, 5), (32, 4, 3)]
    assert sum(isinstance(layer, nn.Linear) for layer in model.head) == 3
    torch.testing.assert_close(model.classify(maps), model(x))
    assert model(x).shape == (2, 5)
