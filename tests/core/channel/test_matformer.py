"""Nested perceptrons: slices against masks, copies against what they were copied from, and a tiny language model."""

from __future__ import annotations

import json
import sysconfig
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.backbones import Sequence
from omniform.channel import MatFormer, Mlp, extract, nested, sample_granularity
from omniform.errors import ConfigError, IncompatibleError
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.linear import replace_linear
from omniform.mixers.attention import Attention
from omniform.positions import Rotary

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)


class _Model(nn.Module):
    """Predict the next byte."""

    def __init__(self, dim: int = 16, hidden: int = 40, depth: int = 3, vocabulary: int = 11) -> None:
        super().__init__()
        self.stem = nn.Embedding(vocabulary, dim)
        self.backbone = Sequence(
            lambda _, width: Layer(
                Branch(Attention(width, causal=True, rotary=Rotary()), nn.RMSNorm(width)),
                Branch(MatFormer(width, hidden), nn.RMSNorm(width)),
            ),
            dim=dim,
            depth=depth,
        )

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.stem(ids)
        return F.linear(self.backbone(tokens, Layout.of(tokens)).last, self.stem.weight)


def _model() -> _Model:
    torch.manual_seed(0)
    return _Model().double()


def _channels(model: nn.Module) -> list[MatFormer]:
    return [module for module in model.modules() if isinstance(module, MatFormer)]


@pytest.mark.parametrize("hidden", [1, 5, 24, 37])
@pytest.mark.parametrize("share", SHARES)
def test_a_slice_is_the_whole_with_units_masked(hidden: int, share: float) -> None:
    torch.manual_seed(0)
    op, x = MatFormer(6, hidden).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    units = torch.arange(hidden) < max(1, round(share * hidden))
    gate, up, down = (x @ op.gate.weight.T), (x @ op.up.weight.T), op.down.weight
    expected = (units * gate * torch.sigmoid(gate) * up) @ down.T
    with nested(op, share):
        torch.testing.assert_close(op(x, Layout.of(x)), expected)


@pytest.mark.parametrize("shares", list(product((1 / 8, 1 / 2, 1.0), repeat=3)))
def test_an_extracted_model_says_bit_for_bit_what_the_nested_one_says(shares: tuple[float, ...]) -> None:
    model, ids = _model(), torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(1))
    small = extract(model, shares)
    with nested(model, shares):
        inside = model(ids)
    assert torch.equal(small(ids), inside)
    assert [channel.hidden for channel in _channels(small)] == [round(40 * share) for share in shares]
    assert [channel.hidden for channel in _channels(model)] == [40] * 3


def test_an_extracted_model_shares_nothing() -> None:
    model = _model()
    small = extract(model, 0.25)
    storages = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    for parameter in small.parameters():
        assert parameter.untyped_storage().data_ptr() not in storages
        assert parameter.untyped_storage().nbytes() == parameter.numel() * 8
        assert parameter.requires_grad
    assert set(small.state_dict()) == set(model.state_dict())


def test_the_setting_is_restored_whatever_happens() -> None:
    model, told = _model(), []

    def note() -> None:
        told.append([channel.granularity for channel in _channels(model)])

    def fail() -> None:
        with nested(model, (0.25, 0.5, 1.0)):
            note()
            with nested(model, 1 / 8):
                note()
            note()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    note()
    assert told == [[1, 2, 3], [0, 0, 0], [1, 2, 3], [3, 3, 3]]


def test_only_the_units_in_use_get_gradients() -> None:
    op, x = MatFormer(6, 16), torch.randn(2, 5, 6)
    with nested(op, 0.25):
        op(x, Layout.of(x)).square().sum().backward()
    for grad, axis in ((op.gate.weight.grad, 0), (op.up.weight.grad, 0), (op.down.weight.grad, 1)):
        assert grad is not None
        used = grad.abs().sum(1 - axis) > 0
        assert used.tolist() == [True] * 4 + [False] * 12


def test_granularities_are_drawn_evenly_from_the_generator() -> None:
    model, generator = _model(), torch.Generator().manual_seed(0)
    counts = dict.fromkeys(SHARES, 0)
    for _ in range(400):
        with sample_granularity(model, generator) as share:
            counts[share] += 1
            assert {channel.granularity for channel in _channels(model)} == {SHARES.index(share)}
    assert all(70 <= count <= 130 for count in counts.values()), counts


@pytest.mark.parametrize("hidden", [1, 3, 16, 100])
def test_cost_is_affine_in_the_hidden_width_and_follows_the_granularity(hidden: int) -> None:
    with torch.device("meta"):
        op = MatFormer(6, hidden)
    assert op.cost((5,)).parameters == sum(p.numel() for p in op.parameters()) == 18 * hidden
    assert op.cost((5, 2)).flops == 2 * 18 * hidden * 10
    with nested(op, 0.5):
        assert op.cost((5,)).flops == 2 * 18 * max(1, round(hidden / 2)) * 5


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.25, 1.0), (0.0, 1.0), (0.5, 0.5, 1.0)])
def test_shares_must_increase_up_to_one(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        MatFormer(6, 16, shares=shares)


def test_what_cannot_be_nested_is_refused() -> None:
    model = _model()
    for shares, words in ((0.3, "a share among"), ((0.5, 0.5), "each of 3 layers")):
        with pytest.raises(ConfigError, match=words), nested(model, shares):
            pass
    with pytest.raises(ConfigError, match="MatFormer"):
        extract(Mlp(6, 16), 0.5)
    with pytest.raises(ConfigError, match="MatFormer"), sample_granularity(Mlp(6, 16)):
        pass


def test_slices_of_replaced_maps_are_refused() -> None:
    op, x = MatFormer(6, 16), torch.randn(2, 6)
    replace_linear(op, lambda linear: nn.Sequential(linear), lambda name, linear: name == "gate")
    op(x, Layout.of(x[None]))
    with pytest.raises(IncompatibleError, match="Sequential"), nested(op, 0.5):
        op(x, Layout.of(x[None]))


@pytest.mark.slow
def test_a_character_model_learns_at_every_granularity() -> None:
    code = Path(json.__file__).parent
    text = b"".join(path.read_bytes() for path in sorted(code.glob("*.py")))
    text += (Path(sysconfig.get_paths()["stdlib"]) / "argparse.py").read_bytes()
    data = torch.tensor(list(text)).clamp(max=127)
    train, held = data[: len(data) * 9 // 10], data[len(data) * 9 // 10 :]
    held = held[: len(held) // 65 * 65].view(-1, 65)[:64]
    torch.manual_seed(0)
    model, generator = _Model(32, 128, 2, 128), torch.Generator().manual_seed(0)

    def loss(ids: Tensor) -> Tensor:
        return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    @torch.no_grad()
    def validate(shares: float | tuple[float, ...]) -> float:
        with nested(model, shares):
            return float(loss(held))

    before = [validate(share) for share in SHARES]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(600):
        starts = torch.randint(len(train) - 65, (16, 1), generator=generator)
        with sample_granularity(model, generator):
            value = loss(train[starts + torch.arange(65)])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    after = [validate(share) for share in SHARES]
    print({"before": before, "after": after})
    assert all(late < early - 1 for early, late in zip(before, after, strict=True))
    assert all(large < small for small, large in pairwise(after))
    for low, high in pairwise(range(4)):
        for mixed in ((SHARES[low], SHARES[high]), (SHARES[high], SHARES[low])):
            between = validate(mixed)
            print(mixed, between)
            assert after[high] < between < after[low]
