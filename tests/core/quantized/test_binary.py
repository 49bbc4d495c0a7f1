import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.linear import replace_linear
from omniform.quantized import BinaryLinear, BitLinear, bitnet, pack_bits


def test_equals_its_equation():
    layer, x = BitLinear(20, 12).double(), torch.randn(3, 5, 20, dtype=torch.float64)
    normal = F.layer_norm(x, (20,))
    gamma = normal.abs().amax(-1, keepdim=True)
    whole = (normal * 127 / gamma).round()
    signs = (layer.weight - layer.weight.mean()).sign()
    expected = F.linear(whole, signs) * layer.weight.abs().mean() * gamma / 127 + layer.bias
    torch.testing.assert_close(layer(x), expected)


def test_gradients_go_straight_through():
    """They are those of the map with the rounded factors in place of the latent ones."""
    layer, x = BitLinear(20, 12), torch.randn(5, 20)
    dy = torch.randn(5, 12)
    (gradient,) = torch.autograd.grad(layer(x), layer.weight, dy)
    normal = F.layer_norm(x, (20,))
    scale = normal.abs().amax(-1, keepdim=True) / 127
    torch.testing.assert_close(gradient, dy.T @ ((normal / scale).round() * scale), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_packed_signs_compute_the_same(bias):
    layer, x = BitLinear(100, 40, bias=bias), torch.randn(2, 7, 100)
    packed = layer.pack()
    torch.testing.assert_close(packed(x), layer(x), rtol=1e-5, atol=1e-5)
    assert packed.weight.unique().numel() == 2


def test_packed_weights_take_a_bit_each():
    layer = BitLinear(256, 64)
    assert layer.pack().words.nbytes * 32 == layer.weight.nbytes


def test_trains_on_digits(backbone):
    """Signs of a small Transformer that reads 8 x 8 images by rows: loss falls fivefold, unseen digits are read."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32) / 16  # (N, 8, 8)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    fit, unseen = order[:1400], order[1400:]
    body, stem, head = backbone(dim=64), nn.Linear(8, 64), nn.Linear(64, 10)
    place = nn.Parameter(torch.randn(8, 64) * 0.1)
    replace_linear(body, bitnet)

    def logits(index):
        return head(body(stem(x[index]) + place).mean(1))

    optimiser = torch.optim.AdamW([*body.parameters(), *stem.parameters(), *head.parameters(), place], lr=3e-3)
    losses = []
    for step in range(120):
        batch = fit[torch.randint(len(fit), (128,), generator=torch.Generator().manual_seed(step))]
        loss = F.cross_entropy(logits(batch), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])
    with torch.no_grad():
        before = logits(unseen)
        assert (before.argmax(1) == y[unseen]).float().mean() > 0.85
        assert len(pack_bits(body)) == 12
        after = logits(unseen)
    assert (after.argmax(1) == before.argmax(1)).float().mean() > 0.99


def test_survives_a_file(backbone, tmp_path):
    model, other, x = backbone().eval(), backbone().eval(), torch.randn(1, 9, 64)
    for each in (model, other):
        replace_linear(each, bitnet)
        pack_bits(each)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)


def test_stands_where_a_linear_layer_stood():
    linear = nn.Linear(20, 30)
    layer = bitnet(linear)
    assert layer.weight is linear.weight
    assert layer.bias is linear.bias
    assert isinstance(layer.pack(), BinaryLinear)
    assert layer.pack()(torch.randn(4, 20)).shape == (4, 30)


def test_says_when_there_is_nothing_to_pack():
    with pytest.raises(ConfigError, match="found no BitLinear"):
        pack_bits(nn.Linear(3, 4))
