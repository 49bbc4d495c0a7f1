from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from omniform_kernels.checks import ShapeError
from omniform_kernels.cross_entropy import chunks, cpu, cross_entropy
from omniform_kernels.cross_entropy.op import _total


def make(N=13, V=37, D=5, dtype=torch.float64, ignored=()):
    hidden, weight, bias = (torch.randn(shape, dtype=dtype) for shape in ((N, D), (V, D), (V,)))
    targets = torch.randint(V, (N,))
    targets[list(ignored)] = -100
    return [hidden, weight, bias], targets


def run(targets, hidden, weight, bias=None, **options):
    return cross_entropy(hidden, weight, targets, bias=bias, **options)


def torch_loss(targets, hidden, weight, bias=None, **options):
    return F.cross_entropy(F.linear(hidden, weight, bias), targets, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunk", [1, 4, 13, 100, None])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equals_torch_in_loss_and_gradients(agree, backend, chunk, reduction):
    inputs, targets = make(ignored=(0, 7))
    ours = partial(run, targets, backend=backend, chunk=chunk, reduction=reduction)
    agree(ours, partial(torch_loss, targets, reduction=reduction), inputs, 1e-12)
    agree(ours, partial(torch_loss, targets, reduction=reduction), inputs[:2], 1e-12)


@pytest.mark.parametrize("V", [1, 63, 500, 5000])
def test_triton_equals_torch(agree, V, device):
    inputs, targets = make(5, V, 7, torch.float32, ignored=(2,))
    inputs, targets = [x.to(device) for x in inputs], targets.to(device)
    agree(partial(run, targets, backend="triton", chunk=3), partial(torch_loss, targets), inputs, 1e-5)


@pytest.mark.parametrize("backend", ["reference", "cpu", "triton"])
def test_another_index_may_be_ignored(agree, backend, device):
    (hidden, weight, _), targets = make(6, dtype=torch.float32)
    hidden, weight, targets = hidden.to(device), weight.to(device), targets.to(device)
    index = int(targets[0])
    ours = partial(run, targets, backend=backend, ignore_index=index)
    agree(ours, partial(torch_loss, targets, ignore_index=index), [hidden, weight], 1e-5)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_large_logits_do_not_overflow(agree, backend, device):
    (hidden, weight, _), targets = make(4, 50, dtype=torch.float32)
    hidden, weight, targets = 1e3 * hidden.to(device), weight.to(device), targets.to(device)
    agree(partial(run, targets, backend=backend), partial(torch_loss, targets), [hidden, weight], 1e-4)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("ignored", [range(13), ()])
def test_no_tokens_are_as_in_torch(backend, ignored):
    (hidden, weight, _), targets = make(N=13 if ignored else 0, ignored=ignored)
    loss = cross_entropy(hidden, weight, targets, backend=backend)
    assert loss.isnan()
    assert torch_loss(targets, hidden, weight).isnan()
    assert cross_entropy(hidden, weight, targets, reduction="sum", backend=backend) == 0


def test_gradcheck():
    inputs, targets = make(5, 7, 3, ignored=(1,))
    inputs = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(partial(run, targets, backend="cpu", chunk=2), inputs)
    assert torch.autograd.gradcheck(partial(run, targets, backend="reference"), inputs)
    assert torch.autograd.gradgradcheck(partial(run, targets, backend="reference"), inputs)


def test_only_wanted_gradients_are_returned(gradients):
    (hidden, weight, bias), targets = make()
    for index, frozen in enumerate((hidden, weight)):
        other = (weight, hidden)[index]

        def loss(leaf, run, frozen=frozen, index=index):
            pair = (frozen, leaf) if index == 0 else (leaf, frozen)
            return run(targets, *pair, bias)

        actual, expected = (gradients(partial(loss, run=form), [other]) for form in (run, torch_loss))
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_bfloat16_keeps_the_loss_in_float32(gradients, backend, device):
    """The logits' own rounding, 2^-9 of each, bounds the loss; the gradients' that of the softmax on top."""
    inputs, targets = make(20, 60, 16, torch.bfloat16)
    inputs, targets = [x.to(device) for x in inputs], targets.to(device)
    loss, *grads = gradients(partial(run, targets, backend=backend, chunk=7), inputs)
    exact, *exact_grads = gradients(partial(torch_loss, targets), [x.double() for x in inputs])
    assert loss.dtype == torch.float32
    assert (loss - exact).abs() <= 2**-8 * exact.abs()
    for a, e in zip(grads, exact_grads, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a - e).abs().max() <= 2**-5 * e.abs().max()


def test_autocast_takes_products_as_a_linear_layer_does():
    (hidden, weight, _), targets = make(9, 30, 8, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(hidden, weight, targets)
    assert loss.dtype == torch.float32
    assert loss == cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets)


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            self.numel = max(self.numel, x.numel() if isinstance(x, torch.Tensor) else 0)
        return out


def test_full_logits_never_exist():
    (hidden, weight, bias), targets = make(512, 1000, 8, torch.float32)
    with _Largest() as ours:  # looks inside the custom op
        chunks.total(hidden, weight, bias, targets, -100, 32, (True, True, True), cpu.differentiate)
    with _Largest() as theirs:
        torch_loss(targets, hidden.requires_grad_(), weight, bias).backward()
    assert ours.numel == 32 * 1000
    assert theirs.numel == 512 * 1000


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    backend=st.sampled_from(["cpu", "triton"]),
    N=st.integers(1, 9),
    V=st.integers(1, 70),
    D=st.integers(1, 9),
    chunk=st.integers(1, 10),
)
def test_any_shape(on, backend, N, V, D, chunk):
    torch.manual_seed(N * V)
    inputs, targets = make(N, V, D, torch.float32)
    *inputs, targets = on(backend, *inputs, targets)
    loss = run(targets, *inputs, backend=backend, chunk=chunk)
    torch.testing.assert_close(loss, torch_loss(targets, *inputs), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_nothing_is_left_unwritten(agree, backend, poisoned, device):
    inputs, targets = make(7, 20, dtype=torch.float32, ignored=(0, 6))
    inputs, targets = [x.to(device) for x in inputs], targets.to(device)
    agree(partial(run, targets, backend=backend, chunk=3), partial(torch_loss, targets), inputs, 1e-5)


@pytest.mark.parametrize("form", ["cpu", "triton"])
def test_custom_op_is_sound(form, device):
    inputs, targets = make(5, 20, dtype=torch.float32, ignored=(3,))
    inputs = [x.to(device).requires_grad_() for x in inputs]
    torch.library.opcheck(_total, (*inputs, targets.to(device), -100, 2, True, True, True, form))
    torch.library.opcheck(_total, (inputs[0], inputs[1], None, targets.to(device), -100, 9, True, False, False, form))


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_compiles_without_graph_break(agree, compiled, backend, device):
    inputs, targets = make(dtype=torch.float32)
    inputs, function = [x.to(device) for x in inputs], partial(run, targets.to(device), backend=backend)
    agree(compiled(function), function, inputs, 1e-6)


def test_refuses_what_does_not_fit():
    (hidden, weight, bias), targets = make()
    with pytest.raises(ShapeError, match="expected hidden"):
        cross_entropy(hidden[:, 1:], weight, targets)
    with pytest.raises(ShapeError, match="expected targets"):
        cross_entropy(hidden, weight, targets[1:])
    with pytest.raises(ShapeError, match="expected bias"):
        cross_entropy(hidden, weight, targets, bias=bias[1:])
    with pytest.raises(ValueError, match="chunk"):
        cross_entropy(hidden, weight, targets, chunk=0)
    with pytest.raises(ValueError, match="reduction"):
        cross_entropy(hidden, weight, targets, reduction="none")
