"""What can be read: examples made by a generator, whose depths are skewed, and files of pairs.

Generated examples come in parts. The test has as many examples of each depth as of any other; training and validation
are draws with probability proportional to `skew ** depth`, none of whose terms is in the test or in each other. Deep
cases are then what the paper calls edge cases: possible, but rare. `reweight` makes all depths alike: examples are
drawn so, those of a file by repeating them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import cast, get_args

import numpy as np

from omniform.errors import ConfigError, DataError
from omniform.task import Splits
from omniform_codegen.recursion.config import FunctionName, RecursionConfig
from omniform_codegen.recursion.examples import Example, Examples, example_of
from omniform_codegen.recursion.functions import FUNCTIONS, Function
from omniform_codegen.recursion.terms import BINARY, MOST_TOKENS, Term

__all__ = ["depths_of", "find_deep", "read_examples", "split_examples"]

_VALIDATION, _TEST = 0.1, 0.2  # shares of the terms of a file
_RARE = 0.05
_TRIES = 8  # draws for each test example that is wanted


def read_examples(source: str | Path, config: RecursionConfig) -> Examples:
    """Make the examples of `"sample"` or of a function by its name, or read a `.jsonl` of pairs.

    A line of a file is `{"input": "X1 01", "output": "X0 X0 01"}`; the output may be left out, and is checked against
    the interpreter where it is there.

    Raises:
        ConfigError: `source` and `config` name different functions.
        DataError: there is no such file, or a line in it is no pair of the function.
    """
    name = str(source)
    named = name if name in FUNCTIONS else None
    if named and config.function not in (None, named):
        raise ConfigError(f"expected one function, got data of {named} and the option {config.function}; leave one out")
    function = FUNCTIONS[named or config.function or "successor"]
    if named or name == "sample":
        return _generate(function, config)
    path = Path(source)
    if path.suffix != ".jsonl" or not path.is_file():
        known = ", ".join(get_args(FunctionName))
        raise DataError(f"expected sample, {known} or an existing .jsonl file of pairs, got {path.name!r}")
    return _read_pairs(path, function, config)


def depths_of(function: Function, config: RecursionConfig) -> tuple[int, int]:
    """Return the deepest recursion in training and in the test."""
    usual = 12 if function.datatype is BINARY else 5 if config.mode == "whole" else 3  # traces of trees are long
    train = config.train_depth or usual
    return train, config.test_depth or train


def find_deep(examples: Examples, config: RecursionConfig) -> int:
    """Return the least depth from which on there are at most 5 % of the training examples; the deepest if none is.

    Shares are those before reweighting, so that deep means the same with it and without.
    """
    function = FUNCTIONS[examples.function]
    if all(examples.parts):
        shares = {depth: config.skew**depth for depth in _train_depths(function, config)}
    else:
        shares = dict(Counter(example.depth for example in examples.examples))
    rare, deep = _RARE * sum(shares.values()), max(1, *shares)
    while deep > 1 and sum(share for depth, share in shares.items() if depth >= deep - 1) <= rare:
        deep -= 1
    return deep


def split_examples(data: Examples, config: RecursionConfig) -> Splits[Examples]:
    """Return the parts that the data names, or parts drawn by term: a term and its repetitions stay together.

    Raises:
        DataError: there are too few terms.
    """
    made = all(data.parts)
    data = data if made else _assign(data, config)
    train, validation = data.part("train"), data.part("validation")
    if config.reweight and not made:
        rng = np.random.default_rng(config.data_seed)
        train, validation = _levelled(train, rng), _levelled(validation, rng)
    return Splits(train, validation, data.part("test"))


def _generate(function: Function, config: RecursionConfig) -> Examples:
    rng = np.random.default_rng(config.data_seed)
    _, test_depth = depths_of(function, config)
    depths = np.array(_train_depths(function, config))
    tested = [term for depth in range(depths[0], test_depth + 1) for term in _distinct(function, depth, config, rng)]
    hidden = set(tested)
    chances = np.ones(len(depths)) if config.reweight else config.skew**depths
    drawn: list[Term] = []
    while len(drawn) < config.examples * (1 + _VALIDATION):
        depth = int(rng.choice(depths, p=chances / chances.sum()))
        term = function.draw(depth, config.tail, rng)
        if term not in hidden:
            drawn.append(term)
    distinct = list(dict.fromkeys(drawn))
    checked = [distinct[i] for i in rng.permutation(len(distinct))[: max(1, round(_VALIDATION * len(distinct)))]]
    apart = set(checked)
    terms = {"train": [term for term in drawn if term not in apart], "validation": checked, "test": tested}
    made = tuple(example_of(function, term, config.mode) for part in terms.values() for term in part)
    return Examples(function.name, made, tuple(part for part, found in terms.items() for _ in found))


def _train_depths(function: Function, config: RecursionConfig) -> range:
    """Return the depths that training has; a single term could not be in the test as well."""
    return range(0 if function.varies(0) else 1, depths_of(function, config)[0] + 1)


def _distinct(function: Function, depth: int, config: RecursionConfig, rng: np.random.Generator) -> list[Term]:
    """Return different terms of a depth, a quarter of those that were met, so that their like is left for training."""
    found: dict[Term, None] = {}
    for _ in range(_TRIES * config.test_examples):
        found[function.draw(depth, config.tail, rng)] = None
        if len(found) == 4 * config.test_examples:
            break
    terms = list(found)
    return [terms[i] for i in rng.permutation(len(terms))[: -(-len(terms) // 4)]]


def _levelled(examples: Examples, rng: np.random.Generator) -> Examples:
    """Draw as many examples with repetition, all depths with the same probability."""
    depths = np.array([example.depth for example in examples.examples])
    found, which, count = np.unique(depths, return_inverse=True, return_counts=True)
    chances = 1 / (len(found) * count[which])
    return examples.take(rng.choice(len(examples), len(examples), p=chances / chances.sum()).tolist())


def _assign(data: Examples, config: RecursionConfig) -> Examples:
    terms = list(dict.fromkeys(example.input for example in data.examples))
    if len(terms) < 10:
        raise DataError(f"expected at least 10 different inputs to train and test on, got {len(terms)}")
    order = np.random.default_rng(config.data_seed).permutation(len(terms)).tolist()
    test, validation = round(_TEST * len(terms)), max(1, round(_VALIDATION * len(terms)))
    names = {terms[i]: "test" if rank < test else "validation" for rank, i in enumerate(order[: test + validation])}
    return Examples(data.function, data.examples, tuple(names.get(e.input, "train") for e in data.examples))


def _read_pairs(path: Path, function: Function, config: RecursionConfig) -> Examples:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"expected {path.name} in UTF-8; convert it") from None
    found = tuple(_pairs(lines, path.name, function, config))
    if not found:
        raise DataError(f"expected pairs of input and output in {path.name}, got an empty file")
    return Examples(function.name, found, ("",) * len(found))


def _pairs(lines: Iterable[str], name: str, function: Function, config: RecursionConfig) -> Iterable[Example]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            row = json.loads(line)
            given, said = row["input"].split(), row.get("output")
            said = None if said is None else tuple(cast(str, said).split())
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise DataError(
                f'{where}: expected {{"input": "...", "output": "..."}} of tokens, got {line[:60]!r}'
            ) from None
        try:
            example = example_of(function, function.datatype.parse(given), config.mode)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if said is not None and said != example.output:
            want = " ".join(example.output)[:80]
            raise DataError(f"{where}: {function.name} in mode {config.mode} gives {want!r}, the file says otherwise")
        if len(example.output) > 10 * MOST_TOKENS:
            raise DataError(f"{where}: the trace has {len(example.output)} tokens; give shorter terms, or mode whole")
        yield example
