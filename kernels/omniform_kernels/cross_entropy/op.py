"""The public face of the loss: checks, dtypes, and which form runs."""

from typing import Literal

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.cross_entropy import chunks, cpu, reference

__all__ = ["cross_entropy"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_FEWEST = 256  # tokens of a chunk by default, so that products stay efficient


def cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum"] = "mean",
    chunk: int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Classify tokens linearly and return their cross-entropy, without ever holding all logits.

    .. math::
        \ell = \frac{1}{M} \sum_{i:\, t_i \ne \text{ignored}} \Big(\log \sum_c e^{z_{ic}} - z_{i t_i}\Big), \qquad
        z = h W^\top + b

    with M the number of tokens that count. Logits exist for a chunk of tokens at a time; gradients are computed with
    them, in the forward pass, so that the backward pass only scales them (it cannot be differentiated once more).

    Args:
        hidden: h, (N, D).
        weight: W, (V, D).
        targets: t, (N,) int64, each in 0..V-1 or `ignore_index`.
        bias: b, (V,); zeros if None.
        ignore_index: the target of tokens that do not count.
        reduction: "sum" leaves out 1/M.
        chunk: how many tokens have logits at a time; if None so many that these take as much memory as `hidden`, but at
            least 256.
        backend: "reference" holds all logits; "triton" takes the softmax in place.

    Returns:
        The loss, a single number in float32, or float64 if an input is; NaN, as torch's, for the mean of no tokens.
        Products are taken in the inputs' common dtype or, under autocast, in that of a linear layer; the softmax, and
        sums over chunks, in float32 at least.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the backend does not exist, or cannot run here; chunk < 1; an unknown reduction.
    """
    _check(hidden, weight, targets, bias, reduction, chunk)
    dtype = _product_dtype(hidden, weight)
    form = choose(backend, hidden.device, dtype, triton=_TRITON_DTYPES)
    with torch.autocast(hidden.device.type, enabled=False):
        if form == "reference":
            dtype = torch.promote_types(dtype, torch.float32)
        inputs = (hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), targets, ignore_index)
        if form == "reference":
            loss = reference.total(*inputs)
        else:
            size = chunk or max(_FEWEST, hidden.numel() // weight.shape[0])
            wants = [torch.is_grad_enabled() and x is not None and x.requires_grad for x in (hidden, weight, bias)]
            loss, *_ = _total(*inputs, size, *wants, form)
    return loss if reduction == "sum" else loss / (targets != ignore_index).sum()


def _product_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and torch.float64 not in (hidden.dtype, weight.dtype):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(hidden.dtype, weight.dtype)


def _check(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, reduction: str, chunk: int | None
) -> None:
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1] or 0 in weight.shape:
        shapes = f"{tuple(hidden.shape)} and {tuple(weight.shape)}"
        raise ShapeError(f"expected hidden of shape (N, D) and weight of shape (V, D) with V, D >= 1; got {shapes}")
    check_shape("targets", targets, (hidden.shape[0],))
    check_shape("bias", bias, (weight.shape[0],))
    if chunk is not None and chunk < 1:
        raise ValueError(f"expected chunk >= 1; got {chunk}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f'expected reduction to be "mean" or "sum"; got {reduction!r}')


@torch.library.custom_op("omniform::cross_entropy", mutates_args=())
def _total(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int,
    chunk: int,
    wants_hidden: bool,
    wants_weight: bool,
    wants_bias: bool,
    form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sum of the losses, and its gradients by hidden, weight and bias; empty where they are not wanted."""
    if form == "triton":
        from omniform_kernels.cross_entropy.triton import differentiate
    else:
        differentiate = cpu.differentiate
    wanted = (wants_hidden, wants_weight, wants_bias)
    return chunks.total(hidden, weight, bias, targets, ignore_index, chunk, wanted, differentiate)


@_total.register_fake
def _(hidden, weight, bias, targets, ignore_index, chunk, wants_hidden, wants_weight, wants_bias, form):
    total = hidden.new_empty((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    dhidden = hidden.new_empty(hidden.shape if wants_hidden else (0,))
    dweight = total.new_empty(weight.shape if wants_weight else (0,))
    return total, dhidden, dweight, total.new_empty(weight.shape[:1] if wants_bias else (0,))


def _keep(ctx, inputs, output):
    ctx.dtype, ctx.wanted = inputs[0].dtype, inputs[6:9]
    ctx.save_for_backward(*output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _differentiate(ctx, dloss, *_):
    grads = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    return *((dloss * grad).to(ctx.dtype) if wanted else None for grad, wanted in grads), *(None,) * 7


_total.register_autograd(_differentiate, setup_context=_keep)
