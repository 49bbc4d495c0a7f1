"""What every op checks before it works: that tensors have the shapes its docstring names."""

from torch import Tensor

__all__ = ["ShapeError", "check_shape"]


class ShapeError(ValueError):
    """A tensor does not have the shape that an op's docstring names."""


def check_shape(name: str, tensor: Tensor | None, *allowed: tuple[int, ...]) -> None:
    """Refuse a tensor whose shape is none of `allowed`; None always passes."""
    # Shapes are compared with == because `in` goes wrong under torch.compile with dynamic shapes.
    if tensor is not None and not any(tensor.shape == shape for shape in allowed):
        expected = " or ".join(str(shape) for shape in allowed)
        raise ShapeError(f"expected {name} of shape {expected}; got {tuple(tensor.shape)}")
