"""The delta rule beside transformers' and fla's chunked forms, softmax attention and ONNX Runtime's fused operator."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Backend, Form
from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.delta_rule import delta_rule
from omniform_kernels.delta_rule.native import LIBRARY

__all__ = ["cases"]

_CHECKED = 200  # tokens that the definition can bear

Inputs = tuple[Tensor, ...]
"""q, k, v, beta, and the log decay of the gated rule."""


def cases(device: torch.device) -> Iterator[Case]:
    """Yield B1 H8 D64 in float32 on a CPU; 16,384 tokens of H16 D128 in bfloat16 on a GPU, with decay and without."""
    if device.type == "cuda":
        for T in (2048, 4096, 8192, 16384):
            yield from (_training(gated, 16384 // T, T, 16, 128, device) for gated in (True, False))
        return
    yield _inference("forward", 2048)
    if LIBRARY.available():
        yield _inference("decode step", 1)
    yield from (_training(gated, 1, 2048, 8, 64, device) for gated in (True, False))


def _inference(name: str, T: int) -> Case:
    inputs = _inputs(True, 1, T, 8, 64, torch.device("cpu"), torch.float32)
    state = torch.randn(1, 8, 64, 64)
    forms = cpu_forms(LIBRARY)
    chunked = [Target(form=form, peer="transformers chunked", ratio=1.0) for form in forms] if T > 1 else []
    return Case(
        op="delta_rule",
        name=f"{name}, gated, B1 T{T} H8 D64",
        forms={form: partial(_forward, form, inputs, state) for form in forms},
        peers={
            "ONNX Runtime": partial(_onnx_runtime, inputs, state),
            "transformers chunked" if T > 1 else "transformers recurrent": partial(_transformers, inputs, state),
        },
        check=partial(_check, forms, inputs),
        bound=1e-5,
        targets=(Target(form="native", peer="ONNX Runtime", ratio=1 / 1.5), *chunked),
        flops=7.0 * T * 8 * 64 * 64,
        repeats=15 if T > 1 else 200,
    )


def _training(gated: bool, B: int, T: int, H: int, D: int, device: torch.device) -> Case:
    on_gpu = device.type == "cuda"
    inputs = _inputs(gated, B, T, H, D, device, torch.bfloat16 if on_gpu else torch.float32)
    forms: tuple[Form, ...] = ("triton",) if on_gpu else cpu_forms(LIBRARY)
    peers: dict[str, Callable[[], Run]] = {"softmax attention": partial(_softmax, inputs)}
    targets: list[Target] = []
    if on_gpu:
        peers["fla"] = partial(_fla, inputs)
        targets.append(Target(form="triton", peer="fla", ratio=1.0))
        targets += [Target(form="triton", peer="softmax attention", ratio=1.0)] * (T > 4096)
    elif gated:
        peers["transformers chunked"] = partial(_transformers_training, inputs)
        targets += [Target(form=form, peer="transformers chunked", ratio=1.0) for form in forms]
    return Case(
        op="delta_rule",
        name=f"forward+backward, {'gated' if gated else 'plain'}, B{B} T{T} H{H} D{D}",
        forms={form: partial(_both_passes, partial(_forward, form), inputs) for form in forms},
        peers=peers,
        check=partial(_check, forms, inputs),
        bound=2e-2 if on_gpu else 1e-5,
        targets=tuple(targets),
        flops=(7.0 + 17.0) * B * T * H * D * D,
        bytes=3.0 * sum(tensor.nbytes for tensor in inputs),  # read twice, and as much written
        repeats=15 if on_gpu else 3,
    )


def _inputs(gated: bool, B: int, T: int, H: int, D: int, device: torch.device, dtype: torch.dtype) -> Inputs:
    """Return keys of length one, and log decays of a trained model's size: half is forgotten in 16 tokens or so."""
    q, k = F.normalize(torch.randn(2, B, T, H, D, device=device), dim=-1).to(dtype)
    v = torch.randn(B, T, H, D, dtype=dtype, device=device)
    beta = torch.randn(B, T, H, device=device).sigmoid()
    decay = F.logsigmoid(torch.randn(B, T, H, device=device)) / 16
    return (q, k, v, beta, decay) if gated else (q, k, v, beta)


