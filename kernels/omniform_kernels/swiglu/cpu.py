"""The gate in plain torch, which keeps its two inputs and nothing else for the backward pass."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["gate", "gradients"]


def gate(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) up."""
    if torch.is_grad_enabled() and (gate.requires_grad or up.requires_grad):
        return _Gate.apply(gate, up)
    return F.silu(gate) * up


def gradients(dy: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate and up, to be differentiated once more.

    With s = sigmoid(g): dg = dy u s (1 + g (1 - s)), du = dy g s.
    """
    sigmoid = torch.sigmoid(gate)
    swish = gate * sigmoid
    return dy * up * (sigmoid + swish * (1 - sigmoid)), dy * swish


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (dy,) = grads
        gate, up = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradients is wanted
            return gradients(dy, gate, up)
        return torch.ops.aten.silu_backward(dy * up, gate), F.silu(gate).mul_(dy)
