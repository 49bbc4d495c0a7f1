"""Layers: branches, modulation, contexts, states and auxiliary losses."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from omniform.backbones import Sequence
from omniform.channel import MixtureOfExperts, Mlp, SwiGLU
from omniform.errors import ConfigError, IncompatibleError
from omniform.layers import Branch, Context, Layer, Modulation
from omniform.layout import Layout
from omniform.linear import replace_linear
from omniform.mixers.attention import Attention
from omniform.mixers.base import Mixer, Traits
from omniform.mixers.cross_attention import CrossAttention
from omniform.mixers.gla import GatedLinearAttention

DIM = 16


def _layer(mixer, *, dim=DIM, **options):
    return Layer(Branch(mixer, nn.LayerNorm(dim), **options), Branch(Mlp(dim, 2 * dim), nn.LayerNorm(dim)))


def test_a_layer_is_the_sum_of_its_branches():
    torch.manual_seed(0)
    attention = Attention(DIM)
    layer = _layer(attention).double().eval()
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    layout = Layout.of(x)
    first, second = layer.branches
    by_hand = x + attention(first.norm(x), layout)
    by_hand = by_hand + second.op(second.norm(by_hand), layout)
    torch.testing.assert_close(layer(x, layout), by_hand)


def test_parallel_branches_all_see_what_came_in():
    torch.manual_seed(0)
    attention, mlp = Attention(DIM, causal=True), Mlp(DIM, 2 * DIM)
    norms = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
    layer = Layer(Branch(attention, norms[0]), Branch(mlp, norms[1]), parallel=True).double().eval()
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    layout = Layout.of(x)
    by_hand = x + attention(norms[0](x), layout) + mlp(norms[1](x), layout)
    torch.testing.assert_close(layer(x, layout), by_hand)
    first, state = layer.extend(x[:, :2], layer.init_state(2, dtype=x.dtype))
    second, _ = layer.extend(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), by_hand)


def test_post_norm_equals_torch_encoder_layer():
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(DIM, 1, 32, 0.0, activation="gelu", batch_first=True).double().eval()
    attention, mlp = Attention(DIM, num_heads=1), Mlp(DIM, 32)
    layer = Layer(
        Branch(attention, theirs.norm1, post_norm=True),
        Branch(mlp, theirs.norm2, post_norm=True),
    ).double()
    mlp.up, mlp.down = theirs.linear1, theirs.linear2

    class Oracle(nn.Module):
        def forward(self, x, layout):
            return theirs.self_attn(x, x, x, need_weights=False)[0]

    layer.branches[0].op = Oracle()
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    torch.testing.assert_close(layer(x, Layout.of(x)), theirs(x))


def test_a_fresh_modulated_layer_is_the_identity_and_asks_for_its_condition():
    mixer = Branch(Attention(DIM), nn.LayerNorm(DIM), modulation=Modulation(3, DIM))
    channels = Branch(SwiGLU(DIM, 8), nn.LayerNorm(DIM), modulation=Modulation(3, DIM))
    layer = Layer(mixer, channels)
    x = torch.randn(2, 4, 5, DIM)
    layout = Layout.of(x)
    torch.testing.assert_close(layer(x, layout, cond=torch.randn(2, 3)), x)
    torch.testing.assert_close(layer(x, layout, cond=torch.randn(2, 4, 5, 3)), x)
    with pytest.raises(IncompatibleError, match="expected cond"):
        layer(x, layout)


def test_cross_attention_sees_only_valid_context():
    torch.manual_seed(0)
    layer = Layer(Branch(CrossAttention(DIM, 8), nn.LayerNorm(DIM)))
    x, tokens = torch.randn(1, 4, DIM), torch.randn(1, 6, 8)
    short = layer(x, Layout.of(x), context=Context(tokens[:, :3], Layout((3,))))
    mask = torch.tensor([[True] * 3 + [False] * 3])
    torch.testing.assert_close(layer(x, Layout.of(x), context=Context(tokens, Layout((6,), mask=mask))), short)
    with pytest.raises(IncompatibleError, match="expected context"):
        layer(x, Layout.of(x))


def test_auxiliary_losses_reach_the_features_and_ignore_padding():
    torch.manual_seed(0)
    moe = [MixtureOfExperts(DIM, 8, num_experts=4, top_k=2) for _ in range(2)]
    model = Sequence(lambda i, d: Layer(Branch(moe[i], nn.LayerNorm(d))), dim=DIM, depth=2).double()
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    whole = model(x, Layout((6,), mask=mask))
    poisoned = model(torch.where(mask[..., None], x, 1e3), Layout((6,), mask=mask))
    torch.testing.assert_close(whole.aux["balance"], poisoned.aux["balance"])
    torch.testing.assert_close(whole.last[mask], poisoned.last[mask])
    whole.aux["balance"].backward()
    assert moe[0].router.weight.grad.abs().sum() > 0


def test_swiglu_equals_its_equation():
    torch.manual_seed(0)
    op, x = SwiGLU(DIM, 8), torch.randn(2, 5, DIM)
    gate, up = op.gate_up.weight[:8], op.gate_up.weight[8:]
    inner = (x @ gate.T) * torch.sigmoid(x @ gate.T) * (x @ up.T)
    torch.testing.assert_close(op(x, Layout.of(x)), inner @ op.down.weight.T)


def test_mixture_of_experts_equals_a_loop_over_tokens():
    torch.manual_seed(0)
    moe = MixtureOfExperts(DIM, 8, num_experts=3, top_k=2).double()
    x = torch.randn(1, 5, DIM, dtype=torch.float64)
    layout = Layout.of(x)
    for token, mixed in zip(x[0], moe(x, layout)[0], strict=True):
        probability = moe.router(token).softmax(-1)
        top = probability.topk(2).indices
        expected = sum(probability[e] * moe.experts[e](token, layout) for e in top) / probability[top].sum()
        torch.testing.assert_close(mixed, expected)
    uniform = torch.zeros_like(moe.router.weight)
    moe.router.weight.data.copy_(uniform)
    torch.testing.assert_close(moe.forward_with_aux(x, layout)[1]["balance"], torch.tensor(1.0, dtype=torch.float64))


def test_a_stack_continues_from_a_beam_reordered_state():
    torch.manual_seed(0)
    mixers = [GatedLinearAttention(DIM), Attention(DIM, causal=True)]
    model = Sequence(lambda i, d: _layer(mixers[i]), dim=DIM, depth=2).double().eval()
    x = torch.randn(3, 9, DIM, dtype=torch.float64)
    whole = model(x, Layout.of(x)).last
    head, state = model.extend(x[:, :4], model.init_state(3, dtype=torch.float64))
    torch.testing.assert_close(head, whole[:, :4])
    beams = torch.tensor([2, 0, 2])
    tail, _ = model.extend(x[beams, 4:], state.select(beams))
    torch.testing.assert_close(tail, whole[beams, 4:])


def test_cost_of_a_stack_equals_enumeration():
    model = Sequence(lambda i, d: _layer(GatedLinearAttention(d)), dim=DIM, depth=3)
    assert model.cost((10,)).parameters == sum(p.numel() for p in model.parameters())


class _Doubled(nn.Module):
    """Stand in for a linear layer with twice its output."""

    scale: ClassVar[int] = 2

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return self.scale * self.linear(x)


def test_replace_linear_replaces_what_it_is_asked_to():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2)))
    x = torch.randn(4, 3)
    before = model(x)
    assert replace_linear(model, _Doubled, lambda name, linear: linear.out_features == 2) == ["1.0"]
    torch.testing.assert_close(model(x), 2 * before)
    with pytest.raises(ConfigError, match="no layer to replace"):
        replace_linear(model, _Doubled, lambda name, linear: False)


class _Reverse(Mixer):
    """Turn a sequence around; blind to masks, so that each sequence must be run by itself."""

    name = "reverse"
    traits = Traits(padding="alone", cost="linear")

    def mix(self, x, layout):
        assert layout.mask is None
        return x.flip(1)


def test_a_mixer_blind_to_masks_is_run_on_each_sequence_alone():
    mixer, x = _Reverse(DIM), torch.randn(2, 4, DIM)
    mask = torch.tensor([[True, False, True, True], [False, True, True, False]])
    y = mixer(x, Layout((4,), mask=mask))
    torch.testing.assert_close(y[0, [0, 2, 3]], x[0, [3, 2, 0]])
    torch.testing.assert_close(y[1, [1, 2]], x[1, [2, 1]])
    packed = mixer(x.reshape(1, 8, DIM), Layout((8,), offsets=torch.tensor([0, 3, 8])))
    torch.testing.assert_close(packed[0], x.reshape(8, DIM)[[2, 1, 0, 7, 6, 5, 4, 3]])