def _forward(form: Backend, inputs: Inputs, state: Tensor | None = None) -> Tensor:
    return delta_rule(*inputs, initial_state=state, backend=form)[0]


def _both_passes(forward: Callable[[Inputs], Tensor], inputs: Inputs) -> tuple[Tensor, ...]:
    leaves = tuple(tensor.detach().requires_grad_() for tensor in inputs)
    out = forward(leaves)
    return (out, *torch.autograd.grad(out, leaves, inputs[2]))


def _check(forms: tuple[Form, ...], inputs: Inputs) -> float:
    small = tuple(tensor[:1, :_CHECKED] for tensor in inputs)
    _, _, H, D = small[0].shape
    state = torch.randn(1, H, D, D, device=small[0].device)
    exact = _both_passes(partial(_forward, "reference", state=state.double()), tuple(x.double() for x in small))
    found = (_both_passes(partial(_forward, form, state=state), small) for form in forms)
    return max(relative_error(a, e) for form in found for a, e in zip(form, exact, strict=True))


def _softmax(inputs: Inputs) -> Run:
    def attend(leaves: Inputs) -> Tensor:
        q, k, v = (leaf.transpose(1, 2) for leaf in leaves)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    return partial(_both_passes, attend, inputs[:3])


def _fla(inputs: Inputs) -> Run:
    from fla.ops.delta_rule import chunk_delta_rule
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    attend: Any = chunk_gated_delta_rule if len(inputs) == 5 else chunk_delta_rule
    names = ("q", "k", "v", "beta", "g")[: len(inputs)]
    inputs = (*inputs[:3], inputs[3].to(inputs[0].dtype), *inputs[4:])
    return partial(_both_passes, lambda leaves: attend(**dict(zip(names, leaves, strict=True)))[0], inputs)


def _transformers(inputs: Inputs, state: Tensor) -> Run:
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen

    # Where fla is installed, transformers puts fla's GPU kernels in front of its own functions.
    one = inputs[0].shape[1] == 1
    attend: Any = qwen.torch_recurrent_gated_delta_rule if one else qwen.torch_chunk_gated_delta_rule
    attend = getattr(attend, "__wrapped__", attend)
    q, k, v, beta, decay = inputs
    return partial(attend, q, k, v, g=decay, beta=beta, initial_state=state, output_final_state=True)


def _transformers_training(inputs: Inputs) -> Run:
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen

    attend: Any = getattr(qwen.torch_chunk_gated_delta_rule, "__wrapped__", qwen.torch_chunk_gated_delta_rule)

    def forward(leaves: Inputs) -> Tensor:
        q, k, v, beta, decay = leaves
        return attend(q, k, v, g=decay, beta=beta)[0]

    return partial(_both_passes, forward, inputs)


def _onnx_runtime(inputs: Inputs, state: Tensor) -> Run:
    import onnxruntime
    from onnx import TensorProto, helper

    names = ["query", "key", "value", "past_state", "decay", "beta"]
    sizes: dict[str, Any] = {"q_num_heads": state.shape[1], "kv_num_heads": state.shape[1]}
    node = helper.make_node(
        "LinearAttention", names, ["out", "state"], domain="com.microsoft", update_rule="gated_delta", **sizes
    )
    given, made = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in part]
        for part in (names, ["out", "state"])
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "one", given, made), opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    q, k, v, beta, decay = (tensor.flatten(2).numpy() for tensor in inputs)
    feeds = dict(zip(names, (q, k, v, state.numpy(), decay, beta), strict=True))
    return partial(session.run, None, feeds)
