"""Tune a small code model to one package of the standard library in six ways; write beside this file.

    OMP_NUM_THREADS=1 python benchmarks/personalization.py      # 8 minutes of one core

The base is trained from scratch on all packages but two. Files of the first, drawn at random, are tuned to, stop the
training, or are held out; the second tells what was forgotten. Everyone takes the same steps over the same windows.
A file stands for a commit here that added it whole: intervals are over files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from omniform.adaptation.settings import Adaptation, Method
from omniform.estimator import NetworkEstimator
from omniform.preparation import prepare
from omniform.task import Budget
from omniform.training.config import Training
from omniform.versions import versions
from omniform_codegen.api import language_of
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.history import Change, Commit, History
from omniform_codegen.language import LanguageModel
from omniform_codegen.personalization import personalize
from omniform_codegen.personalization.output import report
from omniform_codegen.task import Complete

RESULT = Path(__file__).parent / "results" / "personalization.json"
PACKAGE, OTHER = "idlelib", "asyncio"
MIXER, PARAMS, DEPTH = "attention", 500_000, 4
BASE, STEPS = Budget(steps=600), Budget(steps=100)
SEED = 0
SHARES = (0.6, 0.15)  # of the package's files: to tune to, to stop by
GAPS = 32
VALIDATION_BYTES, TEST_BYTES = 30_000, 120_000  # what is scored; more is thinned out


def main() -> None:
    torch.set_num_threads(1)
    task, config = Complete(), CompleteConfig(vocabulary=1024, context=256, validation_bytes=40_000)
    corpus = task.read("sample", config)
    base, fit = train_base(task, without(corpus, (PACKAGE, OTHER)), config)
    history, other = cut(only(corpus, PACKAGE)), only(corpus, OTHER)
    rows = []
    for method in get_args(Method):
        told = personalize(
            base,
            history,
            settings=Adaptation(method=method),
            budget=STEPS,
            training=Training(precision="32", validate_every=0.2),
            seed=SEED,
            gaps=GAPS,
            validation_bytes=VALIDATION_BYTES,
            test_bytes=TEST_BYTES,
            other=other,
            progress=False,
        )
        rows.append({"name": method} | {name: part for name, part in report(told).items() if name != "versions"})
        print(method, told.verdict, flush=True)
    parts = {"tuned to": history.train.files, "stopped by": history.validation, "held out": history.test}
    result = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/personalization.py",
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "data": f"the Python standard library; tuned to {PACKAGE}, forgetting on {OTHER}",
        "files": {name: len(part) for name, part in parts.items()} | {"other": len(other)},
        "base": fit,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def train_base(task: Complete, corpus: Corpus, config: CompleteConfig) -> tuple[LanguageModel, dict[str, object]]:
    """Train a model on whole packages, others of them held out for validation."""
    training = Training(precision="32", validate_every=0.2)
    made = prepare(task, corpus, config, mixer=MIXER, params=PARAMS, depth=DEPTH, training=training)
    estimator = NetworkEstimator(
        task=task,
        config=made.config,
        network=made.network,
        size=made.size,
        training=made.training,
        budget=BASE,
        progress=False,
    )
    predictor = estimator.fit(made.splits, seed=SEED)
    config, fit = made.config, predictor.fit
    assert fit is not None
    model = predictor.model
    language = language_of(model, config, MIXER)
    told = {
        "mixer": MIXER,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "steps": fit.steps,
        "seconds": fit.seconds,
        "validation_bits_per_byte": fit.best_validation,
    }
    print(told, flush=True)
    return language, told


def cut(package: Corpus) -> History:
    """Draw files to tune to, to stop by and to measure on."""
    files = [file for file in package.files if file.content]
    random.Random(SEED).shuffle(files)
    first = round(SHARES[0] * len(files))
    second = first + round(SHARES[1] * len(files))
    return History(Corpus(tuple(files[:first])), commits(files[first:second]), commits(files[second:]))


def commits(files: Sequence[SourceFile]) -> tuple[Commit, ...]:
    changes = [Change(file.path, file.content, ((0, len(file.content)),)) for file in files]
    return tuple(Commit(change.path, 0, "", (change,)) for change in changes)


def only(corpus: Corpus, package: str) -> Corpus:
    return Corpus(tuple(file for file in corpus.files if file.group == package))


def without(corpus: Corpus, packages: tuple[str, ...]) -> Corpus:
    return Corpus(tuple(file for file in corpus.files if file.group not in packages))


if __name__ == "__main__":
    main()
