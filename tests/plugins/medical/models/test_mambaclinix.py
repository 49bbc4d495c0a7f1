"""MambaClinix: its layer against equations in float64, its logits for deep supervision, and a race on phantoms."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.mixers.attention import Attention
from omniform.mixers.mamba import Mamba
from omniform.solver import count_parameters
from omniform.task import Size
from omniform_medical.losses import deep_supervision, dice_cross_entropy
from omniform_medical.models.blocks import flat_mixer
from omniform_medical.models.gated_convolution import GatedBlock
from omniform_medical.models.mambaclinix import MambaClinix, MixerLayer
from omniform_medical.plan import Plan

SIZE = Size(dim=16, hidden=16, depth=2)


def plan(*patch: int, strides: tuple[tuple[int, int, int], ...]) -> Plan:
    return Plan(spacing=(1, 1, 1), patch=patch, strides=strides, normalization=("zscore",), intensities=(), batch=2)  # pyright: ignore[reportArgumentType]


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


def test_layer_equals_a_sequential_scan():
    torch.manual_seed(0)
    slot = flat_mixer(Mamba, 6, (3, 2, 4))
    layer = MixerLayer(slot, 6).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    mamba = next(module for module in slot.modules() if isinstance(module, Mamba))
    x = torch.randn(2, 6, 3, 2, 4, dtype=torch.float64)
    for b in range(2):
        tokens = x[b].reshape(6, -1).T
        mixed = layer.norm2(scanned(mamba, layer.norm1(tokens)))
        expected = tokens + mixed @ layer.project.weight.T + layer.project.bias
        torch.testing.assert_close(layer(x)[b], expected.T.reshape(6, 3, 2, 4), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("patch", "strides", "coarser"),
    [
        ((8, 8, 8), ((2, 2, 2),) * 3, [(4, 4, 4), (2, 2, 2)]),
        ((9, 7, 5), ((2, 2, 1), (2, 2, 2), (1, 2, 2)), [(5, 4, 5), (3, 2, 3)]),
        ((1, 3, 2), ((2, 2, 2),), []),
        ((5, 4, 3), (), []),
        ((11, 6, 1), ((2, 2, 1), (2, 1, 1)), [(6, 3)]),
    ],
)
def test_logits_at_every_resolution_but_the_coarsest(patch, strides, coarser):
    model = MambaClinix(Mamba, SIZE, plan=plan(*patch, strides=strides), channels=2, classes=3)
    spatial = patch[:2] if patch[2] == 1 else patch
    logits = model(torch.randn(2, 2, *spatial))
    assert [tuple(each.shape) for each in logits] == [(2, 3, *size) for size in (spatial, *coarser)]
    labels = torch.randint(0, 3, (2, *spatial), dtype=torch.uint8)
    deep_supervision(dice_cross_entropy, logits, labels).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unused


def test_gates_stand_in_the_finer_half_and_the_mixer_in_the_coarser():
    model = MambaClinix(Mamba, SIZE, plan=plan(16, 16, 16, strides=((2, 2, 2),) * 4), channels=1, classes=2)
    kinds = [GatedBlock, GatedBlock, GatedBlock, MixerLayer, MixerLayer]
    assert [type(stage[-1]) for stage in model.stages] == kinds
    wide = MambaClinix(
        Mamba, Size(dim=64, hidden=8, depth=1), plan=plan(8, 8, 8, strides=((2, 2, 2),) * 3), channels=1, classes=2
    )
    assert [len(stage[-1].gated.widths) for stage in wide.stages[:2]] == [2, 3]


def test_other_mixers_fit_the_slot_and_bfloat16_runs():
    small = plan(8, 6, 4, strides=((2, 2, 2),))
    for mixer in (Mamba, Attention):
        model = MambaClinix(mixer, SIZE, plan=small, channels=1, classes=2)
        with torch.autocast("cpu", torch.bfloat16):
            assert model(torch.randn(1, 1, 8, 6, 4))[0].isfinite().all()


def test_counts_on_the_meta_device_are_affine_in_hidden():
    halvings = plan(32, 32, 32, strides=((2, 2, 2),) * 3)

    def count(hidden: int) -> int:
        with torch.device("meta"):
            size = Size(dim=16, hidden=hidden, depth=2)
            return count_parameters(MambaClinix(Mamba, size, plan=halvings, channels=1, classes=2))

    assert count(16) - count(8) == count(24) - count(16) > 0


def phantoms(count: int, *, seed: int, side: int = 16) -> tuple[Tensor, Tensor]:
    """Draw organs (class 1: ellipsoids) and vessels (class 2: curved tubes two voxels thick), alike in brightness."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.arange(side, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)  # (X, Y, Z, 3)
    images, labels = [], []
    for _ in range(count):
        centre, radii = side * (0.3 + 0.4 * torch.rand(3, generator=g)), 3 + 3 * torch.rand(3, generator=g)
        label = (((grid - centre) / radii).square().sum(dim=-1) < 1).long()
        offset, wave = side * torch.rand(2, generator=g), 1 + 3 * torch.rand(2, generator=g)
        path = offset + wave * torch.stack([torch.sin(axis / 4), torch.cos(axis / 5)], dim=-1)  # (Z, 2)
        tube = (grid[..., :2] - path).square().sum(dim=-1) < 1.3**2
        label[tube] = 2
        images.append((label > 0) + 0.3 * torch.randn(label.shape, generator=g))
        labels.append(label)
    return torch.stack(images)[:, None], torch.stack(labels)


def trained_dice(model: nn.Module, *, seed: int, steps: int = 250) -> float:
    """Train on fresh phantoms, and return the mean Dice of both classes on eight others."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        x, labels = phantoms(2, seed=10_000 * (seed + 1) + step)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        deep_supervision(dice_cross_entropy, out if isinstance(out, tuple) else (out,), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    x, labels = phantoms(8, seed=7)
    with torch.no_grad():
        out = model.eval()(x)
    found = (out[0] if isinstance(out, tuple) else out).argmax(dim=1)
    dice = [2 * ((found == k) & (labels == k)).sum() / ((found == k).sum() + (labels == k).sum()) for k in (1, 2)]
    return float(torch.stack(dice).mean())


@pytest.mark.slow
def test_organs_and_vessels_are_found_as_well_as_by_a_unet_of_equal_size():
    from monai.networks.nets.unet import UNet

    ours, theirs = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        model = MambaClinix(
            Mamba,
            Size(dim=16, hidden=18, depth=2),
            plan=plan(16, 16, 16, strides=((2, 2, 2),) * 3),
            channels=1,
            classes=3,
        )
        peer = UNet(3, 1, 3, (7, 14, 28, 50), (2, 2, 2), num_res_units=2)
        assert count_parameters(model) == pytest.approx(count_parameters(peer), rel=0.05)
        ours.append(trained_dice(model, seed=seed))
        theirs.append(trained_dice(peer, seed=seed))
    ahead = torch.tensor(ours) - torch.tensor(theirs)
    assert min(ours) > 0.6, f"{ours} beside {theirs}"
    assert ahead.mean() > -2 * ahead.std() / 3**0.5, f"{ours} beside {theirs}"
