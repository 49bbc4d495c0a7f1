"""Mamba's block against a token-by-token account of the paper's equations, in float64."""

import torch
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.mamba import Mamba


def example(seed: int = 0, dim: int = 20) -> tuple[Mamba, torch.Tensor]:
    torch.manual_seed(seed)
    mixer = Mamba(dim).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer, torch.randn(2, 9, dim, dtype=torch.float64)


def by_the_book(mixer: Mamba, x: torch.Tensor) -> torch.Tensor:
    """Mix one sequence (L, D) with a window of four inputs and a state (E, N)."""
    inner, rank, states = 2 * mixer.dim, -(-mixer.dim // 16), 16
    both = x @ mixer.input.weight.T
    u, z = both[:, :inner], both[:, inner:]
    rates = -torch.exp(mixer.A_log)
    hidden = torch.zeros(inner, states, dtype=x.dtype)
    outs = []
    for t in range(len(x)):
        window = [u[t - 3 + j] if t - 3 + j >= 0 else torch.zeros(inner, dtype=x.dtype) for j in range(4)]
        c = sum(mixer.conv_weight[:, j] * window[j] for j in range(4)) + mixer.conv_bias
        c = c * torch.sigmoid(c)
        chosen = mixer.select.weight @ c
        low_rank, B, C = chosen[:rank], chosen[rank : rank + states], chosen[rank + states :]
        dt = torch.log1p(torch.exp(mixer.step.weight @ low_rank + mixer.step.bias))
        hidden = torch.exp(dt[:, None] * rates) * hidden + (dt * c)[:, None] * B
        y = hidden @ C + mixer.D * c
        outs.append(mixer.out.weight @ (y * z[t] * torch.sigmoid(z[t])))
    return torch.stack(outs)


def test_equals_the_recurrence():
    mixer, x = example()
    expected = torch.stack([by_the_book(mixer, row) for row in x])
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)
    state, steps = mixer.init_state(2, dtype=torch.float64), []
    for token in x.split(1, dim=1):
        y, state = mixer.extend(token, state)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-9, atol=1e-9)


def test_gradients_equal_those_of_the_recurrence():
    mixer, x = example(1)
    parameters = list(mixer.parameters())
    weight = torch.randn(2, 9, mixer.dim, dtype=torch.float64)
    ours = torch.autograd.grad((mixer(x, Layout.of(x)) * weight).sum(), parameters)
    plain = torch.stack([by_the_book(mixer, row) for row in x])
    theirs = torch.autograd.grad((plain * weight).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_state_keeps_the_last_valid_inputs():
    mixer, x = example(2)
    mask = torch.tensor([[True, True, False, True], [False, True, False, False]])
    _, state = mixer.extend(x[:, :4], mixer.init_state(2, dtype=torch.float64), Layout((4,), mask=mask))
    u = F.linear(x, mixer.input.weight)[..., : 2 * mixer.dim]
    torch.testing.assert_close(state.inputs[0], u[0, [0, 1, 3]])
    torch.testing.assert_close(state.inputs[1, 2], u[1, 1])
    assert not state.inputs[1, :2].any()


def test_starts_as_the_paper_says():
    torch.manual_seed(3)
    mixer = Mamba(256)
    torch.testing.assert_close(-mixer.A_log.exp(), -torch.arange(1.0, 17).expand(512, 16))
    assert mixer.D.eq(1).all()
    step = F.softplus(mixer.step.bias)
    assert step.min() >= 0.99e-3
    assert step.max() <= 1.01e-1
    share = (step < 1e-2).float().mean()  # half of a log-uniform draw lies below the geometric middle
    assert 0.42 < share < 0.58
    assert mixer.step.weight.shape == (512, 16)
