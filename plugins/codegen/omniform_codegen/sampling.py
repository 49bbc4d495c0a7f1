"""From logits to tokens.

Shapes: B sequences, N positions, V ids of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform_codegen.vocabulary import Tokenizer

if TYPE_CHECKING:
    from omniform_codegen.generation import Sampling

__all__ = ["Sampler", "distribution", "draw"]


def distribution(logits: Tensor, sampling: Sampling, seen: Tensor | None = None) -> Tensor:
    r"""Return the probabilities that the next token is drawn with.

    .. math::
        p_v \propto \exp(z_v / (T\, r_v)), \qquad r_v = r^{\operatorname{sign} z_v} \text{ if seen, else } 1

    over the `top_k` likeliest, and of these the fewest whose probabilities sum to `top_p`; ties at the border stay.

    Args:
        logits: z, `(N, V)`; -inf for what cannot be.
        seen: which tokens stand before, `(N, V)`.

    Returns:
        `(N, V)` float64.

    Source: top-p, arXiv 1904.09751; repetition, CTRL, arXiv 1909.05858.
    """
    logits = logits.double()
    if seen is not None and sampling.repetition != 1:
        weakened = torch.where(logits > 0, logits / sampling.repetition, logits * sampling.repetition)
        logits = torch.where(seen, weakened, logits)
    if sampling.temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p  # those before suffice
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), -torch.inf)
    return logits.softmax(-1)


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the distribution functions of `probabilities` (N, V) at numbers (N,) from [0, 1): tokens `(N,)`."""
    summed = probabilities.cumsum(-1)
    return torch.searchsorted(summed, uniforms.to(summed)[:, None] * summed[:, -1:], right=True)[:, 0]


class Sampler:
    """Draw the next tokens of sequences, each with a random stream of its own.

    Ids without bytes are never drawn, the end token excepted, nor are logits beyond the tokenizer's ids.

    Args:
        prompts: tokens before, of each sequence.
        rows: numbers of the sequences, which with the seed start their streams: neighbours do not matter.
        device: of the logits.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        device: torch.device,
    ) -> None:
        self.sampling = sampling
        self._streams = [np.random.default_rng((sampling.seed, row)) for row in rows]
        forbidden = torch.from_numpy(np.asarray(tokenizer.lengths()) == 0)
        forbidden[list(tokenizer.special.ends)] = False
        self._forbidden = forbidden.to(device)  # (V,)
        self._seen: Tensor | None = None
        if sampling.repetition != 1:
            self._seen = torch.zeros(len(prompts), len(forbidden), dtype=torch.bool, device=device)
            for seen, prompt in zip(self._seen, prompts, strict=True):
                seen[list(prompt)] = True

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Draw for every sequence from logits `(B, V or more)`.

        Returns:
            Tokens `(B,)`, and their probabilities `(B,)` under the logits as they are.
        """
        probabilities = distribution(self._allowed(logits), self.sampling, self._seen)
        if self.sampling.temperature == 0:
            tokens = probabilities.argmax(-1)
        else:
            tokens = draw(probabilities, _exact([stream.random() for stream in self._streams]))
        if self._seen is not None:
            self._seen.scatter_(1, tokens[:, None], True)
        return tokens, logits.float().softmax(-1).gather(1, tokens[:, None])[:, 0]

    def select(self, places: Sequence[int]) -> None:
        """Go on with the sequences at these places."""
        self._streams = [self._streams[place] for place in places]
        if self._seen is not None:
            self._seen = self._seen[list(places)]

    def distribution(self, logits: Tensor, ahead: Sequence[int]) -> Tensor:
        """Return the probabilities at N places of the one sequence, `(N, V)`, from logits `(N, V or more)`.

        Args:
            ahead: tokens that were proposed behind the sequence: the last place stands behind all of them, and each
                place before behind one fewer.
        """
        seen = self._seen
        if seen is not None:
            seen = seen.repeat(len(logits), 1)
            for place in range(len(logits)):
                seen[place, list(ahead[: len(ahead) + 1 - len(logits) + place])] = True
        return distribution(self._allowed(logits), self.sampling, seen)

    def pick(self, probabilities: Tensor) -> int:
        """Draw for the one sequence from probabilities `(V,)`."""
        return int(draw(probabilities[None], _exact([self.uniform()]))[0])

    def uniform(self) -> float:
        """Return the next number from [0, 1) of the one sequence."""
        return self._streams[0].random()

    def see(self, token: int) -> None:
        """Let a token stand behind the one sequence."""
        if self._seen is not None:
            self._seen[0, token] = True

    def _allowed(self, logits: Tensor) -> Tensor:
        if logits.shape[1] < len(self._forbidden):
            raise ConfigError(
                f"expected logits of the tokenizer's {len(self._forbidden)} ids, got {logits.shape[1]}: model and "
                "tokenizer do not belong together"
            )
        return logits[:, : len(self._forbidden)].masked_fill(self._forbidden, -torch.inf)


def _exact(numbers: Sequence[float]) -> Tensor:
    """Return them in float64: in float32 the last ones below 1 would become 1."""
    return torch.tensor(numbers, dtype=torch.float64)
