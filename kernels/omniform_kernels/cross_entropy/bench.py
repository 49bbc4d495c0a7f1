"""The loss of a large vocabulary beside torch's, which holds all logits."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Form
from omniform_kernels.bench.case import Case, Run, Target, relative_error
from omniform_kernels.cross_entropy import cross_entropy

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield loss and gradients: 1,024 tokens and 32,000 classes on a CPU, 16,384 and 128,256 in bf16 on a GPU."""
    on_gpu = device.type == "cuda"
    N, V, D, dtype = (16384, 128256, 4096, torch.bfloat16) if on_gpu else (1024, 32000, 128, torch.float32)
    form: Form = "triton" if on_gpu else "cpu"
    leaves = [torch.randn(N, D, dtype=dtype, device=device), torch.randn(V, D, dtype=dtype, device=device) / D**0.5]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    targets = torch.randint(V, (N,), device=device)
    yield Case(
        op="cross_entropy",
        name=f"loss and gradients, N{N} V{V} D{D} {str(dtype).partition('.')[2]}",
        forms={form: partial(_run, leaves, targets, form)},
        peers={"torch": partial(_torch, leaves, targets)},
        check=lambda: _error(leaves, targets, form),
        bound=2e-2 if on_gpu else 1e-4,
        targets=(Target(form=form, peer="torch", ratio=0.9),),  # the gain is memory: N V numbers fewer
        flops=6.0 * N * V * D,
        repeats=5,
    )


def _run(leaves: list[Tensor], targets: Tensor, form: Form) -> tuple[Tensor, ...]:
    hidden, weight = leaves
    loss = cross_entropy(hidden, weight, targets, backend=form)
    return loss, *torch.autograd.grad(loss, leaves)


def _torch(leaves: list[Tensor], targets: Tensor) -> Run:
    hidden, weight = leaves

    def run() -> object:
        return torch.autograd.grad(F.cross_entropy(F.linear(hidden, weight), targets), leaves)

    return run


def _error(leaves: list[Tensor], targets: Tensor, form: Form) -> float:
    hidden, weight = leaves[0][:300], leaves[1][:1000]
    targets = targets[:300] % 1000
    small = [tensor.detach().requires_grad_() for tensor in (hidden, weight)]
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    return max(map(relative_error, _run(small, targets, form), _run(exact, targets, "reference")))
