"""What every op checks before it works: shapes as its docstring names them, packed sequences that fill the tokens."""

import torch
from torch import Tensor

__all__ = ["ShapeError", "check_shape", "sequence_offsets"]


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


def sequence_offsets(cu_seqlens: Tensor, tokens: int, batch: int = 1) -> Tensor:
    """Return where packed sequences start and the last one stops, (S + 1,) int64, if they fill the tokens in order.

    Values are looked at on a CPU alone: elsewhere that would wait for the device, and it would break a graph that is
    being captured.

    Raises:
        ShapeError: these are no offsets, or there is more than one row of tokens.
        ValueError: they do not rise from 0 to the number of tokens.
    """
    if batch != 1 or cu_seqlens.ndim != 1 or cu_seqlens.shape[0] == 0 or cu_seqlens.is_floating_point():
        found = f"{tuple(cu_seqlens.shape)} {cu_seqlens.dtype} and a batch of {batch}"
        raise ShapeError(f"expected cu_seqlens of S + 1 integers and a batch of 1; got {found}")
    offsets = cu_seqlens.to(torch.int64).contiguous()
    if torch.compiler.is_compiling() or not offsets.is_cpu:
        return offsets
    if offsets[0] != 0 or offsets[-1] != tokens or (offsets.diff() < 0).any():
        raise ValueError(f"expected cu_seqlens to rise from 0 to the {tokens} tokens; got {offsets.tolist()}")
    return offsets
