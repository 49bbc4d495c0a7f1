"""Linear classifier and loss, chunk by chunk of tokens: logits exist for one chunk at a time.

    N tokens   n tokens of a chunk   V classes   D width

The gradient of the sum of losses with respect to a chunk's logits is known as soon as they are, so the gradients of
tokens and classes are summed up on the way, and nothing is computed twice.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Gradients", "total"]

Gradients = Callable[[Tensor, Tensor, int, bool], tuple[Tensor, Tensor]]
"""From logits (n, V), targets (n,), the index to ignore, and whether a gradient is wanted: losses and gradient."""


def total(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int,
    chunk: int,
    wanted: tuple[bool, bool, bool],
    differentiate: Gradients,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sum of losses, and its gradients by hidden, weight and bias; empty where they are not wanted.

    Loss and what is summed over chunks, the latter two gradients, are in float32 at least.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    loss = hidden.new_zeros((), dtype=dtype)
    dhidden = torch.empty_like(hidden) if wanted[0] else hidden.new_empty(0)
    dweight = torch.zeros_like(weight, dtype=dtype) if wanted[1] else hidden.new_empty(0)
    dbias = torch.zeros_like(weight[:, 0], dtype=dtype) if wanted[2] else hidden.new_empty(0)
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        tokens = hidden[rows]
        losses, gradient = differentiate(F.linear(tokens, weight, bias), targets[rows], ignore_index, any(wanted))
        loss += losses.sum()
        if wanted[0]:
            dhidden[rows] = gradient @ weight
        if wanted[1]:
            _accumulate(dweight, gradient, tokens)
        if wanted[2]:
            dbias += gradient.sum(0, dtype=dtype)
    return loss, dhidden, dweight, dbias


def _accumulate(dweight: Tensor, gradient: Tensor, tokens: Tensor) -> None:
    if dweight.dtype == tokens.dtype:
        dweight.addmm_(gradient.T, tokens)
    else:
        dweight += gradient.T @ tokens
