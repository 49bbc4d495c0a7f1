"""Positions against the papers' formulas, and against what they promise."""

from __future__ import annotations

import math

import pytest
import torch

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.positions import Alibi, Learned, Rotary, Sinusoidal, token_positions


def _tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _masks() -> dict[str, torch.Tensor]:
    return {
        "right": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool(),
        "left": torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]).bool(),
        "ragged": torch.tensor([[0, 1, 0, 1, 1], [1, 0, 1, 1, 0]]).bool(),
    }


@pytest.mark.parametrize("side", _masks())
def test_padded_tokens_count_the_valid_ones_before_them(side: str) -> None:
    mask = _masks()[side]
    positions = token_positions(Layout((5,), mask=mask), torch.empty(0))[..., 0]
    for row, valid in zip(positions, mask, strict=True):
        assert row[valid].tolist() == list(range(int(valid.sum())))


def test_packed_tokens_count_from_the_start_of_their_sequence() -> None:
    layout = Layout((8,), offsets=torch.tensor([0, 3, 3, 4, 8]))
    assert token_positions(layout, torch.empty(0))[0, :, 0].tolist() == [0, 1, 2, 0, 0, 1, 2, 3]


def test_global_tokens_stand_at_the_origin_padded_or_not() -> None:
    plain = token_positions(Layout((6,), num_global=2), torch.empty(0))[0, :, 0]
    padded = token_positions(Layout((6,), mask=torch.ones(1, 6).bool(), num_global=2), torch.empty(0))[0, :, 0]
    assert plain.tolist() == padded.tolist() == [0, 0, 0, 1, 2, 3]


def test_positions_stay_exact_beside_bfloat16_tokens() -> None:
    positions = token_positions(Layout((600,)), torch.empty(0, dtype=torch.bfloat16))
    assert positions[0, :, 0].tolist() == list(range(600))


def test_sinusoidal_is_the_formula_of_the_paper() -> None:
    y = Sinusoidal(8)(torch.zeros(1, 50, 8, dtype=torch.float64), Layout((50,)))[0]
    for p in (0, 1, 7, 49):
        for i in range(4):
            angle = p / 10_000 ** (2 * i / 8)
            assert y[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert y[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_sinusoidal_on_a_grid_joins_those_of_its_axes() -> None:
    x = torch.zeros(1, 3, 4, 10, dtype=torch.float64)
    y = Sinusoidal(10)(x, Layout((3, 4)))[0]
    rows = Sinusoidal(6)(torch.zeros(1, 3, 6, dtype=torch.float64), Layout((3,)))[0]
    columns = Sinusoidal(4)(torch.zeros(1, 4, 4, dtype=torch.float64), Layout((4,)))[0]
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(y[i, j], torch.cat([rows[i], columns[j]]))


def test_learned_sums_a_table_per_axis_on_any_smaller_grid() -> None:
    embed, x = Learned(6, (5, 7)), torch.randn(2, 3, 4, 6)
    y = embed(x, Layout((3, 4)))
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(y[:, i, j], x[:, i, j] + embed.tables[0][i] + embed.tables[1][j])


def test_learned_refuses_places_it_has_not() -> None:
    embed = Learned(6, (5,))
    with pytest.raises(IncompatibleError, match="larger grid"):
        embed(torch.zeros(1, 6, 6), Layout((6,)))
    with pytest.raises(IncompatibleError, match="larger grid"):
        embed(torch.zeros(1, 2, 6), Layout((2,), coords=torch.tensor([[[0.0], [5.0]]])))
    with pytest.raises(IncompatibleError, match="larger grid"):
        embed(torch.zeros(1, 2, 2, 6), Layout((2, 2)))


@pytest.mark.parametrize("embed", [Learned(6, (5,)).double(), Sinusoidal(6)], ids=["learned", "sinusoidal"])
class TestAdditive:
    def test_padded_equals_alone(self, embed: torch.nn.Module) -> None:
        x = _tokens(2, 5, 6)
        for mask in _masks().values():
            y = embed(x, Layout((5,), mask=mask))
            for row, tokens, valid in zip(y, x, mask, strict=True):
                alone = embed(tokens[valid][None], Layout((int(valid.sum()),)))[0]
                torch.testing.assert_close(row[valid], alone)

    def test_coordinates_travel(self, embed: torch.nn.Module) -> None:
        x, order = _tokens(1, 5, 6), torch.tensor([3, 0, 4, 1])
        y = embed(x[:, order], Layout((4,), coords=order.double()[None, :, None]))
        torch.testing.assert_close(y, embed(x, Layout((5,)))[:, order])

    def test_global_tokens_stay_as_they_are(self, embed: torch.nn.Module) -> None:
        x = _tokens(1, 7, 6)
        y = embed(x, Layout((7,), num_global=2))
        torch.testing.assert_close(y[:, :2], x[:, :2])
        torch.testing.assert_close(y[:, 2:], embed(x[:, 2:], Layout((5,))))

    def test_a_set_has_no_positions(self, embed: torch.nn.Module) -> None:
        with pytest.raises(IncompatibleError, match="set axis"):
            embed(_tokens(1, 5, 6), Layout((5,), ("set",)))


def test_rotary_multiplies_complex_numbers() -> None:
    x, positions = _tokens(2, 3, 9, 8), torch.arange(9, dtype=torch.float64)[None, :, None]
    frequency = 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    turn = torch.polar(torch.ones(9, 4, dtype=torch.float64), positions[0] * frequency)
    expected = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (4, 2))) * turn).flatten(-2)
    torch.testing.assert_close(Rotary()(x, positions), expected)


