"""Cross-attention against torch's own module, and each sequence by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.cross_attention import CrossAttention


def _tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _build(**options: int) -> CrossAttention:
    torch.manual_seed(0)
    return CrossAttention(16, 12, **{"num_heads": 4, **options}).double()


def test_equals_multihead_attention_of_torch_on_copied_weights() -> None:
    mixer = _build()
    peer = nn.MultiheadAttention(16, 4, bias=False, kdim=12, vdim=12, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        pairs = (peer.q_proj_weight, mixer.query), (peer.k_proj_weight, mixer.key), (peer.v_proj_weight, mixer.value)
        for weight, linear in (*pairs, (peer.out_proj.weight, mixer.out)):
            weight.copy_(linear.weight)
    x, context = _tokens(3, 5, 16), _tokens(3, 7, 12, seed=2)
    mask = torch.tensor([[1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 1, 1], [1] * 7]).bool()
    expected, _ = peer(x, context, context, key_padding_mask=~mask)
    torch.testing.assert_close(mixer(x, context, Layout((5,)), Layout((7,), mask=mask)), expected)


def test_grouped_queries_share_key_heads() -> None:
    grouped, full = _build(num_kv_heads=2), _build()
    with torch.no_grad():
        full.query.weight.copy_(grouped.query.weight)
        full.out.weight.copy_(grouped.out.weight)
        for ours, theirs in ((full.key, grouped.key), (full.value, grouped.value)):
            ours.weight.copy_(theirs.weight.view(2, 1, 4, 12).expand(-1, 2, -1, -1).reshape(16, 12))
    x, context = _tokens(2, 5, 16), _tokens(2, 3, 12, seed=2)
    layouts = Layout((5,)), Layout((3,))
    torch.testing.assert_close(grouped(x, context, *layouts), full(x, context, *layouts))


def test_grids_are_flattened_on_both_sides() -> None:
    mixer, x, context = _build(), _tokens(2, 2, 3, 16), _tokens(2, 3, 2, 2, 12, seed=2)
    y = mixer(x, context, Layout((2, 3)), Layout((3, 2, 2)))
    flat = mixer(x.flatten(1, 2), context.flatten(1, 3), Layout((6,)), Layout((12,)))
    torch.testing.assert_close(y, flat.view_as(x))


def test_a_context_of_padding_alone_gives_zeros_and_finite_gradients() -> None:
    mixer, x, context = _build(), _tokens(2, 5, 16), _tokens(2, 4, 12, seed=2).requires_grad_()
    mask = torch.tensor([[0] * 4, [1] * 4]).bool()
    y = mixer(x, context, Layout((5,)), Layout((4,), mask=mask))
    assert not y[0].any()
    torch.testing.assert_close(y[1:], mixer(x[1:], context[1:], Layout((5,)), Layout((4,))))
    y.square().sum().backward()
    assert context.grad is not None
    assert context.grad.isfinite().all()
    assert not context.grad[0].any()


@pytest.mark.parametrize("packed_context", [True, False])
def test_packed_sequences_meet_each_their_own_context(packed_context: bool) -> None:
    mixer, x, context = _build(), _tokens(1, 6, 16), _tokens(1, 5, 12, seed=2)
    bounds, context_bounds = ((0, 4), (4, 6)), ((0, 2), (2, 5))
    layout = Layout((6,), offsets=torch.tensor([0, 4, 6]))
    if packed_context:
        y = mixer(x, context, layout, Layout((5,), offsets=torch.tensor([0, 2, 5])))
    else:
        rows = [context[0, a:b] for a, b in context_bounds]
        mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
        y = mixer(x, nn.utils.rnn.pad_sequence(rows, batch_first=True), layout, Layout((3,), mask=mask))
    for (a, b), (c, d) in zip(bounds, context_bounds, strict=True):
        alone = mixer(x[:, a:b], context[:, c:d], Layout((b - a,)), Layout((d - c,)))
        torch.testing.assert_close(y[:, a:b], alone)


def test_another_number_of_contexts_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="a context per sequence"):
        _build()(_tokens(2, 5, 16), _tokens(3, 5, 12), Layout((5,)), Layout((5,)))


def test_cost_counts_parameters_and_products() -> None:
    mixer = _build(num_kv_heads=2)
    cost = mixer.cost((5,), (2, 3))
    assert cost.parameters == sum(p.numel() for p in mixer.parameters())
    assert cost.flops == 2 * (5 * 16 * 16 * 2 + 6 * 12 * 8 * 2 + 2 * 4 * 5 * 6 * 4)
