"""Model held-out packages of the standard library with four mixers at two million parameters; write beside this file.

    python benchmarks/completion.py        # half an hour of two cores

Beside them stand the n-gram and the retrieval floor, and a transformer in the manner of nanoGPT (learned positions,
LayerNorm, GELU, no biases) of equal size. Everyone has the same tokens, windows, steps and schedule, and the best on
validation of the same three learning rates, each tried for 120 steps. Two contenders run at a time, a thread each. The
weights of the first are kept under runs/, for weights.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from omniform.compare.bootstrap import Bootstrap
from omniform.versions import versions

RESULT = Path(__file__).parent / "results" / "completion.json"
WEIGHTS = Path(__file__).parents[1] / "runs" / "completion.safetensors"
MIXERS = ("attention", "gla", "mamba", "gated-deltanet")
PEER = "nanoGPT-like"
FLOORS = ("ngram", "retrieval")
PARAMS, DEPTH = 2_000_000, 6
VOCABULARY, CONTEXT, BATCH = 2048, 256, 8
STEPS, SEARCH, RATES = 1200, 120, (1e-3, 3e-3, 6e-3)
SEED = 0


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(floor(sys.argv[1]) if sys.argv[1] in FLOORS else contender(sys.argv[1])))
        return
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(in_a_process, (*MIXERS, PEER, *FLOORS)))
    scores = {row["name"]: statistics(row) for row in rows}
    result = {
        "command": "python benchmarks/completion.py",
        "versions": versions(),
        "data": "the standard library on disk, packages held out",
        "setting": {
            "parameters": PARAMS,
            "depth": DEPTH,
            "vocabulary": VOCABULARY,
            "context": CONTEXT,
            "batch": BATCH,
            "steps": STEPS,
            "search_steps": SEARCH,
            "rates": RATES,
            "seed": SEED,
            "threads": 1,
        },
        "rows": rows,
        "against_ngram": {name: difference(scores[name], scores["ngram"]) for name in (*MIXERS, PEER)},
        "against_peer": {name: difference(scores[name], scores[PEER]) for name in MIXERS},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({row["name"]: row["metrics"] for row in rows}, indent=1))


def in_a_process(name: str) -> dict[str, Any]:
    """Run one row in a process of its own, on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, name], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def prepared(mixer: str) -> tuple[Any, Any]:
    """Return the task's splits, network and size for a mixer, and how it is trained."""
    from omniform.preparation import prepare
    from omniform.training.config import Training
    from omniform_codegen.config import CompleteConfig
    from omniform_codegen.task import Complete

    task = Complete()
    config = CompleteConfig(vocabulary=VOCABULARY, context=CONTEXT, infill=0.0)
    training = Training(batch_size=BATCH, validate_every=0.25)
    data = task.read("sample", config)
    return task, prepare(task, data, config, mixer=mixer, params=PARAMS, depth=DEPTH, training=training)


def contender(name: str) -> dict[str, Any]:
    """Search a rate, train, and score on the test files."""
    from omniform.estimator import NetworkEstimator
    from omniform.solver import count_parameters
    from omniform.task import Budget
    from omniform.training.checkpoint import save_tensors

    task, ready = prepared("attention" if name == PEER else name)
    network = replace(ready.network, build=peer) if name == PEER else ready.network

    def train(rate: float, steps: int) -> Any:
        estimator = NetworkEstimator(
            task=task,
            config=ready.config,
            network=network,
            size=ready.size,
            training=replace(ready.training, learning_rate=rate),
            budget=Budget(steps=steps),
            progress=False,
        )
        return estimator.fit(ready.splits, seed=SEED)

    tried = {rate: train(rate, SEARCH).fit.best_validation for rate in RATES}
    predictor = train(min(tried, key=lambda rate: tried[rate]), STEPS)
    fit = predictor.fit
    if name == MIXERS[0]:
        save_tensors(WEIGHTS, predictor.model.state_dict())
    start = time.perf_counter()
    told = predictor.predict(ready.splits.test)
    row = {
        "name": name,
        "role": "contender",
        "params": count_parameters(predictor.model),
        "size": asdict(ready.size),
        "rates": tried,
        "steps": fit.steps,
        "seconds": fit.seconds,
        "cpu_seconds": fit.cpu_seconds,
        "scoring_seconds": time.perf_counter() - start,
        "precision": fit.precision,
        "validation": [asdict(record) for record in fit.history if record.validation is not None],
    }
    return row | scored(task, told, ready, gaps=name != PEER)


