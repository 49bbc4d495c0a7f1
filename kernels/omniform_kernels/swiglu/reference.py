"""The definition."""

import torch
from torch import Tensor

__all__ = ["gate"]


def gate(gate: Tensor, up: Tensor) -> Tensor:
    """Return gate sigmoid(gate) up."""
    return gate * torch.sigmoid(gate) * up
