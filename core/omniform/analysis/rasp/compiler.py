"""Programs as weights: a transformer encoder that was never trained and does what its program says.

Shapes: B batch, L tokens, D width, C values of the result, H heads, d head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omniform.analysis.rasp.domains import Domains
from omniform.analysis.rasp.expressions import Indices, SOp, Tokens
from omniform.analysis.rasp.plan import Lookup, Plan, Space, Wiring, make_plan
from omniform.analysis.rasp.staircase import make_staircase
from omniform.analysis.rasp.values import Value
from omniform.channel.mlp import Mlp
from omniform.errors import DataError
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.attention import Attention

__all__ = ["CompiledProgram", "compile_program"]

_SCALE = 100.0
"""Scores differ by half of it at least: what is not selected weighs less than exp(-50), which is lost in rounding."""


class CompiledProgram(nn.Module):
    """A transformer encoder whose weights a program gave: float64, without norms.

    Tokens and positions are embedded and added; a perceptron computes what is elementwise in them; layers of attention
    and perceptron follow, and a linear map reads one score for each value of the result, 1 for the one and 0 for all
    others. In front of the sequence stands a sink, which no head scores as high as a selected key, nor as low as
    another: where nothing is selected it gives the default.

    Args:
        plan: where everything is.
        result: where the result is.

    Source: the idea is Tracr's: Lindner et al., arXiv 2301.05062. The sink, the classes of keys and queries and the
    staircases that hold tables are this project's.
    """

    def __init__(self, plan: Plan, result: Space) -> None:
        super().__init__()
        width, tokens, indices = plan.width, plan.spaces[Tokens()], plan.spaces[Indices()]
        self.vocabulary, self.max_length, self.results = tokens.values, plan.domains.max_length, result.values
        unit = torch.eye(width, dtype=torch.float64)
        self.token = nn.Embedding.from_pretrained(unit[tokens.start : tokens.start + tokens.width], freeze=False)
        self.position = nn.Embedding.from_pretrained(unit[indices.start : indices.start + indices.width], freeze=False)
        self.sink = nn.Parameter(unit[0].clone())
        stages = [[_attention(heads, width)] for heads in plan.heads]
        self.layers = nn.ModuleList(
            Layer(*(Branch(op) for op in (*attention, *_perceptron(lookups, width))))
            for attention, lookups in zip([[], *stages], plan.lookups, strict=True)
        )
        self.read = nn.Linear(width, result.width, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.read.weight.copy_(unit[result.start : result.start + result.width])

    def forward(self, ids: Tensor) -> Tensor:
        """Return a score `(B, L, C)` for each value of the result, given tokens (B, L) by place in the vocabulary.

        Raises:
            DataError: if the sequences are empty or too long.
        """
        if not 1 <= ids.shape[1] <= self.max_length:
            raise DataError(f"expected 1 to {self.max_length} tokens, got {ids.shape[1]}: compile for more")
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        x = torch.cat([self.sink.expand(len(x), 1, -1), x], dim=1)  # (B, 1 + L, D)
        layout = Layout.of(x)
        for layer in self.layers:
            x = layer(x, layout)
        return self.read(x[:, 1:])

    @torch.no_grad()
    def run(self, sequence: Sequence[Value]) -> list[Value]:
        """Return what the program holds at each position.

        Raises:
            DataError: if the sequence is empty or too long, or has a token that is not in the vocabulary.
        """
        unknown = [token for token in sequence if token not in self.vocabulary]
        if unknown:
            raise DataError(f"expected tokens of {list(self.vocabulary)}, got {unknown[0]!r}")
        ids = torch.tensor([[self.vocabulary.index(token) for token in sequence]], device=self.sink.device)
        return [self.results[index] for index in self(ids)[0].argmax(-1).tolist()]


def compile_program(program: SOp, vocabulary: Sequence[Value], max_length: int) -> CompiledProgram:
    """Return a transformer that computes a program, with the layers and heads of its `schedule`.

    It agrees with `run` for every sequence for which the program is defined. A mean of numbers without a default must
    always be of something, and where a variable is a number for some tokens but not for all, a query must select only
    one value of it.

    Args:
        vocabulary: the tokens that there are.
        max_length: the longest sequence.

    Raises:
        ConfigError: if a variable has too many values to tabulate, takes means of floats, or combines a `best` with
            another selector.
    """
    return CompiledProgram(*make_plan(program, Domains(vocabulary, max_length)))


def _attention(heads: Sequence[Wiring], width: int) -> Attention:
    """Return attention whose head h has a key dimension for each class of keys and one for the sink."""
    values = [sum(read.target.width for read in head.reads) for head in heads]
    size = max(*values, *(head.keys.width + 1 for head in heads))
    attention = Attention(width, num_heads=len(heads), head_dim=size, qkv_bias=True).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        for number, head in enumerate(heads):
            _set_head(attention, head, number * size)
    return attention


def _set_head(attention: Attention, head: Wiring, first: int) -> None:
    """Set the weights of the head whose dimensions begin at `first`."""
    scale, keys, queries = _SCALE * attention.head_dim**0.5, head.keys, head.queries
    rows = slice(first, first + keys.width)
    scores = torch.tensor(head.scores, dtype=torch.float64)
    attention.query.weight[rows, queries.start : queries.start + queries.width] = scale * scores.T
    attention.key.weight[rows, keys.start : keys.start + keys.width] = torch.eye(keys.width, dtype=torch.float64)
    attention.query.bias[rows.stop] = scale / 2
    attention.key.weight[rows.stop, 0] = 1
    for read in head.reads:
        for channel, default in enumerate(read.default):
            if channel < read.values.width:  # a default that is no value has a channel of its own, the last
                attention.value.weight[first, read.values.start + channel] = 1
            attention.value.weight[first, 0] = default
            attention.out.weight[read.target.start + channel, first] = 1
            first += 1


def _perceptron(lookups: Sequence[Lookup], width: int) -> list[Mlp]:
    """Return a perceptron that does all of these, or none where there are none."""
    if not lookups:
        return []
    stairs = [make_staircase(lookup, width) for lookup in lookups]
    perceptron = Mlp(width, sum(len(stair.bias) for stair in stairs)).double()
    with torch.no_grad():
        perceptron.up.weight.copy_(torch.cat([stair.up for stair in stairs]))
        perceptron.up.bias.copy_(torch.cat([stair.bias for stair in stairs]))
        perceptron.down.weight.copy_(torch.cat([stair.down for stair in stairs], dim=1))
        perceptron.down.bias.zero_()
    return [perceptron]
