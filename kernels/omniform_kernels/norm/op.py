"""The public face of the norms: checks, dtypes, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, cast, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.norm import cpu, reference

__all__ = ["layer_norm", "rms_norm"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def rms_norm(
    x: Tensor,
    weight: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Divide each token by its root mean square, after adding a residual.

    .. math::
        z = x + r, \qquad y = \frac{z}{\sqrt{\tfrac{1}{D} \sum_d z_d^2 + \epsilon}} \odot w

    Args:
        x: tokens, (..., D).
        weight: w, (D,); ones if None.
        residual: r, of the shape and dtype of x; zeros if None.
        eps: epsilon, added to the mean square.
        backend: "cpu" is torch's own norm and runs on any device; "triton" fuses the sum with the norm.

    Returns:
        y, and z for the next residual, both of the shape and dtype of x; sums are formed in float32 at least.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the backend does not exist, or cannot run here.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, arXiv 1910.07467.
    """
    return _norm(x, weight, None, residual, eps, False, backend)


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Bring each token to mean 0 and variance 1, after adding a residual.

    .. math::
        z = x + r, \qquad y = \frac{z - \bar z}{\sqrt{\operatorname{var}(z) + \epsilon}} \odot w + b

    Args:
        x: tokens, (..., D).
        weight: w, (D,); ones if None.
        bias: b, (D,); zeros if None.
        residual: r, of the shape and dtype of x; zeros if None.
        eps: epsilon, added to the variance (that over D, not D - 1).
        backend: "cpu" is torch's own norm and runs on any device; "triton" fuses the sum with the norm.

    Returns:
        y, and z for the next residual, both of the shape and dtype of x; sums are formed in float32 at least.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the backend does not exist, or cannot run here.

    Source: Ba et al., Layer Normalization, arXiv 1607.06450.
    """
    return _norm(x, weight, bias, residual, eps, True, backend)


def _norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    eps: float,
    centred: bool,
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ShapeError(f"expected x of shape (..., D) with D >= 1; got {tuple(x.shape)}")
    D = x.shape[-1]
    check_shape("weight", weight, (D,))
    check_shape("bias", bias, (D,))
    check_shape("residual", residual, tuple(x.shape))
    form = choose(backend, x.device, x.dtype, triton=_TRITON_DTYPES)
    if form == "triton":
        rows = x.reshape(-1, D).contiguous()
        other = None if residual is None else residual.reshape(-1, D).contiguous()
        y, total, _, _ = _forward(rows, other, weight, bias, eps, centred)
        return y.view(x.shape), x if residual is None else total.view(x.shape)
    total = x if residual is None else x + residual
    dtype = torch.promote_types(x.dtype, torch.float32)
    weight, bias = (None if vector is None else cast(vector, dtype) for vector in (weight, bias))
    normalise = reference.normalise if form == "reference" else cpu.normalise
    with torch.autocast(x.device.type, enabled=False):
        y = normalise(cast(total, dtype), weight, bias, eps, centred)
    return cast(y, x.dtype), total


@torch.library.custom_op("omniform::norm", mutates_args=())
def _forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from omniform_kernels.norm import triton

    return triton.forward(x, residual, weight, bias, eps, centred)


@_forward.register_fake
def _(x, residual, weight, bias, eps, centred):
    N = x.shape[0]
    total = x.new_empty(0) if residual is None else torch.empty_like(x)
    stats = (x.new_empty(N if centred else 0, dtype=torch.float32), x.new_empty(N, dtype=torch.float32))
    return torch.empty_like(x), total, *stats


@torch.library.custom_op("omniform::norm_backward", mutates_args=())
def _backward(
    dy: Tensor,
    dtotal: Tensor | None,
    total: Tensor,
    weight: Tensor | None,
    has_bias: bool,
    mean: Tensor,
    rstd: Tensor,
    centred: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    from omniform_kernels.norm import triton

    return triton.backward(dy, dtotal, total, weight, has_bias, mean, rstd, centred)


@_backward.register_fake
def _(dy, dtotal, total, weight, has_bias, mean, rstd, centred):
    D = total.shape[1]
    grads = (total.new_empty(D, dtype=torch.float32) for _ in range(2))
    return torch.empty_like(total), *grads


def _keep(ctx, inputs, output):
    x, residual, weight, bias, _, ctx.centred = inputs
    _, total, mean, rstd = output
    ctx.has_residual, ctx.bias = residual is not None, bias
    ctx.save_for_backward(total if ctx.has_residual else x, weight, mean, rstd)
    ctx.mark_non_differentiable(mean, rstd)


def _differentiate(ctx, dy, dtotal, *_):
    total, weight, mean, rstd = ctx.saved_tensors
    dtotal = dtotal.contiguous() if ctx.has_residual else None
    dx, dweight, dbias = _backward(
        dy.contiguous(), dtotal, total, weight, ctx.bias is not None, mean, rstd, ctx.centred
    )
    return (
        dx,
        dx if ctx.has_residual else None,
        None if weight is None else dweight.to(weight.dtype),
        None if ctx.bias is None else dbias.to(ctx.bias.dtype),
        None,
        None,
    )


_forward.register_autograd(_differentiate, setup_context=_keep)
