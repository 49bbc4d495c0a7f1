"""What every op checks before it works: that tensors have the shapes its docstring names."""

import torch
from torch import Tensor

__all__ = ["ShapeError", "check_sequences", "check_shape"]


class ShapeError(ValueError):
    """A tensor does not have the shape that an op's docstring names."""


def check_shape(name: str, tensor: Tensor | None, *allowed: tuple[int, ...]) -> None:
    """Refuse a tensor whose shape is none of `allowed`; None always passes."""
    if tensor is None:
        return
    for shape in allowed:
        if tensor.shape == shape:  # not `in`, which goes wrong under torch.compile with dynamic shapes
            return
    raise ShapeError(f"expected {name} of shape {' or '.join(map(str, allowed))}; got {tuple(tensor.shape)}")


def check_sequences(name: str, offsets: Tensor, length: int) -> None:
    """Refuse offsets (S + 1,) of packed sequences that do not rise from 0 to `length`.

    Their values are looked at on a CPU alone: elsewhere that would wait for the device, and it would break a graph that
    is being captured.
    """
    if offsets.ndim != 1 or offsets.shape[0] == 0 or offsets.dtype != torch.int64:
        raise ShapeError(f"expected {name} of shape (S + 1,) and int64; got {tuple(offsets.shape)} {offsets.dtype}")
    if torch.compiler.is_compiling() or not offsets.is_cpu:
        return
    if offsets[0] != 0 or offsets[-1] != length or (offsets.diff() < 0).any():
        raise ValueError(f"expected {name} to rise from 0 to the {length} tokens; got {offsets.tolist()}")
