"""The program inside a transformer program: which variables modules read, and tables of whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from omniform.analysis.programs.attention import CategoricalHeads, NumericalHeads
from omniform.analysis.programs.lookup import INPUTS, Lookups
from omniform.analysis.programs.model import ProgramLayer, TransformerProgram

__all__ = ["DiscreteProgram", "Head", "Lookup", "Variable", "discretise"]


@dataclass(frozen=True, slots=True)
class Variable:
    """A name and the values that it can take; a number's are its possible sums.

    Attributes:
        numerical: it is added up and multiplied; others are only compared.
    """

    name: str
    values: tuple[str | int, ...]
    numerical: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """An attention head: `output` at a token comes from `value` at those whose `key` is what its `query` asks for.

    Attributes:
        partners: for each value of the query the index of the key's value that it asks for; `None` for one that the
            key never has. A categorical output is that of the closest match, a numerical one the sum of all.
    """

    output: Variable
    query: Variable
    key: Variable
    value: Variable
    partners: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table: `table` holds an index into the output's values for all combinations of the inputs', the last fastest.

    Inputs that change nothing are left out, but for one.
    """

    output: Variable
    inputs: tuple[Variable, ...]
    table: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DiscreteProgram:
    """Everything that a discretised network computes.

    Attributes:
        tokens, labels, length: as in `ProgramConfig`.
        inputs: the variables at the start: token, position, one.
        layers: each layer's modules, in the order in which they run.
        weights: for each variable a row of labels' weights per value, in units of 1 / SCALE; one row for a number.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    length: int
    inputs: tuple[Variable, ...]
    layers: tuple[tuple[Head | Lookup, ...], ...]
    weights: dict[str, tuple[tuple[int, ...], ...]]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All variables, in the order in which they are written."""
        return self.inputs + tuple(module.output for layer in self.layers for module in layer)


def discretise(model: TransformerProgram) -> DiscreteProgram:
    """Take the largest of every choice of the network and tabulate its perceptrons.

    What the program computes is to the last label what `model.predict` does.

    Source: Friedman et al., arXiv 2306.01128
    """
    config = model.config
    token = Variable("token", config.tokens)
    position = Variable("position", tuple(range(config.length)))
    one = Variable("one", (1,), numerical=True)
    categorical, numerical = [token, position], [one]
    layers = []
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, ProgramLayer)
        layers.append(_read_layer(layer, index, categorical, numerical))
    weights = _weights(model.weights(), categorical, numerical, config.categories)
    return DiscreteProgram(config.tokens, config.labels, config.length, (token, position, one), tuple(layers), weights)


@torch.no_grad()
def _read_layer(
    layer: ProgramLayer, index: int, categorical: list[Variable], numerical: list[Variable]
) -> tuple[Head | Lookup, ...]:
    """Return the layer's modules and append the variables that they write."""
    copies = _heads(layer.categorical_heads, f"attention_{index}", categorical, categorical)
    sums = _heads(layer.numerical_heads, f"sum_{index}", categorical, numerical)
    categorical += [head.output for head in copies]
    numerical += [head.output for head in sums]
    lookups = _lookups(layer.categorical_lookups, f"lookup_{index}", categorical)
    from_numbers = _lookups(layer.numerical_lookups, f"sum_lookup_{index}", numerical)
    categorical += [lookup.output for lookup in (*lookups, *from_numbers)]
    return (*copies, *sums, *lookups, *from_numbers)


def _heads(
    heads: CategoricalHeads | NumericalHeads, stem: str, matched: Sequence[Variable], values: Sequence[Variable]
) -> list[Head]:
    """Return the heads, which match among `matched` and take from `values`."""
    matching = heads.matching
    found = []
    for index, predicate in enumerate(matching.predicate.argmax(-1).tolist()):
        query = matched[int(matching.query[index].argmax())]
        key = matched[int(matching.key[index].argmax())]
        value = values[int(heads.value[index].argmax())]
        span = tuple(range(heads.largest + 1)) if isinstance(heads, NumericalHeads) else value.values
        partners = tuple(partner if partner < len(key.values) else None for partner in predicate[: len(query.values)])
        found.append(Head(Variable(f"{stem}_{index}", span, value.numerical), query, key, value, partners))
    return found


def _lookups(lookups: Lookups, stem: str, variables: Sequence[Variable]) -> list[Lookup]:
    """Return the lookups, which read among `variables`."""
    found = []
    for index, read in enumerate(lookups.read.argmax(-1).tolist()):
        inputs = [variables[choice] for choice in read]
        table = _tabulate(lookups, index, inputs)
        if read[0] == read[1]:
            inputs, table = inputs[:1], table.diagonal()
        for axis in reversed(range(len(inputs))):
            if table.ndim > 1 and (table == table.take([0], axis)).all():
                inputs, table = inputs[:axis] + inputs[axis + 1 :], table.take(0, axis)
        output = Variable(f"{stem}_{index}", tuple(range(lookups.bias_out.shape[1])))
        found.append(Lookup(output, tuple(inputs), tuple(table.flatten().tolist())))
    return found


def _tabulate(lookups: Lookups, index: int, inputs: Sequence[Variable]) -> np.ndarray:
    """Return the perceptron's category for every combination of its inputs' values, one axis an input."""
    width = lookups.weight_in.shape[1] // INPUTS
    vectors = [_vectors(variable, width).to(lookups.read) for variable in inputs]
    rows = torch.stack([torch.cat(pair) for pair in product(*vectors)])  # (values x values, 2W)
    scores = lookups.scores(rows[:, None].expand(-1, lookups.read.shape[0], -1))[:, index]
    return scores.argmax(-1).cpu().numpy().reshape([len(variable.values) for variable in inputs])


def _vectors(variable: Variable, width: int) -> Tensor:
    """Return what the network holds for each of the variable's values, (values, W)."""
    if variable.numerical:
        return torch.tensor(variable.values)[:, None]
    return torch.eye(len(variable.values), width)


def _weights(
    weights: Tensor, categorical: Sequence[Variable], numerical: Sequence[Variable], categories: int
) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return each variable's rows of weights, from (C, V K + N)."""
    rows = [tuple(row) for row in weights.T.long().tolist()]
    found = {}
    for index, variable in enumerate(categorical):
        start = index * categories
        found[variable.name] = tuple(rows[start : start + len(variable.values)])
    for index, variable in enumerate(numerical):
        found[variable.name] = (rows[len(categorical) * categories + index],)
    return found
