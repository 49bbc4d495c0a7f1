"""Mamba's block against a token-by-token account of the paper's equations, in float64."""

import pytest
import torch
from torch.nn import functional as F
from transformers.models.mamba.configuration_mamba import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

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


def transformers_mixer(mixer: Mamba) -> tuple[MambaMixer, dict[str, str]]:
    """Return transformers' mixer with our weights, and its name of each of our parameters."""
    config = MambaConfig(hidden_size=mixer.dim, state_size=16, num_hidden_layers=1, use_bias=False, use_mambapy=False)
    theirs = MambaMixer(config, layer_idx=0).to(mixer.D.dtype)
    names = {
        "input.weight": "in_proj.weight",
        "conv_weight": "conv1d.weight",
        "conv_bias": "conv1d.bias",
        "select.weight": "x_proj.weight",
        "step.weight": "dt_proj.weight",
        "step.bias": "dt_proj.bias",
        "A_log": "A_log",
        "D": "D",
        "out.weight": "out_proj.weight",
    }
    state = theirs.state_dict()
    with torch.no_grad():
        for ours, name in names.items():
            state[name].copy_(mixer.get_parameter(ours).view_as(state[name]))
    return theirs, names


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_equals_transformers(dtype, bound):
    """In outputs and every gradient; theirs rounds to float32 inside, whatever its weights are."""
    mixer, x = example(4)
    mixer, x = mixer.to(dtype), x.to(dtype)
    theirs, names = transformers_mixer(mixer)
    assert set(names) == set(dict(mixer.named_parameters()))
    assert set(names.values()) == set(dict(theirs.named_parameters()))
    ours_x, their_x = (x.clone().requires_grad_() for _ in range(2))
    y, expected = mixer(ours_x, Layout.of(x)), theirs(their_x)
    weight = torch.randn_like(y)
    ours = torch.autograd.grad((y * weight).sum(), [ours_x, *map(mixer.get_parameter, names)])
    peer = torch.autograd.grad((expected * weight).sum(), [their_x, *map(theirs.get_parameter, names.values())])
    for a, e in zip((y, *ours), (expected, *peer), strict=True):
        assert (a - e.view_as(a)).abs().max() <= bound * e.abs().max().clamp(min=1)


def test_float32_steps_equal_the_whole():
    """The way a decoder takes: one token at a time, without a graph."""
    mixer, x = example(5)
    mixer, x = mixer.float(), x.float()
    whole = mixer(x, Layout.of(x))
    state, steps = mixer.init_state(2), []
    with torch.no_grad():
        for token in x.split(1, dim=1):
            y, state = mixer.extend(token, state)
            steps.append(y)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_the_rank_of_the_steps_can_be_chosen():
    assert Mamba(20).step.weight.shape == (40, 2)  # a sixteenth, rounded up
    mixer = Mamba(20, step_rank=7)
    assert mixer.step.weight.shape == (40, 7)
    assert mixer.cost((9,)).parameters == sum(p.numel() for p in mixer.parameters())
    x = torch.randn(2, 9, 20)
    assert mixer(x, Layout.of(x)).shape == x.shape
