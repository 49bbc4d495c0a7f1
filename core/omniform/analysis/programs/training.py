"""Training a transformer program while its choices harden.

Shapes: S sequences, L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform.analysis.programs.model import PADDING, TransformerProgram
from omniform.analysis.programs.relaxation import Relaxed
from omniform.errors import ConfigError

__all__ = ["accuracy", "fit"]


def fit(
    model: TransformerProgram,
    inputs: Tensor,
    targets: Tensor,
    *,
    steps: int,
    batch: int = 256,
    rate: float = 5e-2,
    hottest: float = 3.0,
    coldest: float = 0.01,
    seed: int = 0,
) -> list[float]:
    r"""Train in place by cross-entropy over Gumbel-softmax choices and return each step's loss.

    The temperature falls geometrically, :math:`\tau_s = \tau_0 (\tau_1 / \tau_0)^{s / (S - 1)}`.

    Args:
        inputs: ids (S, L), padded on the right with `PADDING`.
        targets: labels (S, L); `PADDING` where none is asked for.
        batch: sequences a step, drawn with replacement.
        hottest, coldest: temperatures of the first and the last step.

    Raises:
        ConfigError: when shapes differ, there is nothing to train on, or temperatures are not positive.

    Source: Friedman et al., arXiv 2306.01128 (Adam, rates 0.05, temperatures 3 to 0.01).
    """
    if inputs.shape != targets.shape or not len(inputs):
        raise ConfigError(f"expected targets for each input, got {tuple(inputs.shape)} and {tuple(targets.shape)}")
    if not 0 < coldest <= hottest:
        raise ConfigError(f"expected 0 < coldest <= hottest, got {coldest} and {hottest}")
    generator = torch.Generator(inputs.device).manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    losses = []
    for step in range(steps):
        temperature = hottest * (coldest / hottest) ** (step / max(1, steps - 1))
        rows = torch.randint(len(inputs), (batch,), generator=generator, device=inputs.device)
        scores = model(inputs[rows], Relaxed(temperature, generator))
        loss = F.cross_entropy(scores.flatten(0, 1), targets[rows].flatten(), ignore_index=PADDING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist() if losses else []


def accuracy(model: TransformerProgram, inputs: Tensor, targets: Tensor) -> float:
    """Return the share of asked labels that the discretised network gets right."""
    asked = targets != PADDING
    return (model.predict(inputs) == targets)[asked].double().mean().item()
