"""What is timed of the 8-bit linear map: two of them in a row, on many tokens and on one."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Backend
from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.int8_linear import int8_linear, native, quantize_rows

__all__ = ["cases"]

Layer = tuple[Tensor, Tensor]
"""A weight of whole numbers (E, D) and its scales (E,)."""


def cases(device: torch.device) -> Iterator[Case]:
    """Yield 512 -> 2048 -> 512 on a CPU, 4096 -> 14336 -> 4096 in bfloat16 on a GPU."""
    if device.type == "cpu":
        yield _case(
            device, torch.float32, 256, (512, 2048), (Target(form="native", peer="onnxruntime", ratio=1 / 1.2),)
        )
        yield _case(device, torch.float32, 1, (512, 2048), (Target(form="native", peer="onnxruntime", ratio=1 / 2.5),))
        return
    for N in (1, 16, 4096):
        targets = (Target(form="triton", peer="bfloat16", ratio=1.0),)
        yield _case(device, torch.bfloat16, N, (4096, 14336), targets)


def _case(
    device: torch.device, dtype: torch.dtype, N: int, sizes: tuple[int, int], targets: tuple[Target, ...]
) -> Case:
    D, E = sizes
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator).to(device, dtype)
    weights = [torch.randn(shape, generator=generator) for shape in ((E, D), (D, E))]
    weights = [(weight / weight.shape[1] ** 0.5).to(device) for weight in weights]
    layers = [quantize_rows(weight) for weight in weights]
    forms = ("cpu", "triton") if device.type == "cuda" else cpu_forms(native.LIBRARY)

    def run(form: Backend) -> Tensor:
        with torch.no_grad():
            hidden = int8_linear(x, *layers[0], backend=form)
            return int8_linear(hidden, *layers[1], backend=form)

    def check() -> float:
        expected = run("reference")
        return max(relative_error(run(form), expected) for form in forms)

    def dense(dtype: torch.dtype) -> Run:
        first, second = (weight.to(dtype) for weight in weights)
        tokens = x.to(dtype)
        return lambda: F.linear(F.linear(tokens, first), second)

    peers: dict[str, Callable[[], Run]] = {}
    if device.type == "cpu":
        peers = {
            "onnxruntime": lambda: _onnxruntime(x, layers),
            "torch dynamic": lambda: _torch_dynamic(x, weights),
            "float32": lambda: dense(torch.float32),
        }
    peers["bfloat16"] = lambda: dense(torch.bfloat16)
    return Case(
        op="int8_linear",
        name=f"forward, {D} -> {E} -> {D}, {N} tokens",
        forms={form: lambda form=form: run(form) for form in forms},
        peers=peers,
        check=check,
        # A first layer that rounds differently in the last place moves some of the second one's whole numbers by one.
        bound=1e-3 if dtype == torch.float32 else 2e-2,
        targets=targets,
        flops=4.0 * N * D * E,
        bytes=2.0 * D * E,
        repeats=21,
    )


def _onnxruntime(x: Tensor, layers: list[Layer]) -> Run:
    """Build its dynamic 8-bit graph: one scale for all tokens, one for each output."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, name = [], [], "x"
    for i, (weight, scale) in enumerate(layers):
        constants += [numpy_helper.from_array(weight.mT.contiguous().numpy(), f"w{i}")]
        constants += [numpy_helper.from_array(scale.numpy(), f"c{i}")]
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [name], [f"q{i}", f"s{i}", f"z{i}"]),
            helper.make_node("MatMulInteger", [f"q{i}", f"w{i}", f"z{i}"], [f"p{i}"]),
            helper.make_node("Cast", [f"p{i}"], [f"f{i}"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"s{i}", f"c{i}"], [f"t{i}"]),
            helper.make_node("Mul", [f"f{i}", f"t{i}"], [f"y{i}"]),
        ]
        name = f"y{i}"
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [None, None]) for end in ("x", name)]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    return lambda: session.run(None, feed)


def _torch_dynamic(x: Tensor, weights: list[Tensor]) -> Run:
    """Build torch's own dynamic 8-bit layers: one scale for all tokens."""
    packed = []
    for weight in weights:
        scale = weight.abs().max().item() / 127
        whole = torch.quantize_per_tensor(weight, scale, 0, torch.qint8)
        packed.append(torch.ops.quantized.linear_prepack(whole, None))

    def run() -> Tensor:
        hidden = torch.ops.quantized.linear_dynamic(x, packed[0])
        return torch.ops.quantized.linear_dynamic(hidden, packed[1])

    return run
