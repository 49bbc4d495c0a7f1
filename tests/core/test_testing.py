"""The contract tests are tested: what is whole passes, each deliberate fault is caught by the check meant for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.base import Cost, Mixer, State, Traits
from omniform.specs import Domain, Ref, TaskEntry
from omniform.task import Floor, Losses, Metric, NamedFigure, Network, Scores, Size, Splits, Statistic, Units
from omniform.testing import CHECKS, check_domain, check_mixer, check_task, count


@dataclass(frozen=True, eq=False)
class SumState(State):
    total: Tensor  # (B, D)
    counts: Tensor  # (B, 1)


class RunningMean(Mixer):
    """The mean of the tokens so far, projected."""

    name = "running-mean"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(self, dim: int, *, causal: bool = True) -> None:
        super().__init__(dim, causal=causal)
        self.project = nn.Linear(dim, dim)

    def init_state(self, batch: int, *, device: Any = None, dtype: Any = None) -> SumState:
        like = self.project.weight
        return SumState(
            like.new_zeros(batch, self.dim, device=device, dtype=dtype),
            like.new_zeros(batch, 1, device=device, dtype=dtype),
        )

    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, SumState]:
        valid = layout.valid(x.shape[0], x.device)[..., None].to(x)  # (B, n, 1)
        totals = state.total[:, None] + (x * valid).cumsum(1)
        counts = state.counts[:, None] + valid.cumsum(1)
        return self.project(totals / counts.clamp(min=1)), SumState(totals[:, -1], counts[:, -1])

    def cost(self, grid: tuple[int, ...]) -> Cost:
        return Cost(parameters=self.dim**2 + self.dim, flops=2 * prod(grid) * self.dim**2)


class MeanPool(Mixer):
    """Each token and the mean of all, projected; a set mixer of any rank."""

    name = "mean-pool"
    traits = Traits(ranks=(1, 2, 3), axes=("ordered", "set", "circular"), global_tokens=True, cost="linear")

    def __init__(self, dim: int, *, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.project = nn.Linear(dim, dim)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        valid = layout.valid(x.shape[0], x.device)[..., None].to(x)
        axes = tuple(range(1, x.ndim - 1))
        mean = (x * valid).sum(axes, keepdim=True) / valid.sum(axes, keepdim=True).clamp(min=1)
        return self.project(x + mean)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        return Cost(parameters=self.dim**2 + self.dim, flops=2 * prod(grid) * self.dim**2)


class FixedGrid(Mixer):
    """A matrix over the tokens of one grid."""

    name = "fixed-grid"
    traits = Traits(padding="refused", fixed_grid=True, cost="quadratic")

    def __init__(self, dim: int, *, grid: tuple[int, ...], causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.grid = grid
        self.over_tokens = nn.Linear(prod(grid), prod(grid))

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: Any, causal: bool) -> FixedGrid:
        return cls(dim, grid=grid, causal=causal)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return self.over_tokens(x.mT).mT

    def cost(self, grid: tuple[int, ...]) -> Cost:
        length = prod(grid)
        return Cost(parameters=length * (length + 1), flops=2 * length**2 * self.dim)


class SeesAhead(RunningMean):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout) + F.pad(x, (0, 0, -1, 1))


class StartsAfresh(RunningMean):
    def extend(self, x: Tensor, state: State, layout: Layout | None = None) -> tuple[Tensor, State]:
        return super().extend(x, self.init_state(x.shape[0], dtype=x.dtype), layout)


class ChangesItsState(RunningMean):
    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, SumState]:
        y, after = super().advance(x, state, layout)
        with torch.no_grad():
            state.total.copy_(after.total)
        return y, after


class CountsMaskedTokens(RunningMean):
    def extend(self, x: Tensor, state: State, layout: Layout | None = None) -> tuple[Tensor, State]:
        y, after = super().extend(x, state, layout)
        assert isinstance(after, SumState)
        return y, after if layout is None or layout.mask is None else replace(after, counts=after.counts + 1)


@dataclass(frozen=True, eq=False)
class StuckState(SumState):
    def select(self, index: Tensor) -> StuckState:
        return replace(self, total=self.total.index_select(0, index.sort().values), counts=self.counts[: len(index)])


class SelectsTheWrongRows(RunningMean):
    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, SumState]:
        y, after = super().advance(x, state, layout)
        return y, StuckState(after.total, after.counts)


class IgnoresMask(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, replace(layout, mask=None))


class LetsGarbageIn(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout) + 1e-9 * x.mean(1, keepdim=True)


class DividesByNothing(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        mask = layout.valid(x.shape[0], x.device).unsqueeze(-1)
        axes = tuple(range(1, x.ndim - 1))
        return self.project(x + (x * mask).sum(axes, keepdim=True) / mask.sum(axes, keepdim=True))


class JoinsPackedSequences(MeanPool):
    def _forward_packed(self, x: Tensor, layout: Layout, offsets: Tensor) -> Tensor:
        return self.mix(x, replace(layout, offsets=None))


class DoublesCoordinates(MeanPool):
    traits = replace(MeanPool.traits, axes=("ordered",), global_tokens=False)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x if layout.coords is None else x + layout.coords.mean(-1, keepdim=True), layout)


class MixesTheBatch(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x - x.mean(0), layout)


class TellsPlaces(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout) + layout.positions(x).sum(-1, keepdim=True)


class LosesGlobalTokens(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        valid = layout.valid(x.shape[0], x.device).clone()
        valid[:, : layout.num_global] = False
        return super().mix(x, replace(layout, mask=valid, num_global=0))


class DropsAToken(MeanPool):
    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return super().forward(x, layout)[:, 1:]


class ChangesItsInput(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        with torch.no_grad():
            x += 1
        return super().mix(x, layout)


class ComputesInSingle(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout).float()


class StaysOnTheCpu(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout) * torch.ones(self.dim)


class TakesAnything(MeanPool):
    traits = replace(MeanPool.traits, ranks=(1,), axes=("ordered",), global_tokens=False)

    def check(self, x: Tensor, layout: Layout) -> None:
        layout.check(x)


class PromisesMore(MeanPool):
    traits = replace(MeanPool.traits, axes=("ordered",), global_tokens=False)

    def __init__(self, dim: int, *, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.traits = MeanPool.traits


class HasADeadParameter(MeanPool):
    def __init__(self, dim: int, *, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.dead = nn.Parameter(torch.ones(3))


class DividesByItsNorm(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x / (x.square().sum(-1, keepdim=True).sqrt() + 1e-6), layout)


class DropsAlways(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return F.dropout(super().mix(x, layout), 0.1, training=True)


class AsksForValues(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout) if x.sum().item() > 0 else super().mix(x, layout) * 1


class ForgetsAWeight(MeanPool):
    def __init__(self, dim: int, *, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.weight = float(torch.rand(()))

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return super().mix(x, layout) * self.weight


class IsQuadratic(MeanPool):
    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        flat = x.flatten(1, -2)
        return super().mix(x + (flat @ flat.mT @ flat).view_as(x) / x.shape[1] ** 2, layout)


class CountsTenfold(MeanPool):
    def cost(self, grid: tuple[int, ...]) -> Cost:
        return replace(super().cost(grid), flops=10 * super().cost(grid).flops)


class ForgetsTheBias(MeanPool):
    def cost(self, grid: tuple[int, ...]) -> Cost:
        return replace(super().cost(grid), parameters=self.dim**2)


FAULTS: tuple[tuple[type[Mixer], str], ...] = (
    (PromisesMore, "declaration"),
    (DropsAToken, "shape"),
    (ChangesItsInput, "shape"),
    (ComputesInSingle, "dtype"),
    (StaysOnTheCpu, "device"),
    (MixesTheBatch, "batch"),
    (TakesAnything, "refusals"),
    (IgnoresMask, "padding"),
    (LetsGarbageIn, "poison"),
    (DividesByNothing, "empty"),
    (JoinsPackedSequences, "packed"),
    (DoublesCoordinates, "coordinates"),
    (SeesAhead, "causality"),
    (TellsPlaces, "set-axes"),
    (TellsPlaces, "circular-axes"),
    (LosesGlobalTokens, "global-tokens"),
    (StartsAfresh, "extend"),
    (CountsMaskedTokens, "ragged-extend"),
    (ChangesItsState, "state"),
    (SelectsTheWrongRows, "select"),
    (HasADeadParameter, "gradients"),
    (DividesByItsNorm, "gradients"),
    (DropsAlways, "determinism"),
    (AsksForValues, "compilation"),
    (ForgetsAWeight, "round-trip"),
    (IsQuadratic, "growth"),
    (ForgetsTheBias, "parameters"),
    (CountsTenfold, "flops"),
)


@pytest.mark.parametrize("cls", [RunningMean, MeanPool, FixedGrid])
def test_whole_mixers_pass(cls: type[Mixer]):
    check_mixer(cls)


@pytest.mark.parametrize(
    ("cls", "check"), FAULTS, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_fault_is_caught(cls: type[Mixer], check: str):
    with pytest.raises(AssertionError, match=f"{cls.name} breaks the check '{check}'"):
        CHECKS[check](cls)
    with pytest.raises(AssertionError, match=cls.name):
        check_mixer(cls)


def test_each_check_catches_a_fault():
    assert {check for _, check in FAULTS} == set(CHECKS)


def test_checks_that_do_not_apply_say_why():
    assert CHECKS["extend"].reason_to_skip(MeanPool) == "has no state"
    assert CHECKS["padding"].reason_to_skip(FixedGrid) == "refuses padding"
    assert not CHECKS["extend"].reason_to_skip(RunningMean)


def test_count_knows_products():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    q = torch.randn(2, 4, 9, 8)
    image, kernel = torch.randn(1, 6, 10), torch.randn(12, 3, 5)
    assert count(lambda: a @ b).products == 2 * 3 * 5 * 7
    assert count(lambda: F.scaled_dot_product_attention(q, q, q)).products == 2 * 2 * 2 * 4 * 9 * 9 * 8
    assert count(lambda: F.conv1d(image, kernel, groups=2)).products == 2 * 12 * 6 * 3 * 5
    assert count(lambda: torch.fft.rfft(torch.randn(3, 64))).products == 3 * 5 * 64 * 6
    assert count(lambda: torch.fft.irfft(torch.randn(3, 33, dtype=torch.complex64), n=64)).products == 3 * 5 * 64 * 6


def test_count_knows_elementwise_ops_and_leaves_views_out():
    x = torch.randn(4, 6)
    assert count(lambda: x.view(24).view(2, 12).mT[None]).flops == 0
    assert count(lambda: x + x).elementwise == 24
    assert count(lambda: x.sum()).elementwise == 24


def test_count_knows_saved_bytes_once_each():
    x, weight = torch.randn(4, 6, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    assert count(lambda: x.exp()).saved_bytes == 4 * 6 * 4
    assert count(lambda: (x @ weight, x @ weight), leave_out=[weight]).saved_bytes == 4 * 6 * 4
    with torch.no_grad():
        assert count(lambda: x.exp()).saved_bytes == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NextConfig:
    """Options of the task `next`."""

    scale: float = field(default=1.0, metadata={"help": "factor on the series"})


@dataclass(frozen=True, slots=True)
class Constant:
    value: float = 0.0

    def fit(self, splits: Splits[Any], *, seed: int) -> Constant:
        return replace(self, value=float(splits.train[:, -1].mean()))

    def predict(self, items: np.ndarray) -> np.ndarray:
        return np.full(len(items), self.value)


class NextNetwork(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.stem = nn.Linear(7, dim)
        self.head = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).tanh())[:, 0]  # (B,)


class Next:
    """Predict the last of eight numbers from the others; a whole task that reads nothing."""

    name = "next"
    config: Any = NextConfig

    def metrics(self, config: NextConfig) -> tuple[Metric, ...]:
        return (Metric(name="mse"), Metric(name="mae"))

    def read(self, source: str | Path, config: NextConfig) -> np.ndarray:
        return config.scale * np.random.default_rng(0).standard_normal((60, 8)).cumsum(1).astype(np.float32)

    def fingerprint(self, data: np.ndarray) -> str:
        return sha256(data.tobytes()).hexdigest()

    def resolve(self, data: np.ndarray, config: NextConfig) -> NextConfig:
        return config

    def split(self, data: np.ndarray, config: NextConfig) -> Splits[np.ndarray]:
        return Splits(data[:40], data[40:49], data[49:])

    def floors(self, config: NextConfig) -> Sequence[Floor]:
        return (Floor(name="mean", summary="the mean of the training series", estimator=Constant()),)

    def network(self, splits: Splits[np.ndarray], config: NextConfig, mixer: str) -> Network:
        return Network(
            build=lambda size: NextNetwork(size.dim),
            objective=lambda model, batch, *, generator: Losses(F.mse_loss(model(batch[:, :-1]), batch[:, -1])),
            dataset=lambda items, train: items,
            decode=lambda model, batch: model(batch[:, :-1]),
            assemble=lambda batches, items: torch.cat(list(batches)).numpy(),
            fixed=("stem", "head"),
        )

    def predictor_items(self, source: str | Path, config: NextConfig) -> np.ndarray:
        return self.read(source, config)

    def score(self, predictions: np.ndarray, items: np.ndarray, config: NextConfig) -> Scores:
        error = np.abs(predictions - items[: len(predictions), -1]).astype(float)
        one = np.ones_like(error)
        return Scores({"mse": Statistic(error**2, one), "mae": Statistic(error, one)}, Units(kind="group"))

    def write(self, predictions: np.ndarray, path: Path) -> None:
        part = path.with_name(".part")
        part.write_text("\n".join(map(str, predictions)))
        part.replace(path)

    def figures(
        self, predictions: Mapping[str, np.ndarray], items: np.ndarray, config: NextConfig
    ) -> Iterable[NamedFigure]:
        figure = Figure()
        for name, values in predictions.items():
            figure.gca().plot(values, label=name)
        yield NamedFigure("next", "The next numbers.", figure)


@dataclass
class LooseConfig:
    scale: float = 1.0


class LooseOptions(Next):
    config = LooseConfig


class MarksEachReading(Next):
    def fingerprint(self, data: np.ndarray) -> str:
        return sha256(bytes(str(id(data)), "ascii")).hexdigest()


class TestsOnTrain(Next):
    __test__ = False

    def split(self, data: np.ndarray, config: NextConfig) -> Splits[np.ndarray]:
        return Splits(data, data, data)


class NamesNoMae(Next):
    def metrics(self, config: NextConfig) -> tuple[Metric, ...]:
        return super().metrics(config)[:1]


class FloorIsNaN(Next):
    def floors(self, config: NextConfig) -> Sequence[Floor]:
        class Nothing(Constant):
            def predict(self, items: np.ndarray) -> np.ndarray:
                return np.full(len(items), np.nan)

            def fit(self, splits: Splits[Any], *, seed: int) -> Constant:
                return self

        return (Floor(name="nothing", summary="not a number", estimator=Nothing()),)


class LosesTheLastBatch(Next):
    def network(self, splits: Splits[np.ndarray], config: NextConfig, mixer: str) -> Network:
        def assemble(batches: Sequence[Tensor], items: np.ndarray) -> np.ndarray:
            return torch.cat([batch for batch in batches if len(batch) == len(batches[0])]).numpy()

        return replace(super().network(splits, config, mixer), assemble=assemble)


class LeavesAWeightOut(Next):
    def network(self, splits: Splits[np.ndarray], config: NextConfig, mixer: str) -> Network:
        def build(size: Size) -> nn.Module:
            model = NextNetwork(size.dim)
            model.register_parameter("spare", nn.Parameter(torch.zeros(3)))
            return model

        return replace(super().network(splits, config, mixer), build=build)


class WritesInPlace(Next):
    def write(self, predictions: np.ndarray, path: Path) -> None:
        path.write_text("\n".join(map(str, predictions)))


class LeavesRubbish(Next):
    def write(self, predictions: np.ndarray, path: Path) -> None:
        super().write(predictions, path)
        path.with_name("rubbish").touch()


DOMAIN = Domain(
    name="numbers",
    title="Numbers",
    summary="One task.",
    tasks=(TaskEntry(name="next", summary="The next number.", task=Ref(f"{__name__}:Next")),),
)


def test_whole_task_passes():
    check_task(Next())
    check_task(Next(), NextConfig(scale=3.0))


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        (LooseOptions, "LooseConfig is not frozen"),
        (MarksEachReading, "another fingerprint"),
        (TestsOnTrain, "one object"),
        (NamesNoMae, "has the scores"),
        (FloorIsNaN, "is nan"),
        (LosesTheLastBatch, "scored over 11 units"),
        (LeavesAWeightOut, "spare has no part"),
        (WritesInPlace, "in place"),
        (LeavesRubbish, "beside its output: rubbish"),
    ],
)
def test_fault_of_a_task_is_caught(task: type[Next], fault: str):
    with pytest.raises(AssertionError, match=fault):
        check_task(task())


def test_whole_domain_passes():
    check_domain(DOMAIN)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"summary": ""}, "lacks a title or a summary"),
        ({"tasks": ()}, "has no task"),
        ({"tasks": DOMAIN.tasks * 2}, "share a name"),
        ({"tasks": (replace(DOMAIN.tasks[0], name="other"),)}, "the class says next"),
        ({"demo": Ref(f"{__name__}:absent")}, "cannot load"),
        ({"requires": ("no_such_module",)}, "not installed"),
    ],
)
def test_fault_of_a_domain_is_caught(change: dict[str, Any], fault: str):
    with pytest.raises(AssertionError, match=fault):
        check_domain(replace(DOMAIN, **change))
