"""Mix the probabilities of a trained code model with a file's own cache and with n-grams; write beside this file.

    python benchmarks/mixing.py        # two minutes of one core, after completion.py

The network is the first of completion.py: attention, which sees 256 tokens. The cache sees all that a file has said,
the n-grams all training files. Shares are chosen on validation, from a grid of twentieths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from completion import CONTEXT, MIXERS, WEIGHTS, prepared

from omniform.training.checkpoint import load_tensors
from omniform.training.sampler import read_items
from omniform.versions import versions
from omniform_codegen.cache import cache_chances
from omniform_codegen.corpus import Corpus
from omniform_codegen.ngram import KneserNey
from omniform_codegen.tokenizer import BytePair, encode_corpus, with_ends
from omniform_codegen.windows import UNCOUNTED, ScoringWindows

RESULT = Path(__file__).parent / "results" / "mixing.json"
BATCH = 16
MIXTURES = (
    ("network",),
    ("cache",),
    ("ngrams",),
    ("ngrams", "cache"),  # the floor
    ("network", "cache"),
    ("network", "ngrams"),
    ("network", "ngrams", "cache"),
)


def main() -> None:
    torch.set_num_threads(1)
    _, ready = prepared(MIXERS[0])
    tokenizer = BytePair.from_text(ready.config.tokenizer)
    model: Any = ready.network.build(ready.size)
    model.load_state_dict(load_tensors(WEIGHTS))
    train = encode_corpus(ready.splits.train, tokenizer)
    ngrams = KneserNey(train, end=tokenizer.special.end, vocabulary=len(tokenizer))
    chances = {}
    for name in ("validation", "test"):
        items = getattr(ready.splits, name)
        texts = with_ends(items, tokenizer)
        chances[name] = {
            "network": network_chances(model.eval(), items, tokenizer),
            "cache": np.concatenate([cache_chances(text, len(tokenizer)) for text in texts]),
            "ngrams": np.concatenate([ngrams.probabilities(text) for text in texts]),
        }
    rows = [row(names, chances, ready.splits.test.size) for names in MIXTURES]
    result = {"command": "python benchmarks/mixing.py", "versions": versions(), "threads": 1, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


def row(names: tuple[str, ...], chances: dict[str, dict[str, np.ndarray]], size: int) -> dict[str, Any]:
    """Return the shares that cost least on validation, and what the mixture costs on test."""

    def cost(part: str, shares: Iterable[float]) -> float:
        mixed = sum(share * chances[part][name] for name, share in zip(names, shares, strict=True))
        return float(-np.log2(mixed).sum())

    grid = (twentieths for twentieths in product(range(1, 21), repeat=len(names)) if sum(twentieths) == 20)
    shares = min(([part / 20 for part in parts] for parts in grid), key=lambda shares: cost("validation", shares))
    return {
        "mixture": dict(zip(names, shares, strict=True)),
        "bits_per_byte": cost("test", shares) / size,
    }


@torch.no_grad()
def network_chances(model: Any, items: Corpus, tokenizer: BytePair) -> np.ndarray:
    """Return the probability of each token, file after file."""
    windows: Any = ScoringWindows(items, tokenizer, context=CONTEXT)
    told: list[list[float]] = [[] for _ in items.files]
    for start in range(0, len(windows), BATCH):
        ids, targets, files = read_items(windows, list(range(start, min(start + BATCH, len(windows)))))
        chosen = model(ids).softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        for chances, wanted, file in zip(chosen, targets, files.tolist(), strict=True):
            told[file] += chances[wanted != UNCOUNTED].tolist()
    return np.concatenate([np.array(part) for part in told])


if __name__ == "__main__":
    main()
