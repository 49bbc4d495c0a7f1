"""The packed encoder against the padded one, transformers' BERT, and its own count of work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from omniform.backbones import Sequence
from omniform.backbones.packed import Packed, remove_padding, restore_padding
from omniform.channel import MixtureOfExperts, Mlp
from omniform.errors import IncompatibleError
from omniform.layers import Branch, Layer, Modulation
from omniform.layout import Layout
from omniform.mixers.attention import Attention
from omniform.mixers.gla import GatedLinearAttention
from omniform.positions import Alibi, Rotary

DIM = 16
MASKS = {
    "right": torch.arange(7) < torch.tensor([[3], [7], [1], [0]]),
    "left": torch.arange(7) >= torch.tensor([[4], [0], [6], [7]]),
    "ragged": torch.tensor([[0, 1, 0, 0, 1, 1, 0], [1, 1, 1, 0, 1, 1, 1], [0] * 7, [0, 0, 0, 1, 0, 0, 0]]).bool(),
}
MIXERS = {
    "attention": lambda: Attention(DIM, num_heads=4),
    "rotary-grouped": lambda: Attention(DIM, num_heads=4, num_kv_heads=2, rotary=Rotary()),
    "causal-alibi": lambda: Attention(DIM, num_heads=4, causal=True, bias=Alibi(4)),
    "gla": lambda: GatedLinearAttention(DIM),
}


def _encoder(mixer, *, experts: bool = False, cond_dim: int | None = None) -> Sequence:
    def layer(index: int, dim: int) -> Layer:
        channel = MixtureOfExperts(dim, 2 * dim) if experts else Mlp(dim, 2 * dim)
        modulation = None if cond_dim is None else Modulation(cond_dim, dim)
        return Layer(Branch(mixer(), nn.LayerNorm(dim), modulation=modulation), Branch(channel, nn.LayerNorm(dim)))

    torch.manual_seed(0)
    return Sequence(layer, dim=DIM, depth=2).double()


def _tokens(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_equals_the_padded_encoder_on_valid_tokens(mixer: str, side: str) -> None:
    encoder, x, mask = _encoder(MIXERS[mixer]), _tokens(4, 7, DIM), MASKS[side]
    layout = Layout((7,), mask=mask)
    features = Packed(encoder)(x, layout)
    assert features.layouts == (layout,)
    torch.testing.assert_close(features.last[mask], encoder(x, layout).last[mask], atol=1e-10, rtol=0)
    assert not features.last[~mask].any()


def test_gradients_equal_those_of_the_padded_encoder() -> None:
    encoder, mask = _encoder(MIXERS["rotary-grouped"]), MASKS["ragged"]
    x, weight = _tokens(4, 7, DIM).requires_grad_(), _tokens(4, 7, DIM)[mask]
    leaves = [x, *encoder.parameters()]
    layout = Layout((7,), mask=mask)
    packed, padded = (
        torch.autograd.grad((model(x, layout).last[mask] * weight).sum(), leaves)
        for model in (Packed(encoder), encoder)
    )
    torch.testing.assert_close(packed, padded, atol=1e-10, rtol=0)


def test_coordinates_conditions_and_auxiliary_losses_travel_along() -> None:
    encoder = _encoder(MIXERS["rotary-grouped"], experts=True, cond_dim=5)
    for parameter in encoder.parameters():  # modulations start at zero
        nn.init.normal_(parameter, std=0.3)
    x, mask = _tokens(4, 7, DIM), MASKS["ragged"]
    for cond in (_tokens(4, 5), _tokens(4, 7, 5)):
        for coords in (_tokens(4, 7, 2), _tokens(1, 7, 2)):
            layout = Layout((7,), mask=mask, coords=coords)
            ours, theirs = Packed(encoder)(x, layout, cond=cond), encoder(x, layout, cond=cond)
            torch.testing.assert_close(ours.last[mask], theirs.last[mask], atol=1e-10, rtol=0)
            torch.testing.assert_close(dict(ours.aux), dict(theirs.aux))


def test_equals_bert_of_transformers_on_copied_weights() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=DIM, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32
    )
    torch.manual_seed(0)
    bert = transformers.BertModel(config, add_pooling_layer=False).double().eval()

    def layer(index: int, dim: int) -> Layer:
        theirs = bert.encoder.layer[index]
        attention, channel = Attention(dim, num_heads=4), Mlp(dim, 32)
        own, output = theirs.attention.self, theirs.attention.output
        for ours, linear in (
            (attention.query, own.query),
            (attention.key, own.key),
            (attention.value, own.value),
            (attention.out, output.dense),
        ):
            ours.weight = linear.weight
            nn.init.zeros_(linear.bias)  # ours has none
        channel.up.load_state_dict(theirs.intermediate.dense.state_dict())
        channel.down.load_state_dict(theirs.output.dense.state_dict())
        norms = output.LayerNorm, theirs.output.LayerNorm
        return Layer(Branch(attention, norms[0], post_norm=True), Branch(channel, norms[1], post_norm=True))

    encoder = Sequence(layer, dim=DIM, depth=2, norm=nn.Identity()).double()
    mask = torch.arange(9) < torch.tensor([[9], [1], [4]])
    ids = torch.randint(50, (3, 9))
    with torch.no_grad():
        expected = bert(ids, attention_mask=mask.long()).last_hidden_state
        ours = Packed(encoder)(bert.embeddings(ids), Layout((9,), mask=mask)).last
    torch.testing.assert_close(ours[mask], expected[mask], atol=1e-10, rtol=0)


@pytest.mark.parametrize("side", MASKS)
def test_packing_and_unpacking_is_the_identity(side: str) -> None:
    x, mask = _tokens(4, 7, 3), MASKS[side]
    packed, layout = remove_padding(x, Layout((7,), mask=mask))
    assert packed.shape == (1, int(mask.sum()), 3)
    assert layout.offsets is not None
    assert layout.offsets.tolist() == [0, *mask.sum(1).cumsum(0).tolist()]
    assert torch.equal(restore_padding(packed, mask), x * mask[..., None])


def test_work_outside_attention_falls_to_the_share_of_valid_tokens() -> None:
    encoder, x = Packed(_encoder(MIXERS["attention"])), _tokens(4, 40, DIM)
    counts = []
    for length in (10, 20, 40):
        mask = torch.arange(40) < torch.full((4, 1), length)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(x, Layout((40,), mask=mask))
        counts.append(sum(n for op, n in counter.get_flop_counts()["Global"].items() if "mm" in str(op)))
    assert counts[0] > 0
    assert [n / counts[0] for n in counts] == [1, 2, 4]


def test_nothing_to_pack() -> None:
    encoder, x = _encoder(MIXERS["attention"]), _tokens(2, 5, DIM)
    torch.testing.assert_close(Packed(encoder)(x, Layout((5,))).last, encoder(x, Layout((5,))).last)
    assert not Packed(encoder)(x, Layout((5,), mask=torch.zeros(2, 5).bool())).last.any()
    assert Packed(encoder).cost((5,)) == encoder.cost((5,))


def test_what_cannot_be_packed_is_refused() -> None:
    encoder = Packed(_encoder(MIXERS["attention"]))
    for layout in (Layout((2, 3), mask=torch.ones(1, 2, 3).bool()), Layout((6,), num_global=1)):
        with pytest.raises(IncompatibleError, match="unpacked"):
            encoder(_tokens(1, *layout.grid, DIM), layout)