def test_rotary_leaves_the_channels_behind_the_first_ones_alone() -> None:
    x, at = _tokens(2, 3, 5, 10), torch.arange(5, dtype=torch.float64)[None, :, None]
    y = Rotary(channels=6)(x, at)
    torch.testing.assert_close(y[..., :6], Rotary()(x[..., :6], at))
    assert torch.equal(y[..., 6:], x[..., 6:])


def test_rotary_pairs_may_turn_slower() -> None:
    x, at = _tokens(2, 3, 5, 8), torch.arange(5, dtype=torch.float64)[None, :, None]
    slowing = (1.0, 2.0, 4.0, 8.0)
    y = Rotary(slowing=slowing)(x, at)
    for pair, divisor in enumerate(slowing):
        channels = slice(2 * pair, 2 * pair + 2)
        torch.testing.assert_close(y[..., channels], Rotary()(x, at / divisor)[..., channels])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("width", [8, 9, 16])
def test_rotary_scores_depend_on_differences_alone(rank: int, width: int) -> None:
    q, k, positions = _tokens(2, 3, 5, width), _tokens(2, 3, 5, width, seed=1), 9 * _tokens(2, 5, rank, seed=2)
    rotary = Rotary()

    def scores(at: torch.Tensor) -> torch.Tensor:
        return rotary(q, at) @ rotary(k, at).mT

    shift = torch.tensor([31.5, -4.0, 17.0], dtype=torch.float64)[:rank]
    torch.testing.assert_close(scores(positions + shift), scores(positions), rtol=0, atol=1e-10)
    for axis in range(rank):
        moved = positions.clone()
        moved[:, 0, axis] += 1
        assert (scores(moved) - scores(positions)).abs().max() > 1e-3


def test_rotary_shares_the_pairs_among_the_axes() -> None:
    x, at = _tokens(1, 1, 4, 10), torch.zeros(1, 4, 2, dtype=torch.float64)
    at[..., 1] = torch.arange(4)
    y = Rotary()(x, at)
    torch.testing.assert_close(y[..., :6], x[..., :6])  # 3 of 5 pairs turn with the first axis
    torch.testing.assert_close(y[..., 6:], Rotary()(x[..., 6:], at[..., 1:]))


def test_rotary_refuses_more_axes_than_pairs() -> None:
    with pytest.raises(IncompatibleError, match="widen the heads"):
        Rotary()(_tokens(1, 1, 2, 4), torch.zeros(1, 2, 3))


def test_alibi_is_the_figure_of_the_paper() -> None:
    at = torch.arange(4, dtype=torch.float64)[None, :, None]
    bias = Alibi(8)(at, at)[0]
    for head in range(8):
        for i in range(4):
            for j in range(4):
                assert bias[head, i, j].item() == -(2.0 ** -(head + 1)) * abs(i - j)


def test_alibi_slopes_of_other_head_numbers_are_those_of_the_published_code() -> None:
    def published(n: int) -> list[float]:
        if math.log2(n).is_integer():
            start = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [start * start**i for i in range(n)]
        closest = 2 ** math.floor(math.log2(n))
        return published(closest) + published(2 * closest)[0::2][: n - closest]

    for heads in range(1, 20):
        torch.testing.assert_close(Alibi(heads).slopes, torch.tensor(published(heads)))


def test_alibi_depends_on_differences_alone() -> None:
    at = 5 * _tokens(2, 6, 2)
    torch.testing.assert_close(Alibi(3)(at + 7, at + 7), Alibi(3)(at, at))
    torch.testing.assert_close(Alibi(3)(at, at), Alibi(3)(at, at).mT)
