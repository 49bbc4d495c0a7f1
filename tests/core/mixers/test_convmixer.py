"""ConvMixer's spatial half against sums over taps, and its norm against that of the valid tokens alone."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.convmixer import ConvMixer, TokenBatchNorm


def example(kernel: tuple[int, ...]) -> ConvMixer:
    torch.manual_seed(0)
    mixer = ConvMixer(4, kernel=kernel).double().eval()
    mixer.norm.running_mean.normal_()
    mixer.norm.running_var.uniform_(0.5, 2.0)
    return mixer


@pytest.mark.parametrize(
    ("grid", "axes", "kernel"),
    [
        ((7,), ("ordered",), (3,)),
        ((3,), ("circular",), (9,)),
        ((5, 6), ("ordered", "circular"), (3, 5)),
        ((5, 4), ("circular", "ordered"), (5, 7)),
        ((3, 4, 2), ("circular", "ordered", "ordered"), (3, 3, 3)),
    ],
    ids=str,
)
def test_equals_the_sum_over_taps(grid, axes, kernel):
    mixer = example(kernel)
    x = torch.randn(2, *grid, 4, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for place in product(*map(range, grid)):
        for tap in product(*map(range, kernel)):
            source = [p + t - k // 2 for p, t, k in zip(place, tap, kernel, strict=True)]
            source = [s % n if kind == "circular" else s for s, n, kind in zip(source, grid, axes, strict=True)]
            if all(0 <= s < n for s, n in zip(source, grid, strict=True)):
                weight = mixer.depthwise.weight[(slice(None), 0, *tap)]
                expected[(slice(None), *place)] += weight * x[(slice(None), *source)]
    norm = mixer.norm
    expected = F.gelu(expected + mixer.depthwise.bias)
    expected = (expected - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(mixer(x, Layout(grid, axes)), expected, rtol=1e-9, atol=1e-9)


def test_statistics_are_those_of_the_valid_tokens():
    torch.manual_seed(1)
    ours, plain = TokenBatchNorm(4).double(), nn.BatchNorm1d(4).double()
    for parameters in (ours.parameters(), plain.parameters()):
        torch.manual_seed(2)
        for parameter in parameters:
            nn.init.normal_(parameter)
    for seed in range(3):
        torch.manual_seed(seed)
        x, mask = torch.randn(3, 5, 6, 4, dtype=torch.float64) + 2, torch.rand(3, 5, 6) < 0.6
        padded = x.masked_fill(~mask[..., None], 1e3)
        torch.testing.assert_close(ours(padded, mask)[mask], plain(x[mask]))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer)


def test_statistics_without_a_valid_token_stay_finite():
    norm = TokenBatchNorm(4)
    y = norm(torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert y.isfinite().all()
    assert norm.running_var.isfinite().all()


def test_training_on_padded_sequences_equals_training_on_packed_ones():
    torch.manual_seed(3)
    padded, packed = ConvMixer(4).double(), ConvMixer(4).double()
    packed.load_state_dict(padded.state_dict())
    x = torch.randn(1, 12, 4, dtype=torch.float64)
    mask = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    rows = torch.zeros(2, 7, 4, dtype=torch.float64)
    rows[mask] = x[0]
    a = padded(rows, Layout((7,), mask=mask))[mask]
    b = packed(x, Layout((12,), offsets=torch.tensor([0, 7, 12])))[0]
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(padded.norm.running_var, packed.norm.running_var)


def test_kernels_fit_the_grid():
    assert ConvMixer.make(4, grid=(1, 3, 64), axes=("ordered",) * 3, causal=False).kernel == (1, 5, 9)
    assert ConvMixer.make(4, grid=(4, 64), axes=("circular",) * 2, causal=False).kernel == (3, 9)


def test_refusals():
    with pytest.raises(IncompatibleError, match="odd number of taps"):
        ConvMixer(4, kernel=(4,))
    with pytest.raises(IncompatibleError, match="rank 1"):
        ConvMixer(4)(torch.zeros(1, 5, 5, 4), Layout((5, 5)))
    mask = torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(IncompatibleError, match="circular"):
        ConvMixer(4)(torch.zeros(1, 5, 4), Layout((5,), ("circular",), mask=mask))


def test_statistics_of_many_tokens_in_half_precision():
    """Counts and sums over thousands of tokens need more than eight bits."""
    torch.manual_seed(4)
    x, mask = torch.randn(4, 1000, 4) + 1, torch.rand(4, 1000) < 0.8
    exact, rough = TokenBatchNorm(4), TokenBatchNorm(4)
    expected, y = exact(x, mask), rough(x.to(torch.bfloat16), mask)
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected)[mask].abs().max() < 0.05
    torch.testing.assert_close(rough.running_mean, exact.running_mean, rtol=0, atol=1e-3)
