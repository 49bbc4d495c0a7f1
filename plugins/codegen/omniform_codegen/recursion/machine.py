"""What a trained model does when it seems to recurse: where its attention reads, and whether it follows a perturbation.

Read as an abstract state machine, an attention model that recurses has a head on the input which stands, for every
token that it writes, at the constructor whose case is being rewritten, and moves on to the argument. How much weight
lies there says how far the reading goes; equal weights over all visible tokens are the floor. Source: arXiv 2401.12947.

B = batch, L = tokens, H = heads
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from omniform.errors import ConfigError
from omniform.mixers.attention import Attention
from omniform.task import Predictor
from omniform_codegen.recursion.config import Mode
from omniform_codegen.recursion.examples import Examples, example_of
from omniform_codegen.recursion.functions import FUNCTIONS
from omniform_codegen.recursion.network import PairDataset, sequence_length, vocabulary_of
from omniform_codegen.recursion.terms import Datatype, Term, Tokens

__all__ = ["Probe", "Reading", "attention_maps", "probes", "read_shares", "readings", "swaps"]


@dataclass(frozen=True, slots=True)
class Reading:
    """Mean weights of one head, from the places that write to those that should be read; NaN where there are none.

    Attributes:
        layer, head: which head.
        recursive: for tokens of recursive cases, on the constructor or label that they are made from.
        other: the same for tokens of the other cases, which mostly copy.
        chance: what equal weights over all visible tokens would give, over all tokens.
    """

    layer: int
    head: int
    recursive: float
    other: float
    chance: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of an output when one constructor of the input was swapped for another.

    Attributes:
        depth: of the recursion on the term as it was.
        place: of the constructor in the term's tokens.
        follows: whether the output changed where the interpreter's does, and to the same tokens.
        stuck: whether it stayed as it was although the interpreter's does not.
    """

    depth: int
    place: int
    follows: bool
    stuck: bool


@torch.no_grad()
def attention_maps(model: nn.Module, ids: Tensor) -> list[Tensor]:
    """Return the weights `(B, H, L, L)`, queries before keys, of every attention layer over `ids` (B, L).

    Raises:
        ConfigError: the model has no attention.
    """
    maps: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    if not layers:
        raise ConfigError("expected a model with attention, whose weights can be read; this one has none")

    def keep(layer: nn.Module, arguments: tuple) -> None:
        assert isinstance(layer, Attention)
        maps.append(layer.weights(*arguments))

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def readings(model: nn.Module, items: Examples) -> list[Reading]:
    """Measure every head of a model on examples, whose right outputs it is given to read.

    Raises:
        ConfigError: the model has no attention, or the examples are traces.
    """
    function = FUNCTIONS[items.function]
    if any(function.evaluate(items.term(i)) != example.output for i, example in enumerate(items.examples)):
        raise ConfigError("expected examples in mode whole: what a token of a trace is made from is not told")
    context = max(sequence_length(example) for example in items.examples)
    dataset = PairDataset(items, vocabulary_of(items.function), context)
    device = next(model.parameters()).device
    ids = default_collate([dataset[i] for i in range(len(dataset))])[0].to(device)
    maps = [weights.float().cpu().numpy() for weights in attention_maps(model.eval(), ids)]
    return read_shares(maps, items)


def read_shares(maps: Sequence[np.ndarray], items: Examples) -> list[Reading]:
    """Measure attention `(B, H, L, L)` of several layers on the sequences of `items`."""
    function = FUNCTIONS[items.function]
    rows, writers, places, recursive = [], [], [], []
    for row in range(len(items)):
        term = items.term(row)
        for index, origin in enumerate(function.origins(term)):
            rows.append(row)
            writers.append(len(term.tokens) + index)  # at the mark behind the input the first token is written
            places.append(origin.place)
            recursive.append(origin.recursive)
    where, chance = np.array(recursive, dtype=bool), float(np.mean([1 / (writer + 1) for writer in writers]))
    found = []
    for layer, weights in enumerate(maps):
        for head in range(weights.shape[1]):
            shares = weights[rows, head, writers, places]
            found.append(Reading(layer, head, _mean(shares[where]), _mean(shares[~where]), chance))
    return found


def swaps(datatype: Datatype, term: Term) -> Iterator[tuple[int, Term]]:
    """Yield every term that differs in one constructor, of the same sort and arguments, and the place where it does."""
    tokens = term.tokens
    for place, token in enumerate(tokens):
        for constructors in datatype.sorts.values():
            for other, arguments in constructors.items():
                if token in constructors and other != token and arguments == constructors[token]:
                    yield place, datatype.parse((*tokens[:place], other, *tokens[place + 1 :]))


def probes(predictor: Predictor, items: Examples, *, mode: Mode = "whole", seed: int = 0) -> list[Probe]:
    """Swap one random constructor in each example, and see whether what is said changes as the interpreter's does.

    An example in which nothing can be swapped is left out.
    """
    function = FUNCTIONS[items.function]
    rng = np.random.default_rng(seed)
    places, chosen, swapped = [], [], []
    for row in range(len(items)):
        options = list(swaps(function.datatype, items.term(row)))
        if options:
            place, term = options[rng.integers(len(options))]
            chosen.append(row)
            places.append(place)
            swapped.append(example_of(function, term, mode))
    kept = items.take(chosen)
    before = predictor.predict(kept).outputs
    after = predictor.predict(Examples(items.function, tuple(swapped), kept.parts)).outputs
    found = []
    for row, place in enumerate(places):
        said = _change(before[row], after[row])
        meant = _change(kept.examples[row].output, swapped[row].output)
        found.append(Probe(kept.examples[row].depth, place, said == meant, bool(meant) and not said))
    return found


def _change(before: Tokens, after: Tokens) -> dict[int, str | None]:
    """Return what stands where two outputs differ, `None` behind the end of the second."""
    pairs = enumerate(zip_longest(before, after))
    return {place: new for place, (old, new) in pairs if old != new}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
