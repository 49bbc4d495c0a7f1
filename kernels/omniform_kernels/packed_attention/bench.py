"""An encoder on packed tokens beside the same on padded ones; on a GPU the op beside torch's flash attention too."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform_kernels.bench.case import Case, Run, Target, relative_error
from omniform_kernels.packed_attention import packed_attention

__all__ = ["cases"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield encoders at mean length 0.6 of the longest; on a GPU also equal sequences of 2k to 16k tokens."""
    on_gpu = device.type == "cuda"
    B, D, H = (32, 1024, 16) if on_gpu else (16, 512, 8)
    for L in (512, 2048) if on_gpu else (256, 512):
        for backward in (False, True):
            yield _encoder_case(B, L, D, H, backward, device)
    if on_gpu:
        for T in (2048, 4096, 8192, 16384):
            for head_dim in (64, 128):
                yield _attention_case(max(16384 // T, 1), T, 2048 // head_dim, head_dim, device)


class _Layer(nn.Module):
    """A pre-norm encoder layer, for tokens with or without padding: `attend` knows how they lie."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(2))
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.H = H

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.H, -1)).unbind(-3)  # (..., H, d)
        x = x + self.out(attend(q, k, v).flatten(-2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


def _encoder_case(B: int, L: int, D: int, H: int, backward: bool, device: torch.device) -> Case:
    on_gpu = device.type == "cuda"
    dtype, form = (torch.bfloat16, "triton") if on_gpu else (torch.float32, "cpu")
    lengths = torch.linspace(0.2 * L, L, B, device=device).long()
    mask = torch.arange(L, device=device) < lengths[:, None]  # (B, L)
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    layer = _Layer(D, H).to(device, dtype)
    x = torch.randn(B, L, D, dtype=dtype, device=device)
    packed = partial(packed_attention, cu_seqlens=offsets, backend=form)
    whole = partial(_run, layer, backward=backward)
    return Case(
        op="packed_attention",
        name=f"encoder layer, {'forward+backward' if backward else 'forward'}, B{B} up to {L}, mean 0.6, D{D} H{H}",
        forms={form: partial(whole, x[mask], packed)},
        peers={"padded": lambda: partial(whole, x, partial(_padded, mask[:, None, None]))},
        check=partial(_check_encoder, layer, x, mask, packed),
        bound=2e-2 if on_gpu else 1e-4,
        targets=(Target(form=form, peer="padded", ratio=1.6),),
    )


def _run(layer: _Layer, x: Tensor, attend: Attend, *, backward: bool) -> object:
    with torch.set_grad_enabled(backward):
        y = layer(x.detach().requires_grad_(backward), attend)
        return torch.autograd.grad(y.sum(), list(layer.parameters())) if backward else y


def _padded(mask: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2)


def _check_encoder(layer: _Layer, x: Tensor, mask: Tensor, packed: Attend) -> float:
    with torch.no_grad():
        expected = layer(x, partial(_padded, mask[:, None, None]))[mask]
        return relative_error(layer(x[mask], packed), expected)


def _attention_case(B: int, T: int, H: int, D: int, device: torch.device) -> Case:
    q, k, v, dout = (torch.randn(B * T, H, D, dtype=torch.bfloat16, device=device) for _ in range(4))
    offsets = torch.arange(B + 1, device=device) * T
    attend = partial(packed_attention, cu_seqlens=offsets, causal=True, backend="triton")
    return Case(
        op="packed_attention",
        name=f"causal attention, forward+backward, B{B} T{T} H{H} D{D} bfloat16",
        forms={"triton": partial(_differentiate, attend, (q, k, v), dout)},
        peers={"SDPA": partial(_sdpa, B, (q, k, v), dout)},
        check=partial(_check_attention, H, D, device),
        bound=2e-2,
        targets=(Target(form="triton", peer="SDPA", ratio=1.0),),
        flops=3.5 * 2 * B * H * T**2 * D,  # two products forward, five backward, half of each seen
    )


def _differentiate(attend: Attend, inputs: tuple[Tensor, ...], dout: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    out = attend(*leaves)
    return out, *torch.autograd.grad(out, leaves, dout)


def _sdpa(B: int, inputs: tuple[Tensor, ...], dout: Tensor) -> Run:
    q, k, v, d = (x.unflatten(0, (B, -1)).transpose(1, 2).contiguous() for x in (*inputs, dout))
    return partial(_differentiate, partial(F.scaled_dot_product_attention, is_causal=True), (q, k, v), d)


def _check_attention(H: int, D: int, device: torch.device) -> float:
    inputs = tuple(torch.randn(700, H, D, dtype=torch.bfloat16, device=device) for _ in range(3))
    dout = torch.randn_like(inputs[0])
    attend = partial(packed_attention, cu_seqlens=torch.tensor([0, 200, 700], device=device), causal=True)
    actual = _differentiate(partial(attend, backend="triton"), inputs, dout)
    exact = tuple(tensor.double() for tensor in inputs)
    expected = _differentiate(partial(attend, backend="reference"), exact, dout.double())
    return max(map(relative_error, actual, expected))
