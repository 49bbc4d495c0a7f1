"""The public face of the gate: checks, dtypes, and which form runs."""

from math import prod

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose, form_module
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.swiglu import cpu, native, reference

__all__ = ["swiglu"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def swiglu(gate: Tensor, up: Tensor, *, backend: Backend = "auto") -> Tensor:
    r"""Gate channels by the swish of others.

    .. math::
        y = \operatorname{silu}(g) \odot u, \qquad \operatorname{silu}(g) = \frac{g}{1 + e^{-g}}

    The backward pass keeps g and u alone.

    Args:
        gate: g, (..., C); a half of a wider tensor is taken as it lies, without a copy.
        up: u, of the same shape.
        backend: "cpu" is plain torch on any device; "native" and "triton" do each direction in one pass.

    Returns:
        y, (..., C), of the inputs' common dtype; computed in float32 at least.

    Raises:
        ShapeError: the shapes differ.
        ValueError: the backend does not exist, or cannot run here.

    Source: Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202.
    """
    if gate.ndim == 0:
        raise ShapeError("expected gate of shape (..., C); got a single number")
    check_shape("up", up, tuple(gate.shape))
    dtype = torch.promote_types(gate.dtype, up.dtype)
    form = choose(backend, gate.device, dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    if form in ("native", "triton"):
        rows = (_rows(tensor.to(dtype)) for tensor in (gate, up))
        return _forward(*rows, form).view(gate.shape)
    work = torch.promote_types(dtype, torch.float32)
    plain = reference.gate if form == "reference" else cpu.gate
    return plain(gate.to(work), up.to(work)).to(dtype)


def _rows(x: Tensor) -> Tensor:
    """View (..., C) as rows (N, C) with adjacent channels; copy only what cannot be viewed so."""
    x = x.reshape(prod(x.shape[:-1]), x.shape[-1])
    return x if x.stride(1) == 1 else x.contiguous()


@torch.library.custom_op("omniform::swiglu", mutates_args=())
def _forward(gate: Tensor, up: Tensor, form: str) -> Tensor:
    return form_module(__name__, form).forward(gate, up)


@_forward.register_fake
def _(gate, up, form):
    return gate.new_empty(gate.shape)


@torch.library.custom_op("omniform::swiglu_backward", mutates_args=())
def _backward(dout: Tensor, gate: Tensor, up: Tensor, form: str) -> tuple[Tensor, Tensor]:
    return form_module(__name__, form).backward(dout, gate, up)


@_backward.register_fake
def _(dout, gate, up, form):
    return torch.empty_like(dout), torch.empty_like(dout)


def _keep(ctx, inputs, output):
    gate, up, ctx.form = inputs
    ctx.save_for_backward(gate, up)


def _differentiate(ctx, dout):
    if torch.is_grad_enabled():  # a graph of the gradients is wanted
        return *cpu.gradients(dout, *ctx.saved_tensors), None
    return *_backward(dout.contiguous(), *ctx.saved_tensors, ctx.form), None


_forward.register_autograd(_differentiate, setup_context=_keep)
