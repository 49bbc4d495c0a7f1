"""A project that is easy to learn: one idiom again and again, and a model that has never seen it."""

from __future__ import annotations

import random

import torch

from omniform.mixers import Attention, Mixer
from omniform.task import Size
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.history import Change, Commit, History
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import causal_model
from omniform_codegen.tokenizer import BytePair, train_tokenizer

NAMES = ("alpha", "beta", "gamma", "delta")
HEAD = b"import zebra\n\n"


def make_line(rng: random.Random) -> bytes:
    name = rng.choice(NAMES)
    return f"    zebra.register({name}, quiet=True)  # {name}\n".encode()


def make_file(rng: random.Random, lines: int = 12) -> bytes:
    return HEAD + b"def run():\n" + b"".join(make_line(rng) for _ in range(lines))


def make_history(*, commits: int = 6, seed: int = 0) -> History:
    rng = random.Random(seed)
    train = Corpus(tuple(SourceFile(f"a{i}.py", make_file(rng), "project", i) for i in range(6)))
    later = []
    for place in range(2 * commits):
        old, new = make_file(rng, 3), b"".join(make_line(rng) for _ in range(4))
        content = old + new + b"    return None\n"
        added = ((len(old), len(old) + len(new)),)
        later.append(Commit(f"{place:040x}", 100 + place, "hash", (Change("b.py", content, added),)))
    return History(train, tuple(later[:commits]), tuple(later[commits:]))


def make_language(mixer: type[Mixer] = Attention, *, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    tokenizer: BytePair = train_tokenizer(make_history().train, 300)
    model = causal_model(mixer, Size(dim=32, hidden=48, depth=2), vocabulary=len(tokenizer), context=128)
    return LanguageModel(model.eval(), tokenizer, "toy", 128)
