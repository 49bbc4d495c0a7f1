"""The public face of packed attention: checks, dtypes, and which form runs."""

from collections.abc import Callable

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape, sequence_offsets
from omniform_kernels.packed_attention import cpu, reference

__all__ = ["ScoreBias", "packed_attention"]

ScoreBias = Callable[[Tensor, Tensor], Tensor]
"""Given which query tokens (m,) and which key tokens (n,) of the packed ones, returns what is added to their scores,
(H or 1, m, n)."""

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    cu_seqlens_k: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    slopes: Tensor | None = None,
    bias: ScoreBias | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Attend within each of N sequences that lie one behind the other.

    .. math::
        o_i = \sum_j \operatorname{softmax}_j\left(s\, q_i \cdot k_j - m_h |p_i - j| + b_{ij}\right) v_j

    over the keys of the same sequence; those with j <= p_i only, if causal. The last query stands at the last key:
    p_i = i + n - m for m queries and n keys. A query that sees no key gets zero. Rotary embeddings are the caller's: q
    and k come rotated.

    Args:
        q: queries, (T, H, D).
        k, v: keys and values, (S, K, D), each of the K heads serving H / K heads of q.
        cu_seqlens: where sequences start, (N + 1,), rising from 0 to T; they may be empty.
        cu_seqlens_k: where their keys start, (N + 1,), rising from 0 to S; as `cu_seqlens` if None.
        causal: keep a query from seeing keys behind its place.
        scale: s; D ** -0.5 if None.
        slopes: m, (H,), penalties on distance (ALiBi); not differentiated. None for none.
        bias: b; differentiable. None for none.
        backend: "cpu" is plain torch on any device; "triton" has no `bias`.

    Returns:
        (T, H, D) in the dtype of q. Scores and softmax are computed in float32 at least; gradients of the "triton" form
        use no atomic additions, so that they are the same at every run.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the backend does not exist, or cannot run here; or the plain forms find sequences that do not cover
            the tokens (Triton's does not look, which would make the GPU wait).

    Source: Zhai et al., ByteTransformer, arXiv 2210.03052; Dao, FlashAttention-2, arXiv 2307.08691; slopes, Press et
    al., arXiv 2108.12409.
    """
    _check_shapes(q, k, v, cu_seqlens, cu_seqlens_k, slopes)
    dtype = torch.promote_types(q.dtype, torch.promote_types(k.dtype, v.dtype))
    form = choose(backend, q.device, dtype, triton=_TRITON_DTYPES if bias is None else ())
    starts = cu_seqlens if cu_seqlens_k is None else cu_seqlens_k
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    if form == "reference" or (form == "cpu" and (slopes is not None or bias is not None)):
        dtype = torch.promote_types(dtype, torch.float32)  # torch's attention takes biases in the dtype of q
    with torch.autocast(q.device.type, enabled=False):
        inputs = (q.to(dtype), k.to(dtype), v.to(dtype), cu_seqlens, starts, slopes)
        if form == "reference":
            out = reference.attend(*inputs, bias, causal, factor)
        elif bias is not None:
            out = cpu.forward(*inputs, causal, factor, bias)
        else:
            out, _ = _forward(*inputs, causal, factor, form)
    return out.to(q.dtype)


def _check_shapes(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, cu_seqlens_k: Tensor | None, slopes: Tensor | None
) -> None:
    if q.ndim != 3 or k.ndim != 3 or q.shape[2] == 0 or k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        shapes = f"{tuple(q.shape)} and {tuple(k.shape)}"
        raise ShapeError(f"expected q of shape (T, H, D) and k of shape (S, K, D), K dividing H; got {shapes}")
    check_shape("k", k, (k.shape[0], k.shape[1], q.shape[2]))
    check_shape("v", v, tuple(k.shape))
    sequence_offsets(cu_seqlens, q.shape[0])
    check_shape("cu_seqlens_k", cu_seqlens_k, tuple(cu_seqlens.shape))
    check_shape("slopes", slopes, (q.shape[1],))
    if cu_seqlens_k is None and q.shape[0] != k.shape[0]:
        raise ShapeError(f"expected as many keys as queries without cu_seqlens_k; got {k.shape[0]} and {q.shape[0]}")


@torch.library.custom_op("omniform::packed_attention", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    key_offsets: Tensor,
    slopes: Tensor | None,
    causal: bool,
    scale: float,
    form: str,
) -> tuple[Tensor, Tensor]:
    """Return the outputs and, of the Triton form, the base-2 logarithm of each softmax's denominator (H, T)."""
    if form == "triton":
        from omniform_kernels.packed_attention import triton

        return triton.forward(q, k, v, offsets, key_offsets, slopes, causal, scale)
    return cpu.forward(q, k, v, offsets, key_offsets, slopes, causal, scale), q.new_empty(0, dtype=torch.float32)


@_forward.register_fake
def _(q, k, v, offsets, key_offsets, slopes, causal, scale, form):
    size = (q.shape[1], q.shape[0]) if form == "triton" else (0,)
    return q.new_empty(q.shape), q.new_empty(size, dtype=torch.float32)


@torch.library.custom_op("omniform::packed_attention_backward", mutates_args=())
def _backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    denominators: Tensor,
    offsets: Tensor,
    key_offsets: Tensor,
    slopes: Tensor | None,
    causal: bool,
    scale: float,
    form: str,
) -> tuple[Tensor, Tensor, Tensor]:
    if form == "triton":
        from omniform_kernels.packed_attention import triton

        return triton.backward(dout, q, k, v, out, denominators, offsets, key_offsets, slopes, causal, scale)
    return cpu.backward(dout, q, k, v, out, offsets, key_offsets, slopes, causal, scale)


@_backward.register_fake
def _(dout, q, k, v, out, denominators, offsets, key_offsets, slopes, causal, scale, form):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx, inputs, output):
    *tensors, ctx.causal, ctx.scale, ctx.form = inputs
    out, denominators = output
    ctx.save_for_backward(*tensors, out, denominators)
    ctx.mark_non_differentiable(denominators)


def _differentiate(ctx, dout, _):
    q, k, v, offsets, key_offsets, slopes, out, denominators = ctx.saved_tensors
    grads = _backward(
        *(dout.contiguous(), q, k, v, out, denominators, offsets, key_offsets, slopes),
        *(ctx.causal, ctx.scale, ctx.form),
    )
    return *grads, None, None, None, None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)
