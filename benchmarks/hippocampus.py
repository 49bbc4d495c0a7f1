"""Segment the hippocampus beside MONAI's SegResNet at equal size and time, and once for longer; write beside this file.

    OMNIFORM_DATA=... python benchmarks/hippocampus.py compare      # 39 minutes of two cores
    OMNIFORM_DATA=... python benchmarks/hippocampus.py long         # 20 minutes of two cores

The last 40 of 200 cases of MSD Task04 are tested on; of the others, a fifth validates. Everyone has the same patches,
augmentation, loss, optimiser and batch, a learning rate from the same three by short runs on validation, and then
takes turns of two seconds; what is timed holds reading, steps and validation. SegResNet is a peer, not part of
omniform: MONAI's own class with 16 initial filters, whose 709,123 parameters the others are solved for.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniform.compare.bootstrap import Bootstrap
from omniform.compare.contender import Contender
from omniform.compare.contest import Contest
from omniform.compare.progress import Tracker
from omniform.compare.ranking import rank, summarise
from omniform.compare.result import Row
from omniform.compare.trials import RATES, Trials
from omniform.compare.verdict import verdict
from omniform.solver import count_parameters, solve_size
from omniform.task import Budget, Network, Scores, Size
from omniform.training.config import Training
from omniform.versions import versions
from omniform_medical.config import SegmentConfig
from omniform_medical.metrics import case_table, interval
from omniform_medical.network import store_of
from omniform_medical.quality import Quality
from omniform_medical.task import Segment

RESULTS = Path(__file__).parent / "results"
TASK = Segment()
CONFIG = SegmentConfig(labels="0=background,1=anterior,2=posterior", batch=2)
SEARCH, BUDGET, LONG = (Budget(seconds=seconds) for seconds in (60, 240, 1200))  # a search run takes a third
SEEDS = 3
PARAMS = 709_123
OURS = {"unet, linear-attention": ("unet", "linear-attention"), "unet, mamba": ("unet", "mamba")}
DEPTHS = {"unet, mamba": 1}  # four scans hold four times the parameters
BEST = "unet, linear-attention"


class Peer(nn.Module):
    """MONAI's SegResNet, with the buffers that a network of the task has."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets.segresnet import SegResNet

        self.model = SegResNet(
            spatial_dims=3, init_filters=16, in_channels=1, out_channels=3, blocks_down=(1, 2, 2), blocks_up=(1, 1)
        )
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("quality", torch.from_numpy(Quality.unchecked(3).rows()))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.model(image),)


@dataclass(frozen=True)
class BuildPeer:
    def __call__(self, size: Size) -> nn.Module:
        return Peer()


def main() -> None:
    command = f"python benchmarks/hippocampus.py {' '.join(sys.argv[1:])}"
    source = Path(os.environ["OMNIFORM_DATA"]) / "medical" / "msd_hippocampus"
    data = TASK.read(source, CONFIG)
    config = TASK.resolve(data, CONFIG)
    splits = TASK.split(data, config)
    long = sys.argv[1:] == ["long"]
    contest = Contest(task=TASK, config=config, splits=splits, training=Training(), budget=LONG if long else BUDGET)
    contest.contenders += [contender(contest, name) for name in ([BEST] if long else [*OURS, "SegResNet (MONAI)"])]
    with Tracker(1.0, show=False, on_progress=None) as tracker:
        shared: dict[str, Any] = {"task": TASK, "config": config, "splits": splits, "tracker": tracker}
        Trials(budget=SEARCH, **shared).search(contest.contenders)
        for each in contest.contenders:
            print(each.name, each.params, each.search, each.training.learning_rate, flush=True)
        contest.fit_floors()
        for seed in range(1 if long else SEEDS):
            Trials(budget=contest.budget, **shared).repeat(contest.contenders, seed)
            print({each.name: [fit.best_validation for fit in each.fits] for each in contest.contenders}, flush=True)
    contest.score()
    write(contest, RESULTS / f"hippocampus_{sys.argv[1]}.json", command)


