"""LightM-UNet: its layer against equations in float64, its shapes at any size, its parameters beside MONAI's nets."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.mixers.attention import Attention
from omniform.mixers.mamba import Mamba
from omniform.solver import count_parameters
from omniform.task import Size
from omniform_medical.models.blocks import DepthwiseConvolution, flat_mixer
from omniform_medical.models.lightm_unet import LightMUNet, ResidualVisionMambaLayer
from omniform_medical.plan import Plan

SIZE = Size(dim=16, hidden=8, depth=2)


def plan(*patch: int, strides: tuple[tuple[int, int, int], ...]) -> Plan:
    return Plan(spacing=(1, 1, 1), patch=patch, strides=strides, normalization=("zscore",), intensities=(), batch=2)  # pyright: ignore[reportArgumentType]


def jitter(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def scanned(mixer: Mamba, x: Tensor) -> Tensor:
    """Mix one sequence (L, D) token by token, straight from the equations of the selective state space."""
    inner, rank, states = 2 * mixer.dim, mixer.sizes[0], mixer.sizes[1]
    u, z = (x @ mixer.input.weight.T).split(inner, dim=1)
    padded = torch.cat([torch.zeros(3, inner, dtype=x.dtype), u])
    hidden, outs = torch.zeros(inner, states, dtype=x.dtype), []
    for t in range(len(x)):
        c = F.silu((mixer.conv_weight.T * padded[t : t + 4]).sum(dim=0) + mixer.conv_bias)
        delta, B, C = (mixer.select.weight @ c).split([rank, states, states])
        dt = F.softplus(mixer.step.weight @ delta + mixer.step.bias)
        hidden = torch.exp(-dt[:, None] * mixer.A_log.exp()) * hidden + (dt * c)[:, None] * B
        outs.append(mixer.out.weight @ ((hidden @ C + mixer.D * c) * F.silu(z[t])))
    return torch.stack(outs)


def standardised(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return norm.weight * centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt() + norm.bias


@pytest.mark.parametrize("grid", [(3, 2, 4), (5, 3)])
def test_layer_equals_a_sequential_scan(grid: tuple[int, ...]):
    torch.manual_seed(0)
    slot = flat_mixer(Mamba, 6, grid)
    layer = ResidualVisionMambaLayer(slot, 6, 10, 8).double()
    jitter(layer)
    mamba = next(module for module in slot.modules() if isinstance(module, Mamba))
    x = torch.randn(2, 6, *grid, dtype=torch.float64)
    expected = torch.empty(2, 8, *grid, dtype=torch.float64)
    for b in range(2):
        tokens = x[b].reshape(6, -1).T  # raster order
        mixed = scanned(mamba, standardised(layer.norm1, tokens)) + layer.scale * tokens
        first, _, second = layer.project
        wide = standardised(layer.norm2, mixed) @ first.weight.T + first.bias
        wide = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
        expected[b] = (wide @ second.weight.T + second.bias).T.reshape(8, *grid)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        ((8, 8, 8), ((2, 2, 2), (2, 2, 2))),
        ((9, 7, 5), ((2, 2, 1), (2, 2, 2), (1, 2, 2))),
        ((1, 3, 2), ((2, 2, 2),)),
        ((5, 4, 3), ()),
        ((11, 6, 1), ((2, 2, 1), (2, 1, 1))),
    ],
)
@pytest.mark.parametrize("finest", [0, 1])
def test_any_patch_in_planes_and_volumes(patch, strides, finest: int):
    model = LightMUNet(Mamba, SIZE, plan=plan(*patch, strides=strides), channels=2, classes=3, finest=finest)
    spatial = patch[:2] if patch[2] == 1 else patch
    (logits,) = model(torch.randn(2, 2, *spatial))
    assert logits.shape == (2, 3, *spatial)
    logits.square().mean().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unused


def test_other_mixers_fit_the_slot_and_bfloat16_runs():
    small = plan(6, 5, 4, strides=((2, 2, 2),))
    for mixer in (Mamba, Attention):
        model = LightMUNet(mixer, Size(dim=32, hidden=8, depth=1), plan=small, channels=1, classes=2)
        with torch.autocast("cpu", torch.bfloat16):
            assert model(torch.randn(1, 1, 6, 5, 4))[0].isfinite().all()


def test_counts_on_the_meta_device_are_affine_in_hidden():
    def count(hidden: int) -> int:
        with torch.device("meta"):
            size = Size(dim=16, hidden=hidden, depth=2)
            return count_parameters(LightMUNet(Mamba, size, plan=THREE_HALVINGS, channels=1, classes=2))

    assert count(16) - count(8) == count(24) - count(16) > 0


THREE_HALVINGS = plan(32, 32, 32, strides=((2, 2, 2),) * 3)


def test_parameters_beside_monai_nets_of_the_same_widths():
    """At widths 32 .. 256: 5.7 M beside 4.7 M of a residual UNet with strided convolutions, and 13.9 M of BasicUNet."""
    from monai.networks.nets.basic_unet import BasicUNet
    from monai.networks.nets.unet import UNet

    with torch.device("meta"):
        size = Size(dim=128, hidden=64, depth=2)
        light = count_parameters(LightMUNet(Mamba, size, plan=THREE_HALVINGS, channels=1, classes=2))
        unet = count_parameters(UNet(3, 1, 2, (32, 64, 128, 256), (2, 2, 2), num_res_units=2))
        basic = count_parameters(BasicUNet(3, 1, 2, (32, 64, 128, 256, 256, 32)))
    assert (light, unet, basic) == (5_654_741, 4_739_869, 13_874_594)


@pytest.mark.parametrize(("rank", "channels"), [(2, 5), (3, 24), (3, 34)])
def test_depthwise_convolution_equals_grouped_convolution(rank: int, channels: int):
    torch.manual_seed(0)
    ours = DepthwiseConvolution(rank, channels, bias=True).double()
    x = torch.randn(2, channels, *(5, 4, 3)[:rank], dtype=torch.float64, requires_grad=True)
    plain = F.conv2d if rank == 2 else F.conv3d
    theirs = plain(x, ours.weight, ours.bias, padding=1, groups=channels)
    torch.testing.assert_close(ours(x), theirs)
    weight = torch.randn_like(theirs)
    inputs = [x, *ours.parameters()]
    for a, b in zip(
        torch.autograd.grad((ours(x) * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