def floor(name: str) -> dict[str, Any]:
    """Fit a floor, and score it on the test files."""
    task, ready = prepared("attention")
    start = time.perf_counter()
    (chosen,) = (floor for floor in task.floors(ready.config) if floor.name == name)
    told = chosen.estimator.fit(ready.splits, seed=SEED).predict(ready.splits.test)
    row = {"name": name, "role": "floor", "seconds": time.perf_counter() - start}
    return row | scored(task, told, ready, gaps=True)


def scored(task: Any, told: Any, ready: Any, *, gaps: bool) -> dict[str, Any]:
    """Return the metrics, and bits and bytes of every test file, for intervals. The peer has no state to write with."""
    from omniform_codegen.metrics import groups_of

    items = ready.splits.test
    statistics = task.score(told, items, ready.config).statistics
    names = statistics if gaps else ["bits_per_byte"]
    return {
        "metrics": {name: statistics[name].value() for name in names},
        "files": {
            "path": [file.path for file in items.files],
            "bits": told.bits.tolist(),
            "bytes": [len(file.content) for file in items.files],
            "group": groups_of(items).tolist(),
        },
    }


def statistics(row: dict[str, Any]) -> Any:
    """Return bits per byte of a row as the core's scores."""
    from omniform.task import Scores, Statistic, Units

    files = row["files"]
    units = Units(kind="group", groups=np.array(files["group"]))
    return Scores({"bits_per_byte": Statistic(np.array(files["bits"]), np.array(files["bytes"], dtype=float))}, units)


def difference(ours: Any, theirs: Any) -> list[float | None]:
    """Return ours minus theirs with its 95 % interval over packages."""
    pair = [each.statistics["bits_per_byte"] for each in (ours, theirs)]
    bootstrap = Bootstrap(ours.units, len(pair[0].total))
    a, b = bootstrap.replicate([[each] for each in pair]).T
    found = bootstrap.difference(a, b, pair[0].value() - pair[1].value())
    return [found.value, found.low, found.high]


def peer(size: Any) -> Any:
    """Build the peer, whatever the size asked for: its width gives the parameters at this depth."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    from omniform_codegen.model import CausalModel

    class Block(nn.Module):
        def __init__(self, dim: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norms = nn.ModuleList(nn.LayerNorm(dim, bias=False) for _ in range(2))
            self.qkv, self.project = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
            self.up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.project(y.transpose(1, 2).flatten(2))
            return x + self.down(F.gelu(self.up(self.norms[1](x))))

    class Peer(CausalModel):
        def __init__(self, dim: int, heads: int) -> None:
            nn.Module.__init__(self)
            self.stem = nn.Embedding(VOCABULARY, dim)
            self.places = nn.Embedding(CONTEXT, dim)
            self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(DEPTH)))
            self.norm = nn.LayerNorm(dim, bias=False)
            self.head = None
            for name, parameter in self.named_parameters():
                if parameter.ndim > 1:
                    shrink = (2 * DEPTH) ** -0.5 if name.endswith(("project.weight", "down.weight")) else 1.0
                    nn.init.normal_(parameter, std=0.02 * shrink)

        def hidden(self, ids: Tensor, layout: Any = None) -> Tensor:
            places = torch.arange(ids.shape[1], device=ids.device)
            return self.norm(self.blocks(self.stem(ids) + self.places(places)))

    return Peer(152, 8)


if __name__ == "__main__":
    main()