def contender(contest: Contest, name: str) -> Contender:
    """Return a network of the same data and loss; ours at the peer's size."""
    model, mixer = OURS.get(name, ("unet", "attention"))
    network: Network = TASK.network(contest.splits, replace(contest.config, model=model), mixer)
    if name in OURS:
        size = solve_size(network, params=PARAMS, depth=DEPTHS.get(name, 2))
    else:
        network, size = replace(network, build=BuildPeer()), Size(dim=16, hidden=16, depth=2)
    with torch.device("meta"):
        params = count_parameters(network.build(size))
    training = Training().for_network(network)
    return Contender(name=name, training=training, network=network, size=size, params=params)


def write(contest: Contest, path: Path, command: str) -> None:
    store = store_of(contest.splits.test, contest.config)
    truths = [case.truth for case in (store[index] for index in range(len(store))) if case.truth is not None]
    labels = contest.splits.test.labels
    entries = [
        (Row(name=floor.name, role="floor", seconds=floor.seconds, seeds=1, metrics=summarise(floor.scores)), floor)
        for floor in contest.floors
    ]
    entries += [
        (
            Row(
                name=each.name,
                role="contender",
                params=each.params,
                steps=round(sum(fit.steps for fit in each.fits) / len(each.fits)),
                seconds=sum(fit.seconds for fit in each.fits) / len(each.fits),
                cpu_seconds=sum(fit.cpu_seconds for fit in each.fits) / len(each.fits),
                seeds=len(each.scores),
                metrics=summarise(each.scores),
                learning_rate=each.training.learning_rate,
                precision=each.fits[0].precision,
            ),
            each,
        )
        for each in contest.contenders
    ]
    rows, _ = rank([(row, entrant.scores) for row, entrant in entries], contest.primary)
    result = {
        "command": command,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "data": "MSD Task04 Hippocampus, 128 cases to train, 32 to validate, 40 to test",
        "plan": {name: getattr(contest.config, name) for name in ("spacing", "patch", "stages", "batch", "dims")},
        "budget": str(contest.budget),
        "rates": RATES,
        "search": {each.name: each.search for each in contest.contenders},
        "validation": {each.name: [fit.best_validation for fit in each.fits] for each in contest.contenders},
        "rows": [asdict(row) for row in rows],
        "verdict": verdict(rows, contest.primary),
        "intervals": {entrant.name: intervals(entrant.scores) for _, entrant in entries},
        "against": against_peer(contest),
        "cases": {
            entrant.name: [asdict(row) for row in case_table(entrant.predictions, truths, labels)]
            for _, entrant in entries
        },
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("verdict", "intervals", "against")}, indent=1))


def intervals(scores: list[Scores]) -> dict[str, list[float | None]]:
    """Return the first run's metrics with their 95 % intervals over cases."""
    found = {metric.name: interval(scores[0], metric.name) for metric in TASK.metrics(CONFIG)}
    return {name: [each.value, each.low, each.high] for name, each in found.items()}


def against_peer(contest: Contest) -> dict[str, list[float | None]]:
    """Return the difference of Dice to the peer, its interval over cases with seeds nested."""
    scores = {each.name: each.scores for each in contest.contenders}
    peer = scores.pop("SegResNet (MONAI)", None)
    if peer is None:
        return {}
    told = {}
    for name, ours in scores.items():
        statistics = [[each.statistics["dice"] for each in runs] for runs in (ours, peer)]
        bootstrap = Bootstrap(ours[0].units, len(statistics[0][0].total))
        a, b = bootstrap.replicate(statistics).T
        values = [sum(each.value() for each in runs) / len(runs) for runs in statistics]
        difference = bootstrap.difference(a, b, values[0] - values[1])
        told[name] = [difference.value, difference.low, difference.high]
    return told


if __name__ == "__main__":
    main()
