"""Tell the planes of a brain apart with four networks and two floors; write what was measured beside this file.

    OMP_NUM_THREADS=1 python benchmarks/planes.py

About five minutes on one core. The data is the embedded sample: crops of one averaged brain, parts held apart by slabs
(`omniform_medical.classification.sample` says what that is worth). Every network has 200,000 parameters, 100 steps and
three seeds; nothing is chosen but the best moment of each training, on validation.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omniform.estimator import NetworkEstimator, NetworkPredictor
from omniform.solver import count_parameters, solve_size
from omniform.task import Budget, Predictor, Size, Splits
from omniform.training.config import Training
from omniform.versions import versions
from omniform_medical.classification.album import Album
from omniform_medical.classification.config import ClassifyConfig, ModelName
from omniform_medical.classification.task import Classify

RESULT = Path(__file__).parent / "results" / "planes.json"
MODELS: tuple[ModelName, ...] = ("pyramid", "dct-histotransformer", "duoformer", "fetal-plane")
MIXER = "attention"
STEPS, PARAMS, DEPTH = 100, 200_000, 1
TRAINING = Training(learning_rate=3e-3, precision="32", device="cpu", validate_every=0.25)
SEEDS = (0, 1, 2)
TASK = Classify()


def main() -> None:
    started = time.perf_counter()
    data = TASK.read("sample", ClassifyConfig())
    config = TASK.resolve(data, ClassifyConfig())
    splits = TASK.split(data, config)
    rows = [floor_row(floor.name, floor.estimator.fit(splits, seed=0), splits, config) for floor in TASK.floors(config)]
    rows += [model_row(splits, replace(config, model=model)) for model in MODELS]
    measured = {
        "task": TASK.name,
        "data": "sample",
        "command": "OMP_NUM_THREADS=1 python benchmarks/planes.py",
        "versions": versions(),
        "primary": "accuracy",
        "lower_is_better": False,
        "protocol": {
            "steps": STEPS,
            "params": PARAMS,
            "depth": DEPTH,
            "mixer": MIXER,
            "training": asdict(TRAINING),
            "fingerprint": TASK.fingerprint(data),
        },
        "seconds": round(time.perf_counter() - started, 1),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def floor_row(name: str, predictor: Predictor, splits: Splits[Album], config: ClassifyConfig) -> dict[str, Any]:
    return row(name, "floor", [score(predictor, splits, config)])


def model_row(splits: Splits[Album], config: ClassifyConfig) -> dict[str, Any]:
    """Train one network with every seed."""
    size = solve_size(TASK.network(splits, config, MIXER), params=PARAMS, depth=DEPTH)
    start, cpu = time.perf_counter(), time.process_time()
    fitted = [train(splits, config, size, seed) for seed in SEEDS]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    told = row(config.model, "contender", [score(predictor, splits, config) for predictor in fitted])
    return told | {
        "params": count_parameters(fitted[0].model),
        "size": asdict(size),
        "steps": STEPS,
        "seeds": list(SEEDS),
        "seconds": round(seconds / len(SEEDS), 1),
        "cpu_seconds": round(cpu / len(SEEDS), 1),
    }


def train(splits: Splits[Album], config: ClassifyConfig, size: Size, seed: int) -> NetworkPredictor:
    return NetworkEstimator(
        task=TASK,
        config=config,
        network=TASK.network(splits, config, MIXER),
        size=size,
        training=TRAINING,
        budget=Budget(steps=STEPS),
        progress=False,
    ).fit(splits, seed=seed)


def score(predictor: Predictor, splits: Splits[Album], config: ClassifyConfig) -> dict[str, float]:
    return TASK.score(predictor.predict(splits.test), splits.test, config).values()


def row(name: str, role: str, told: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return one row of the result file, and print it."""
    metrics = {
        metric: {
            "mean": statistics.fmean(scores[metric] for scores in told),
            "sd": statistics.stdev(scores[metric] for scores in told) if len(told) > 1 else None,
        }
        for metric in told[0]
    }
    print(f"{name:22} {[round(scores['accuracy'], 4) for scores in told]}", flush=True)
    return {"name": name, "role": role, "metrics": metrics}


if __name__ == "__main__":
    main()
