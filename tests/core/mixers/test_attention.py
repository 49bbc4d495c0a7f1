"""Softmax attention against torch's own module, a loop by hand, and its streamed form."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError, IncompatibleError
from omniform.layout import Layout, take
from omniform.mixers.attention import Attention
from omniform.positions import Alibi, Rotary
from omniform.testing import CHECKS

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped": {"num_kv_heads": 2},
    "rotary": {"rotary": Rotary()},
    "alibi": {"bias": Alibi(4)},
    "causal": {"causal": True},
    "causal-rotary-grouped": {"causal": True, "rotary": Rotary(), "num_kv_heads": 2},
    "causal-rotary-alibi-grouped": {"causal": True, "rotary": Rotary(), "bias": Alibi(4), "num_kv_heads": 1},
    "wide-heads": {"head_dim": 6, "rotary": Rotary()},
    "causal-wide-heads-grouped-biased": {"causal": True, "head_dim": 6, "num_kv_heads": 2, "qkv_bias": True},
    "causal-out-bias": {"causal": True, "out_bias": True},
    "causal-window": {"causal": True, "window": 3},
    "causal-window-of-one": {"causal": True, "window": 1},
    "causal-window-rotary-grouped": {"causal": True, "window": 2, "rotary": Rotary(), "num_kv_heads": 2},
    "causal-window-alibi": {"causal": True, "window": 4, "bias": Alibi(4)},
}
CAUSAL = {name: form for name, form in FORMS.items() if form.get("causal")}

MASKS = {
    "right": torch.arange(7) < torch.tensor([[3], [7], [1]]),
    "left": torch.arange(7) >= torch.tensor([[4], [0], [6]]),
    "ragged": torch.tensor([[0, 1, 0, 0, 1, 1, 0], [1, 1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]]).bool(),
}


def _tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _build(dim: int = 16, num_heads: int = 4, **form: Any) -> Attention:
    torch.manual_seed(0)
    mixer = Attention(dim, num_heads=num_heads, **form).double()
    for linear in (mixer.query, mixer.key, mixer.value, mixer.out):
        if linear.bias is not None:
            nn.init.normal_(linear.bias)
    return mixer


def _by_hand(mixer: Attention, x: Tensor, positions: Tensor, *, blind: int = 0) -> Tensor:
    """Mix one sequence (L, D) token by token; the first `blind` tokens take part in no bias."""
    heads, width = mixer.num_heads, mixer.head_dim
    q, k, v = (linear(x).view(len(x), -1, width) for linear in (mixer.query, mixer.key, mixer.value))
    if mixer.rotary is not None:
        at = positions[None]
        q, k = (mixer.rotary(t.transpose(0, 1)[None], at)[0].transpose(0, 1) for t in (q, k))
    rows = []
    for i in range(len(x)):
        parts = []
        for h in range(heads):
            g = h * mixer.num_kv_heads // heads
            first = 0 if mixer.window is None else max(0, i + 1 - mixer.window)
            seen = range(first, i + 1) if mixer.causal else range(len(x))
            scores = []
            for j in seen:
                score = q[i, h] @ k[j, g] / width**0.5
                if mixer.bias is not None and min(i, j) >= blind:
                    score = score - 2.0 ** (-8 * (h + 1) / heads) * (positions[i] - positions[j]).norm()
                scores.append(score)
            weights = torch.stack(scores).softmax(0)
            parts.append(sum(w * v[j, g] for w, j in zip(weights, seen, strict=True)))
        rows.append(torch.cat(parts))
    return mixer.out(torch.stack(rows))


@pytest.mark.parametrize("causal", [False, True])
def test_equals_multihead_attention_of_torch_on_copied_weights(causal: bool) -> None:
    mixer = _build(causal=causal)
    peer = nn.MultiheadAttention(16, 4, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([mixer.query.weight, mixer.key.weight, mixer.value.weight]))
        peer.out_proj.weight.copy_(mixer.out.weight)
    x, mask = _tokens(3, 7, 16), MASKS["right"]
    ahead = torch.ones(7, 7).bool().triu(1) if causal else None
    expected, weights = peer(x, x, x, key_padding_mask=~mask, attn_mask=ahead, average_attn_weights=False)
    layout = Layout((7,), mask=mask)
    torch.testing.assert_close(mixer(x, layout)[mask], expected[mask])
    torch.testing.assert_close(mixer.weights(x, layout).transpose(1, 2)[mask], weights.transpose(1, 2)[mask])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_equals_the_sum_by_hand(form: dict[str, Any]) -> None:
    mixer, x = _build(**form), _tokens(2, 6, 16)
    index = torch.arange(6, dtype=torch.float64)[:, None]
    expected = torch.stack([_by_hand(mixer, row, index) for row in x])
    torch.testing.assert_close(mixer(x, Layout((6,))), expected)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_coordinates_of_any_number_of_axes_are_the_positions(form: dict[str, Any]) -> None:
    mixer, x, coords = _build(**form), _tokens(2, 6, 16), 5 * _tokens(2, 6, 2, seed=2)
    expected = torch.stack([_by_hand(mixer, row, at) for row, at in zip(x, coords, strict=True)])
    torch.testing.assert_close(mixer(x, Layout((6,), coords=coords)), expected)


@pytest.mark.parametrize("form", ["plain", "rotary", "alibi"])
def test_a_grid_is_flattened_with_its_positions(form: str) -> None:
    mixer, x = _build(**FORMS[form]), _tokens(2, 2, 3, 16)
    index = torch.cartesian_prod(torch.arange(2.0), torch.arange(3.0)).double()
    expected = torch.stack([_by_hand(mixer, row.flatten(0, 1), index).view(2, 3, 16) for row in x])
    torch.testing.assert_close(mixer(x, Layout((2, 3))), expected)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_global_tokens_stand_at_the_origin_and_take_part_in_no_bias(form: dict[str, Any]) -> None:
    mixer, x = _build(**form), _tokens(1, 7, 16)
    positions = torch.tensor([0, 0, 0, 1, 2, 3, 4], dtype=torch.float64)[:, None]
    layout = Layout((7,), num_global=2)
    if mixer.window is not None:
        with pytest.raises(IncompatibleError, match="global tokens"):
            mixer(x, layout)
        return
    torch.testing.assert_close(mixer(x, layout)[0], _by_hand(mixer, x[0], positions, blind=2))
    if mixer.causal:
        state = mixer.init_state(1)
        first, state = mixer.extend(x[:, :4], state, Layout((4,), num_global=2))
        second, _ = mixer.extend(x[:, 4:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), mixer(x, layout))


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries_are_repeated_key_heads(causal: bool) -> None:
    grouped, full = _build(num_kv_heads=2, causal=causal), _build(causal=causal)
    with torch.no_grad():
        for ours, theirs in ((full.query, grouped.query), (full.out, grouped.out)):
            ours.weight.copy_(theirs.weight)
        for ours, theirs in ((full.key, grouped.key), (full.value, grouped.value)):
            ours.weight.copy_(theirs.weight.view(2, 1, 4, 16).expand(-1, 2, -1, -1).reshape(16, 16))
    x = _tokens(2, 9, 16)
    torch.testing.assert_close(grouped(x, Layout((9,))), full(x, Layout((9,))))


def test_rotary_output_ignores_where_the_origin_is() -> None:
    mixer, x, coords = _build(rotary=Rotary()), _tokens(2, 6, 16), 5 * _tokens(2, 6, 2, seed=2)
    near, far = (mixer(x, Layout((6,), coords=coords + shift)) for shift in (0, 40))
    torch.testing.assert_close(near, far)
    assert (mixer(x, Layout((6,))) - near).abs().max() > 1e-3


@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_weights_give_the_output(form: dict[str, Any], side: str) -> None:
    mixer, x, mask = _build(**form), _tokens(3, 7, 16), MASKS[side]
    layout = Layout((7,), mask=mask)
    weights = mixer.weights(x, layout)
    values = mixer.value(x).unflatten(-1, (-1, mixer.head_dim)).transpose(1, 2)
    values = values.repeat_interleave(4 // mixer.num_kv_heads, dim=1)
    y = mixer.out((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(y[mask], mixer(x, layout)[mask])
    torch.testing.assert_close(weights.sum(-1), mask[:, None].expand(-1, 4, -1).double())
    assert not weights.masked_select(~mask[:, None, None].expand_as(weights)).any()


@pytest.mark.parametrize("placed", [False, True], ids=["index", "coords"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_packed_sequences_equal_each_by_itself(form: dict[str, Any], placed: bool) -> None:
    mixer, x, bounds = _build(**form), _tokens(1, 11, 16).requires_grad_(), [0, 4, 4, 5, 11]
    coords = 5 * _tokens(1, 11, 2, seed=2) if placed else None
    packed = mixer(x, Layout((11,), offsets=torch.tensor(bounds), coords=coords))
    parts = [
        mixer(x[:, a:b], Layout((b - a,), coords=None if coords is None else coords[:, a:b]))
        for a, b in pairwise(bounds)
        if a < b
    ]
    alone = torch.cat(parts, 1)
    torch.testing.assert_close(packed, alone)
    grads = [torch.autograd.grad(y.square().sum(), [x, *mixer.parameters()]) for y in (packed, alone)]
    torch.testing.assert_close(*grads)


def test_weights_of_packed_sequences_are_refused() -> None:
    with pytest.raises(IncompatibleError, match="unpack"):
        _build().weights(_tokens(1, 4, 16), Layout((4,), offsets=torch.tensor([0, 1, 4])))


@pytest.mark.parametrize("form", CAUSAL.values(), ids=CAUSAL)
def test_decoding_step_by_step_equals_forward(form: dict[str, Any]) -> None:
    mixer, x = _build(**form), _tokens(2, 9, 16)
    state, steps = mixer.init_state(2), []
    for token in x.split(1, dim=1):
        y, state = mixer.extend(token, state)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, 1), mixer(x, Layout((9,))))


@pytest.mark.parametrize("form", CAUSAL.values(), ids=CAUSAL)
def test_beams_share_and_swap_their_pasts(form: dict[str, Any]) -> None:
    mixer, past, future = _build(**form), _tokens(3, 4, 16), _tokens(4, 2, 16, seed=2)
    beams = torch.tensor([2, 0, 2, 1])
    _, state = mixer.extend(past, mixer.init_state(3))
    y, _ = mixer.extend(future, state.select(beams))
    whole = mixer(torch.cat([past[beams], future], 1), Layout((6,)))
    torch.testing.assert_close(y, whole[:, 4:])


@pytest.mark.parametrize("form", CAUSAL.values(), ids=CAUSAL)
def test_ragged_chunks_keep_their_coordinates(form: dict[str, Any]) -> None:
    mixer, x, coords = _build(**form), _tokens(3, 7, 16), 5 * _tokens(3, 7, 2, seed=2)
    mask = MASKS["ragged"]
    state, chunks = mixer.init_state(3), []
    for part in (slice(0, 4), slice(4, 7)):
        layout = Layout((part.stop - part.start,), mask=mask[:, part], coords=coords[:, part])
        y, state = mixer.extend(x[:, part], state, layout)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, 1)[mask], mixer(x, Layout((7,), mask=mask, coords=coords))[mask])
    assert state.counts.tolist() == mask.sum(1).tolist()


@pytest.mark.parametrize("form", CAUSAL.values(), ids=CAUSAL)
def test_random_partitions_equal_forward_with_gradients_and_without(form: dict[str, Any]) -> None:
    mixer, x, draw = _build(**form), _tokens(2, 24, 16), Random(3)
    whole = mixer(x, Layout((24,)))
    for trial in range(6):
        state, pieces, start = mixer.init_state(2), [], 0
        with torch.set_grad_enabled(trial % 2 == 0):
            while start < 24:
                n = draw.choice([1, 1, 2, 5, 9])
                y, state = mixer.extend(x[:, start : start + n], state)
                pieces.append(y)
                start += n
        torch.testing.assert_close(torch.cat(pieces, 1), whole)


@pytest.mark.parametrize("form", CAUSAL.values(), ids=CAUSAL)
def test_a_chunk_with_a_mask_may_follow_chunks_without(form: dict[str, Any]) -> None:
    mixer, x, mask = _build(**form), _tokens(3, 14, 16), torch.ones(3, 14, dtype=torch.bool)
    mask[:, 5:12] = MASKS["ragged"]
    state, pieces = mixer.init_state(3), []
    with torch.no_grad():
        for start, stop in ((0, 1), (1, 5), (5, 12), (12, 13), (13, 14)):
            part = mask[:, start:stop]
            layout = Layout((stop - start,), mask=None if part.all() else part)
            y, state = mixer.extend(x[:, start:stop], state, layout)
            pieces.append(y)
    y = torch.cat(pieces, 1)
    for row in range(3):
        alone = x[row : row + 1, mask[row]]
        torch.testing.assert_close(y[row, mask[row]], mixer(alone, Layout((alone.shape[1],)))[0])


@pytest.mark.parametrize("form", CAUSAL.values(), ids=CAUSAL)
def test_a_state_rewinds_to_what_it_was(form: dict[str, Any]) -> None:
    mixer, x, other = _build(**form), _tokens(2, 9, 16), _tokens(2, 4, 16, seed=2)
    with torch.no_grad():
        _, state = mixer.extend(x, mixer.init_state(2))
        back = state.rewind(4)
        if mixer.window is not None and mixer.window <= 9:
            assert back is None
            return
        assert back is not None
        y, _ = mixer.extend(other, back)
        torch.testing.assert_close(y, mixer(torch.cat([x[:, :5], other], 1), Layout((9,)))[:, 5:])
        y, _ = mixer.extend(other, state)  # which is as usable as before
        torch.testing.assert_close(y, mixer(torch.cat([x, other], 1), Layout((13,)))[:, 9:])


def test_a_window_keeps_what_it_sees_and_no_more() -> None:
    mixer, x = _build(causal=True, window=5), _tokens(1, 64, 16)
    with torch.no_grad():
        state = mixer.init_state(1)
        for token in x.split(1, dim=1):
            _, state = mixer.extend(token, state)
    assert state.length == 4
    assert state.cache.keys.untyped_storage().nbytes() <= 64 * 4 * 8 * 4


def test_a_plain_step_builds_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, attend = [], F.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        masks.append(mask)
        return attend(q, k, v, mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    mixer, x = _build(causal=True, window=6), _tokens(2, 9, 16)
    state = mixer.init_state(2)
    for n in (4, *[1] * 5):
        _, state = mixer.extend(x[:, :n], state)
    assert masks == [None] * 6


@pytest.mark.parametrize("options", [{"window": 0, "causal": True}, {"window": 4}])
def test_a_window_of_nothing_or_without_an_order_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected a window"):
        Attention(16, **options)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_cost_counts_every_parameter(form: dict[str, Any]) -> None:
    mixer = _build(**form)
    assert mixer.cost((7,)).parameters == sum(p.numel() for p in mixer.parameters())


def test_a_packed_chunk_is_refused() -> None:
    mixer = _build(causal=True)
    with pytest.raises(IncompatibleError, match="packed chunk"):
        mixer.extend(_tokens(1, 4, 16), mixer.init_state(1), Layout((4,), offsets=torch.tensor([0, 1, 4])))


def test_dropped_tokens_keep_their_positions() -> None:
    mixer, x = _build(rotary=Rotary(), bias=Alibi(4)), _tokens(2, 7, 16)
    kept, layout = take(x, Layout((7,), num_global=1), torch.tensor([[0, 3, 5], [5, 2, 1]]))
    for row, index in zip(range(2), ([0, 1, 4, 6], [0, 6, 3, 2]), strict=True):
        positions = torch.tensor([max(i - 1, 0) for i in index], dtype=torch.float64)[:, None]
        expected = _by_hand(mixer, x[row, index], positions, blind=1)
        torch.testing.assert_close(mixer(kept, layout)[row], expected)


def test_infinite_padding_does_no_harm() -> None:
    mixer, x, mask = _build(), _tokens(3, 7, 16), MASKS["ragged"]
    layout = Layout((7,), ("set",), mask=mask)
    dirty = x.masked_fill(~mask[..., None], torch.inf)
    torch.testing.assert_close(mixer(dirty, layout)[mask], mixer(x, layout)[mask])


def test_make_adds_rotary_positions_where_every_axis_is_ordered() -> None:
    assert Attention.make(32, grid=(9,), axes=("ordered",), causal=False).describe() == "attention, rotary"
    assert Attention.make(32, grid=(9,), axes=("ordered",), causal=True).describe() == "attention, causal, rotary"
    assert Attention.make(32, grid=(9, 2), axes=("ordered", "set"), causal=False).describe() == "attention"


def test_describe_names_every_variation() -> None:
    mixer = _build(causal=True, num_kv_heads=2, rotary=Rotary(), bias=Alibi(4))
    assert mixer.describe() == "attention, causal, 4 heads on 2 of keys, rotary, alibi"


def test_heads_that_do_not_fit_are_refused() -> None:
    for options in ({"num_heads": 5}, {"num_heads": 4, "num_kv_heads": 3}, {"num_heads": 4, "bias": Alibi(2)}):
        with pytest.raises(ConfigError, match="expected"):
            Attention(16, **options)


def test_positions_tie_it_to_ordered_axes() -> None:
    with pytest.raises(IncompatibleError, match="set axis"):
        _build(rotary=Rotary())(_tokens(1, 3, 16), Layout((3,), ("set",)))


class _Biased(Attention):
    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[str, ...], causal: bool) -> Attention:
        bias = Alibi(4) if set(axes) == {"ordered"} else None
        return cls(dim, num_heads=4, num_kv_heads=2, causal=causal, bias=bias)


class _Windowed(Attention):
    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[str, ...], causal: bool) -> Attention:
        return cls(dim, num_heads=4, causal=causal, window=8 if causal else None, qkv_bias=True)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_windowed_form_keeps_the_contract(check: Any) -> None:
    check(_Windowed, 32)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_biased_grouped_form_keeps_the_contract(check: Any) -> None:
    check(_Biased, 32)
