"""What every op checks before it works: its backend, and that tensors have the shapes its docstring names."""

from typing import Literal, get_args

from torch import Tensor

__all__ = ["Backend", "ShapeError", "check_backend", "check_shape"]

Backend = Literal["auto", "reference", "cpu"]


class ShapeError(ValueError):
    """A tensor does not have the shape that an op's docstring names."""


def check_backend(backend: str) -> None:
    """Refuse a backend that does not exist."""
    if backend not in get_args(Backend):
        raise ValueError(f"expected backend to be one of {', '.join(get_args(Backend))}; got {backend!r}")


def check_shape(name: str, tensor: Tensor | None, *allowed: tuple[int, ...]) -> None:
    """Refuse a tensor whose shape is none of `allowed`; None always passes."""
    # Shapes are compared with == because `in` goes wrong under torch.compile with dynamic shapes.
    if tensor is not None and not any(tensor.shape == shape for shape in allowed):
        expected = " or ".join(str(shape) for shape in allowed)
        raise ShapeError(f"expected {name} of shape {expected}; got {tuple(tensor.shape)}")
