import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from omniform.linear import replace_linear
from omniform.quantized import Int8Linear, llm_int8


def test_a_backbone_keeps_its_outputs(backbone, error):
    """Within 2 %: 8 bits leave each product's operands an error of at most 0.4 % of their largest."""
    model, x = backbone().eval(), torch.randn(2, 33, 64)
    expected = model(x)
    names = replace_linear(model, llm_int8)
    assert len(names) == 12
    assert error(model(x), expected) < 0.02


def test_outlier_columns_in_floating_point_keep_what_8_bits_lose(backbone, error):
    """The paper's claim: a few features of large entries coarsen all others; apart, they do not."""
    model, x = backbone(outlier=200.0).eval(), torch.randn(2, 33, 64)
    expected, state = model(x), model.state_dict()
    errors = {}
    for threshold in (None, 6.0):
        copy = backbone().eval()
        copy.load_state_dict(state)
        replace_linear(copy, lambda linear, t=threshold: llm_int8(linear, threshold=t))
        errors[threshold] = error(copy(x), expected)
    assert errors[6.0] < 0.015
    assert errors[None] > 4 * errors[6.0]


def test_one_layer_with_planted_outliers(error):
    linear, x = nn.Linear(256, 128), torch.randn(64, 256)
    x[:, [7, 90]] *= 60
    expected = linear(x)
    plain, apart = (error(llm_int8(linear, threshold=t)(x), expected) for t in (None, 6.0))
    assert apart < 0.01
    assert plain > 5 * apart


def test_a_weight_takes_a_byte_an_entry():
    layer = llm_int8(nn.Linear(512, 256))
    assert layer.codes.nbytes == 512 * 256
    assert layer.weight.shape == (256, 512)
    assert layer.weight.dtype == torch.float32


def test_survives_a_file(backbone, tmp_path):
    model, other, x = backbone().eval(), backbone().eval(), torch.randn(1, 9, 64)
    for each in (model, other):
        replace_linear(each, llm_int8)
    assert not torch.equal(other(x), model(x))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)


def test_what_lies_below_can_be_trained():
    """An adapter before a quantised layer learns to undo it."""
    fixed = llm_int8(nn.Linear(16, 16))
    adapter = nn.Linear(16, 16)
    optimiser = torch.optim.Adam(adapter.parameters(), lr=0.02)
    x = torch.randn(256, 16)
    losses = []
    for _ in range(100):
        loss = (fixed(adapter(x)) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_compiles_as_one_graph():
    layer, x = llm_int8(nn.Linear(20, 30, bias=False)), torch.randn(2, 5, 20)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("bias", [True, False])
def test_stands_where_a_linear_layer_stood(bias):
    linear = nn.Linear(20, 30, bias=bias)
    layer = llm_int8(linear)
    assert isinstance(layer, Int8Linear)
    assert layer.bias is linear.bias
    assert layer(torch.randn(4, 20)).shape == (4, 30)
    assert "threshold=6.0" in repr(layer)
