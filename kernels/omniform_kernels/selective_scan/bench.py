"""The selective scan at the width of Mamba-130M beside loops, a parallel scan and a compiled associative scan.

Bt batch   L tokens   Di channels   N states a channel
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.selective_scan import native, selective_scan

__all__ = ["cases", "scaling"]

_DI, _N = 1536, 16
_Scan = Callable[..., Tensor]
"""y of (x, dt, A, B, C)."""


def cases(device: torch.device) -> Iterator[Case]:
    """Yield forward+backward at 512 tokens and a decoding step on a CPU, at 2,048 to 16,384 tokens on a GPU."""
    if device.type == "cuda":
        for L in (2048, 8192, 16384):
            yield _gpu_case(L, device)
        return
    forms = cpu_forms(native.LIBRARY)
    inputs = _inputs(1, 512, device, torch.float32)
    peers = {
        "mambapy": partial(_mambapy, inputs),
        "compiled associative_scan": partial(_associative, inputs),
        "our plain torch": lambda: partial(_ours, "cpu", inputs),
    }
    targets = (
        Target(form="cpu", peer="mambapy", ratio=2.6),
        Target(form="cpu", peer="compiled associative_scan", ratio=1.4),
        Target(form="native", peer="our plain torch", ratio=5.0),
    )
    name = f"forward+backward, B1 T512 Di{_DI} N{_N}"
    runs = {form: partial(_ours, form, inputs) for form in forms}
    yield _case(name, runs, peers, targets, device, torch.float32)
    loop = {"transformers' loop": partial(_transformers, inputs)}
    wish = (Target(form="cpu", peer="transformers' loop", ratio=75.0),)
    yield _case(f"{name}, beside a loop", {"cpu": runs["cpu"]}, loop, wish, device, torch.float32, repeats=1)
    yield _step_case(forms, device)


def scaling(
    device: torch.device, lengths: Sequence[int] = (4096, 8192, 16384, 32768, 65536), channels: int = 256
) -> dict[int, float]:
    """Return the least seconds of three forward+backward passes at each length; linear in L is as it should be."""
    seconds = {}
    for L in lengths:
        run = partial(_ours, "auto", _inputs(1, L, device, torch.float32, channels))
        seconds[L] = min(_seconds(run, device) for _ in range(3))
    return seconds


def _gpu_case(L: int, device: torch.device) -> Case:
    inputs = _inputs(2, L, device, torch.bfloat16)
    peers = {"compiled associative_scan": partial(_associative, inputs), "mambapy": partial(_mambapy, inputs)}
    targets = (Target(form="triton", peer="compiled associative_scan", ratio=5.0),)
    runs = {"triton": partial(_ours, "triton", inputs)}
    name = f"forward+backward, B2 T{L} Di{_DI} N{_N} bfloat16"
    # Forward reads x and dt and writes y; backward reads x, dt and dy and writes the gradients of x and dt.
    return _case(name, runs, peers, targets, device, torch.bfloat16, bytes=8.0 * inputs[0].nbytes)


def _step_case(forms: Sequence[str], device: torch.device) -> Case:
    x, dt, A, B, C = (tensor.detach() for tensor in _inputs(1, 1, device, torch.float32))
    state = torch.randn(1, _DI, _N, device=device)

    def ours(form: str) -> object:
        return selective_scan(x, dt, A, B, C, initial_state=state, backend=form)  # pyright: ignore[reportArgumentType]

    def theirs() -> Run:
        from transformers.models.mamba.modeling_mamba import mamba_selective_state_update as update

        return lambda: update(state.clone(), x[:, 0], dt[:, 0], A, B[:, 0], C[:, 0])

    runs = {form: partial(ours, form) for form in forms}
    peers = {"transformers' update": theirs}
    return _case(f"decoding step, B1 Di{_DI} N{_N}", runs, peers, (), device, torch.float32)


def _case(
    name: str,
    runs: Mapping[str, Run],
    peers: Mapping[str, Callable[[], Run]],
    targets: tuple[Target, ...],
    device: torch.device,
    dtype: torch.dtype,
    *,
    bytes: float | None = None,
    repeats: int = 5,
) -> Case:
    return Case(
        op="selective_scan",
        name=name,
        forms=runs,
        peers=peers,
        check=partial(_check, tuple(runs), device, dtype),
        bound=2e-2 if dtype == torch.bfloat16 else 1e-5,
        targets=targets,
        bytes=bytes,
        repeats=repeats,
    )


def _inputs(Bt: int, L: int, device: torch.device, dtype: torch.dtype, Di: int = _DI) -> list[Tensor]:
    """Return leaves x, dt, A, B, C as Mamba's initialisation has them: A_n = -n, steps of 0.001 to 0.1."""
    x = torch.randn(Bt, L, Di, device=device, dtype=dtype)
    dt = torch.empty(Bt, L, Di, device=device).uniform_(-3, -1).mul_(2.302585).exp_().to(dtype)
    A = -torch.arange(1.0, _N + 1, device=device).repeat(Di, 1)
    B, C = (torch.randn(Bt, L, _N, device=device, dtype=dtype) for _ in range(2))
    return [tensor.requires_grad_() for tensor in (x, dt, A, B, C)]


def _ours(form: str, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    y, _ = selective_scan(*inputs, backend=form)  # pyright: ignore[reportArgumentType]
    return torch.autograd.grad(y, inputs, inputs[0].detach())


def _run(scan: _Scan, inputs: list[Tensor]) -> Run:
    dy = inputs[0].detach()
    return lambda: torch.autograd.grad(scan(*inputs), inputs, dy)


def _mambapy(inputs: list[Tensor]) -> Run:
    from mambapy.pscan import pscan

    def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        decays, entries = _discretise(x, dt, A, B)
        return (pscan(decays, entries) @ C.unsqueeze(-1).to(decays.dtype)).squeeze(-1).to(x.dtype)

    return _run(scan, inputs)


def _associative(inputs: list[Tensor]) -> Run:
    from torch._higher_order_ops.associative_scan import associative_scan

    def join(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        pair = _discretise(x, dt, A, B)
        _, states = associative_scan(join, pair, dim=1, combine_mode="generic")
        return (states @ C.unsqueeze(-1).to(states.dtype)).squeeze(-1).to(x.dtype)

    return _run(torch.compile(scan), inputs)


def _transformers(inputs: list[Tensor]) -> Run:
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        x, dt, B, C = (tensor.transpose(1, 2) for tensor in (x, dt, B, C))
        y = mamba_selective_scan(x, dt, A, B, C)
        assert isinstance(y, Tensor)
        return y.transpose(1, 2)

    return _run(scan, inputs)


def _discretise(x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Return decays and entries of the recurrence, (Bt, L, Di, N) in float32, as the peers want them."""
    size = dt.float()
    return torch.exp(size.unsqueeze(-1) * A), (size * x).unsqueeze(-1) * B.unsqueeze(2)


def _check(forms: Sequence[str], device: torch.device, dtype: torch.dtype) -> float:
    inputs = _inputs(1, 100, device, dtype, 70)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = _ours("reference", exact)
    return max(relative_error(a, e) for form in forms for a, e in zip(_ours(form, inputs), expected, strict=True))


def _seconds(run: Run, device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
