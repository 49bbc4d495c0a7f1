"""Choosing one of several: for certain, or softly at a temperature so that a gradient passes.

Shapes: `*` any leading axes, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Choose", "Relaxed", "hardest"]

Choose = Callable[[Tensor], Tensor]
"""Turns scores (*, C) into shares (*, C) that are positive and sum to one over the candidates."""


def hardest(scores: Tensor) -> Tensor:
    """Give the whole share to the largest score, to the first of equals: (*, C), zeros and ones."""
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


@dataclass(frozen=True, slots=True)
class Relaxed:
    r"""Share by a softmax at a temperature, over noisy scores where there is a generator.

    .. math::
        p_c \propto \exp\big((s_c + g_c) / \tau\big), \qquad g_c \sim \mathrm{Gumbel}(0, 1)

    As :math:`\tau \to 0` a share is whole: without noise that of `hardest`, with noise that of c drawn with probability
    :math:`\operatorname{softmax}(s)_c`.

    Attributes:
        temperature: :math:`\tau`.
        generator: draws g; `None` for g = 0.

    Source: Jang et al., arXiv 1611.01144, as used by Friedman et al., arXiv 2306.01128
    """

    temperature: float
    generator: torch.Generator | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        if self.generator is not None:
            # kept off zero, whose logarithm no softmax survives
            drawn = torch.empty_like(scores).exponential_(generator=self.generator).clamp(min=1e-20)
            scores = scores - drawn.log()
        return (scores / self.temperature).softmax(-1)
