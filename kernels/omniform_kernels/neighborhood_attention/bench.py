"""Neighborhood attention beside NATTEN, compiled FlexAttention and dense attention under a mask."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.neighborhood_attention import native, neighborhood_attention

__all__ = ["cases"]

_SIDE, _HEADS, _SIZE, _KERNEL = 56, 4, 32, 7
_Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield 56 x 56 tokens, 4 heads of 32, 7 x 7 neighbours; one sample on a CPU, 64 in bf16 on a GPU."""
    gpu = device.type == "cuda"
    B, dtype = (64, torch.bfloat16) if gpu else (1, torch.float32)
    names = ("triton",) if gpu else cpu_forms(native.LIBRARY)
    shape = (B, _SIDE, _SIDE, _HEADS, _SIZE)
    inputs = [torch.randn(shape, dtype=dtype, device=device).requires_grad_() for _ in range(3)]
    ours = {name: partial(_ours, name) for name in names}
    work = 4.0 * B * _SIDE**2 * _HEADS * _KERNEL**2 * _SIZE
    for name, run, share in (("forward", _forward, 1.0), ("forward+backward", _backward, 3.5)):
        peers = {"natten": partial(_natten, run, inputs)}
        if gpu or run is _forward:  # FlexAttention has no backward pass on a CPU
            peers["flex_attention, compiled"] = partial(_flex, run, inputs)
        if not gpu:  # a mask of all pairs takes a GPU's memory too, and tells nothing there
            peers["SDPA under a mask"] = partial(_masked, run, inputs)
        yield Case(
            op="neighborhood_attention",
            name=f"{name}, B{B} {_SIDE}x{_SIDE} H{_HEADS} D{_SIZE} kernel {_KERNEL}x{_KERNEL} {str(dtype)[6:]}",
            forms={name: partial(run, form, inputs) for name, form in ours.items()},
            peers=peers,
            check=partial(_check, run, list(ours.values()), inputs),
            bound=2e-2 if gpu else 1e-5,
            targets=tuple(Target(form=name, peer="natten", ratio=1.0 if gpu else 30.0) for name in names),
            flops=work * share,
            repeats=5,
        )


def _ours(form: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    size = (_KERNEL, _KERNEL)
    return neighborhood_attention(q, k, v, kernel_size=size, backend=form)  # pyright: ignore[reportArgumentType]


def _forward(attend: _Attend, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    q, k, v = (x.detach() for x in inputs)
    return (attend(q, k, v),)


def _backward(attend: _Attend, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    out = attend(*inputs)
    return torch.autograd.grad(out, inputs, torch.ones_like(out))


def _natten(run: Callable, inputs: list[Tensor]) -> Run:
    from natten import na2d  # pyright: ignore[reportMissingImports]

    return partial(run, partial(na2d, kernel_size=_KERNEL), inputs)


def _flex(run: Callable, inputs: list[Tensor]) -> Run:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    tokens, device = _SIDE**2, inputs[0].device.type
    block_mask = create_block_mask(lambda b, h, i, j: _sees(i, j), None, None, tokens, tokens, device=device)
    compiled = torch.compile(flex_attention)
    return partial(run, lambda q, k, v: compiled(*_flat(q, k, v), block_mask=block_mask), inputs)


def _masked(run: Callable, inputs: list[Tensor]) -> Run:
    token = torch.arange(_SIDE**2, device=inputs[0].device)
    mask = _sees(token[:, None], token[None, :])
    return partial(run, lambda q, k, v: F.scaled_dot_product_attention(*_flat(q, k, v), attn_mask=mask), inputs)


def _sees(i: Tensor, j: Tensor) -> Tensor:
    """Say which tokens see which."""
    half = _KERNEL // 2
    inside = [
        (b - a.clamp(half, _SIDE - 1 - half)).abs() <= half
        for a, b in ((i // _SIDE, j // _SIDE), (i % _SIDE, j % _SIDE))
    ]
    return inside[0] & inside[1]


def _flat(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
    return q, k, v


def _check(run: Callable, ours: list[_Attend], inputs: list[Tensor]) -> float:
    corner = [x[:1, :20, :20].detach().requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in corner]
    expected = run(partial(_ours, "reference"), exact)
    return max(relative_error(*pair) for form in ours for pair in zip(run(form, corner), expected, strict=True))
