"""What is timed of the block-scaled linear map: a wide layer, on one token and on many."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Backend
from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.block_linear import Format, block_linear, native, quantize_blocks

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield 2048 -> 2048 on a CPU, 4096 -> 14336 in bfloat16 on a GPU."""
    cuda = device.type == "cuda"
    for N in (1, 4096) if cuda else (1, 256):
        for format in ("int4", "e2m1"):
            yield _case(
                device, torch.bfloat16 if cuda else torch.float32, N, (4096, 14336) if cuda else (2048, 2048), format
            )


def _case(device: torch.device, dtype: torch.dtype, N: int, sizes: tuple[int, int], format: Format) -> Case:
    D, E = sizes
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator).to(device, dtype)
    weight = torch.randn(E, D, generator=generator).to(device)
    packed, scales = quantize_blocks(weight, format, 64)
    forms = ("cpu", "triton") if device.type == "cuda" else cpu_forms(native.LIBRARY)

    def run(form: Backend) -> Tensor:
        with torch.no_grad():
            return block_linear(x, packed, scales, format=format, backend=form)

    def check() -> float:
        expected = run("reference")
        return max(relative_error(run(form), expected) for form in forms)

    def dense() -> Run:
        same = weight.to(dtype)
        return lambda: F.linear(x, same)

    peers: dict[str, Callable[[], Run]] = {str(dtype).removeprefix("torch."): dense}
    if device.type == "cpu" and format == "int4":
        peers["torch int4"] = lambda: _torch_int4(x, weight)
    # One token waits for the weight, a quarter of bfloat16's bytes.
    targets = (Target(form="triton", peer="bfloat16", ratio=2.0),) if device.type == "cuda" and N == 1 else ()
    return Case(
        op="block_linear",
        name=f"forward, {format}, {D} -> {E}, {N} tokens",
        forms={form: lambda form=form: run(form) for form in forms},
        peers=peers,
        check=check,
        bound=1e-5 if dtype == torch.float32 else 1e-2,
        targets=targets,
        flops=2.0 * N * D * E,
        bytes=float(packed.nbytes + scales.nbytes),
        repeats=11,
    )


def _torch_int4(x: Tensor, weight: Tensor) -> Run:
    """Build torch's own layer of 4-bit whole numbers, groups of 64, in bfloat16."""
    groups = weight.unflatten(1, (-1, 64))
    scales = groups.abs().amax(-1) / 7
    whole = (groups / scales.unsqueeze(-1)).round().clamp(-8, 7).int().flatten(1) + 8
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1)
    both = torch.stack([scales.mT, torch.zeros_like(scales.mT)], -1).to(torch.bfloat16).contiguous()
    tokens = x.to(torch.bfloat16)
    return lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(tokens, packed, 64, both)
