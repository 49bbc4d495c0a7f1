"""Gated linear attention beside recurrences, softmax attention and fused operators."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Backend, Form
from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.gated_linear_attention import gated_linear_attention
from omniform_kernels.gated_linear_attention.native import LIBRARY

__all__ = ["cases"]

_CHECKED = 200  # tokens that the definition can bear


def cases(device: torch.device) -> Iterator[Case]:
    """Yield B1 H8 D64 in float32 on a CPU; 16,384 tokens or more of H16 D128 in bfloat16 on a GPU."""
    if device.type == "cuda":
        for T in (2048, 4096, 8192, 16384):
            yield from (_training(kind, 16384 // T, T, 16, 128, device) for kind in ("head", "channel"))
        return
    if LIBRARY.available():
        yield _inference("forward", 2048)
        yield _inference("decode step", 1)
    yield from (_training(kind, 1, T, 8, 64, device) for kind, T in (("channel", 2048), ("head", 2048), ("head", 8192)))


def _inference(name: str, T: int) -> Case:
    inputs = _inputs("channel", 1, T, 8, 64, torch.device("cpu"), torch.float32)
    state = torch.randn(1, 8, 64, 64)
    return Case(
        op="gated_linear_attention",
        name=f"{name}, per channel, B1 T{T} H8 D64",
        forms={form: partial(_forward, form, inputs, state) for form in ("native", "cpu")},
        peers={"ONNX Runtime": partial(_onnx_runtime, inputs, state)},
        check=partial(_check_outputs, ("native", "cpu"), inputs, state),
        bound=1e-5,
        targets=(Target(form="native", peer="ONNX Runtime", ratio=1 / 1.5),),
        flops=5.0 * T * 8 * 64 * 64,
        repeats=15 if T > 1 else 200,
    )


def _training(kind: str, B: int, T: int, H: int, D: int, device: torch.device) -> Case:
    on_gpu = device.type == "cuda"
    inputs = _inputs(kind, B, T, H, D, device, torch.bfloat16 if on_gpu else torch.float32)
    forms: tuple[Form, ...] = ("triton",) if on_gpu else cpu_forms(LIBRARY)
    peers: dict[str, Callable[[], Run]] = {"softmax attention": partial(_softmax, inputs)}
    targets: list[Target] = []
    if on_gpu:
        peers["fla"] = partial(_fla, kind, inputs)
        targets.append(Target(form="triton", peer="fla", ratio=1.0))
        targets += [Target(form="triton", peer="softmax attention", ratio=1.0)] * (T > 4096)
    else:
        targets += [Target(form=form, peer="softmax attention", ratio=1.7 if T <= 2048 else 6.0) for form in forms]
        if kind == "channel":
            peers["fla naive"] = partial(_naive, inputs)
            targets.append(Target(form="cpu", peer="fla naive", ratio=30.0))
    return Case(
        op="gated_linear_attention",
        name=f"forward+backward, per {kind}, B{B} T{T} H{H} D{D}",
        forms={form: partial(_both_passes, partial(_forward, form), inputs) for form in forms},
        peers=peers,
        check=partial(_check, forms, inputs),
        bound=2e-2 if on_gpu else 1e-5,
        targets=tuple(targets),
        flops=(5.0 + 15.0) * B * T * H * D * D,
        bytes=3.0 * sum(tensor.nbytes for tensor in inputs),  # read twice, and as much written
        repeats=15 if on_gpu else 3,
    )


def _inputs(
    kind: str, B: int, T: int, H: int, D: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries, keys, values and log decays of a trained model's size: half is forgotten in 16 tokens or so."""
    q, k, v = torch.randn(3, B, T, H, D, dtype=dtype, device=device)
    decay = F.logsigmoid(torch.randn((B, T, H, D) if kind == "channel" else (B, T, H), device=device)) / 16
    return q, k, v, decay


def _forward(form: Backend, inputs: tuple[Tensor, ...], state: Tensor | None = None) -> Tensor:
    q, k, v, decay = inputs
    return gated_linear_attention(q, k, v, decay, initial_state=state, backend=form)[0]


def _both_passes(forward: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    leaves = tuple(tensor.detach().requires_grad_() for tensor in inputs)
    out = forward(leaves)
    used = [leaf for leaf in leaves if leaf.is_floating_point()]
    return (out, *torch.autograd.grad(out, used, inputs[2], allow_unused=True))


def _check_outputs(forms: tuple[Form, ...], inputs: tuple[Tensor, ...], state: Tensor) -> float:
    small = tuple(tensor[:, :_CHECKED] for tensor in inputs)
    exact = _forward("reference", tuple(tensor.double() for tensor in small), state.double())
    return max(relative_error(_forward(form, small, state), exact) for form in forms)


def _check(forms: tuple[Form, ...], inputs: tuple[Tensor, ...]) -> float:
    small = tuple(tensor[:1, :_CHECKED] for tensor in inputs)
    exact = _both_passes(partial(_forward, "reference"), tuple(tensor.double() for tensor in small))
    found = (_both_passes(partial(_forward, form), small) for form in forms)
    return max(relative_error(a, e) for form in found for a, e in zip(form, exact, strict=True))


def _softmax(inputs: tuple[Tensor, ...]) -> Run:
    def attend(leaves: tuple[Tensor, ...]) -> Tensor:
        q, k, v = (leaf.transpose(1, 2) for leaf in leaves)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    return partial(_both_passes, attend, inputs[:3])


def _naive(inputs: tuple[Tensor, ...]) -> Run:
    from fla.ops.gla.naive import naive_recurrent_gla

    return partial(_both_passes, lambda leaves: naive_recurrent_gla(*leaves)[0], inputs)


def _fla(kind: str, inputs: tuple[Tensor, ...]) -> Run:
    from fla.ops.gla import chunk_gla
    from fla.ops.simple_gla import chunk_simple_gla

    attend: Any = chunk_gla if kind == "channel" else chunk_simple_gla
    return partial(_both_passes, lambda leaves: attend(*leaves)[0], inputs)


def _onnx_runtime(inputs: tuple[Tensor, ...], state: Tensor) -> Run:
    import onnxruntime
    from onnx import TensorProto, helper

    names = ["query", "key", "value", "past_state", "decay"]
    attributes: dict[str, Any] = {"update_rule": "gated", "q_num_heads": state.shape[1], "kv_num_heads": state.shape[1]}
    node = helper.make_node("LinearAttention", names, ["out", "state"], domain="com.microsoft", **attributes)
    given, made = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in part]
        for part in (names, ["out", "state"])
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "one", given, made), opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    q, k, v, decay = (tensor.flatten(2).numpy() for tensor in inputs)
    feeds = dict(zip(names, (q, k, v, state.numpy(), decay), strict=True))
    return partial(session.run, None, feeds)
