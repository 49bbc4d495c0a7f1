"""The public face of decoding: checks, dtypes, and which form runs."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.decode_attention import cpu, reference
from omniform_kernels.decode_attention.partial import added_scores

__all__ = ["decode_attention"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def decode_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    splits: int | None = None,
    scale: float | None = None,
    slopes: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Attend from one token of each sequence to its cache.

    .. math::
        o = \sum_j \operatorname{softmax}_j\left(s\, q \cdot k_j - m_h (n - 1 - j)\right) v_j

    over the n places of the cache that are filled. A token that sees no key gets zero. Rotary embeddings are the
    caller's: q and k come rotated.

    Args:
        q: queries, (B, H, D).
        k, v: the caches, (B, S, K, D), each of the K heads serving H / K heads of q. With heads outside, a cache comes
            as `cache.transpose(1, 2)`, which is not copied.
        lengths: n, (B,) integers from 0 to S; S if None. What lies behind is not looked at.
        mask: true where a place may be seen, (B, S); None for all. What may not be seen must be finite.
        splits: into how many parts the work is cut, whose results are merged. Parts of the cache in plain torch, runs
            of equal work over the whole batch on a GPU. If None, one in plain torch, two a multiprocessor on a GPU.
        scale: s; D ** -0.5 if None.
        slopes: m, (H,), penalties on distance (ALiBi). None for none.
        backend: "cpu" is plain torch on any device; "triton" has no gradients, "auto" leaves it where they are wanted.

    Returns:
        (B, H, D) in the dtype of q. Scores and softmax are computed in float32 at least.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the backend does not exist, or cannot run here; splits < 1.

    Source: Sanovar et al., Lean Attention, arXiv 2405.10480.
    """
    _check(q, k, v, lengths, mask, slopes, splits)
    dtype = torch.promote_types(q.dtype, torch.promote_types(k.dtype, v.dtype))
    wants_grad = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    if wants_grad and backend == "triton":
        raise ValueError('backend "triton" decodes without gradients; choose "auto" or "cpu", or torch.no_grad()')
    form = choose(backend, q.device, dtype, triton=() if wants_grad else _TRITON_DTYPES)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    with _at_full_precision(q.device.type):
        if form == "triton":
            # Outside a compiled graph a custom op would only cost time, as there are no gradients.
            decode = _decode if torch.compiler.is_compiling() else _launch
            out = decode(q.to(dtype), k.to(dtype), v.to(dtype), lengths, mask, slopes, factor, splits)
        elif form == "cpu" and splits is None and (lengths is None or not torch.compiler.is_compiling()):
            if slopes is not None:  # torch's attention takes biases in the dtype of q
                dtype = torch.promote_types(dtype, torch.float32)
            out = cpu.attend(q.to(dtype), k.to(dtype), v.to(dtype), lengths, mask, slopes, factor)
        else:
            dtype = torch.promote_types(dtype, torch.float32)
            inputs = (q.to(dtype), k.to(dtype), v.to(dtype), added_scores(q, k, lengths, mask, slopes), factor)
            out = reference.attend(*inputs) if form == "reference" else cpu.attend_in_parts(*inputs, splits or 1)
    return out.to(q.dtype)


def _at_full_precision(device: str) -> AbstractContextManager:
    """Switch autocast off; where it is off, entering it would cost a step on a CPU a tenth of its time."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None,
    slopes: Tensor | None,
    splits: int | None,
) -> None:
    if q.ndim != 3 or k.ndim != 4 or q.shape[2] == 0 or k.shape[2] == 0 or q.shape[1] % k.shape[2]:
        shapes = f"{tuple(q.shape)} and {tuple(k.shape)}"
        raise ShapeError(f"expected q of shape (B, H, D) and k of shape (B, S, K, D), K dividing H; got {shapes}")
    B, H, D = q.shape
    if k.shape[0] != B or k.shape[3] != D:
        raise ShapeError(f"expected k of shape ({B}, S, K, {D}); got {tuple(k.shape)}")
    check_shape("v", v, tuple(k.shape))
    check_shape("lengths", lengths, (B,))
    check_shape("mask", mask, (B, k.shape[1]))
    check_shape("slopes", slopes, (H,))
    if splits is not None and splits < 1:
        raise ValueError(f"expected splits >= 1; got {splits}")


def _launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None,
    slopes: Tensor | None,
    scale: float,
    splits: int | None,
) -> Tensor:
    from omniform_kernels.decode_attention import triton

    return triton.forward(q, k, v, lengths, mask, slopes, scale, splits)


_decode = torch.library.custom_op("omniform::decode_attention", _launch, mutates_args=())


@_decode.register_fake
def _(q, k, v, lengths, mask, slopes, scale, splits):
    return q.new_empty(q.shape)
