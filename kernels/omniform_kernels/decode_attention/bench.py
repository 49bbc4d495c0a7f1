"""One step of decoding beside torch's attention, with full and with ragged caches."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.bench.case import Case, Run, Target, relative_error
from omniform_kernels.decode_attention import decode_attention

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield steps of 32 heads on 8, D 128: up to 8 caches of 2,048 on a CPU, of 8k to 128k in bf16 on a GPU."""
    shapes = ((1, 131072), (8, 8192), (64, 8192)) if device.type == "cuda" else ((1, 2048), (8, 2048))
    for B, S in shapes:
        yield _case(B, S, None, device)
    B, S = shapes[-1]
    yield _case(B, S, torch.linspace(0.2 * S, S, B, device=device).long(), device)


def _case(B: int, S: int, lengths: Tensor | None, device: torch.device, H: int = 32, K: int = 8, D: int = 128) -> Case:
    on_gpu = device.type == "cuda"
    dtype, form = (torch.bfloat16, "triton") if on_gpu else (torch.float32, "cpu")
    q = torch.randn(B, H, D, dtype=dtype, device=device)
    k, v = torch.randn(2, B, K, S, D, dtype=dtype, device=device).transpose(2, 3).unbind()  # as mixers keep them
    places = B * S if lengths is None else int(lengths.sum())
    step = partial(decode_attention, q, k, v, lengths)
    return Case(
        op="decode_attention",
        name=f"step, B{B} S{S}{'' if lengths is None else ' ragged, mean 0.6'} H{H} on {K} D{D}",
        forms={form: partial(step, backend=form)},
        peers={"SDPA": partial(_sdpa, q, k, v, lengths)},
        check=lambda: relative_error(step(backend=form)[:1], _exact(q, k, v, lengths)),
        bound=1e-2 if on_gpu else 1e-5,
        targets=(Target(form=form, peer="SDPA", ratio=1.0),),
        bytes=2.0 * places * K * D * q.element_size(),
        repeats=21,
    )


def _exact(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
    q, k, v = (tensor[:1].double() for tensor in (q, k, v))
    return decode_attention(q, k, v, None if lengths is None else lengths[:1], backend="reference")


def _sdpa(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Run:
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    mask = None if lengths is None else torch.arange(k.shape[2], device=k.device) < lengths[:, None, None, None]
    return partial(F.scaled_dot_product_attention, q[:, :, None], k, v, mask, enable_gqa=True)
