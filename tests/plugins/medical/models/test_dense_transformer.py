import pytest
import torch

from omniform.mixers.attention import Attention
from omniform.mixers.mamba import Mamba
from omniform.solver import count_parameters
from omniform.task import Size
from omniform_medical.models import dense_transformer
from omniform_medical.models.dense_transformer import DenseTransformerNetwork, Localization, block_means
from omniform_medical.plan import Intensity, Plan

SIZE = Size(dim=8, hidden=8, depth=1)


def plan_of(patch: tuple[int, int, int], strides: tuple[tuple[int, int, int], ...]) -> Plan:
    return Plan(
        spacing=(1.0, 1.0, 1.0),
        patch=patch,
        strides=strides,
        normalization=("zscore",),
        intensities=(Intensity(low=0, high=1, mean=0, std=1),),
        batch=2,
    )


PLANS = {
    "volume": plan_of((13, 10, 9), ((2, 2, 1), (2, 2, 2))),
    "plane": plan_of((17, 12, 1), ((2, 2, 1), (2, 2, 1))),
    "shallow": plan_of((5, 6, 1), ()),
    "thin": plan_of((9, 1, 1), ((2, 1, 1),)),
}


def build(name: str, size: Size = SIZE, mixer=Attention) -> DenseTransformerNetwork:
    torch.manual_seed(0)
    return DenseTransformerNetwork(mixer, size, plan=PLANS[name], channels=2, classes=3)


def patches(name: str) -> torch.Tensor:
    plan = PLANS[name]
    return torch.randn(2, 2, *plan.patch[: plan.rank], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PLANS)
def test_logits_have_the_shape_of_the_patch_and_every_parameter_a_gradient(name: str):
    model, x = build(name), patches(name)
    logits = model(x)
    assert [tuple(part.shape) for part in logits] == [(2, 3, *x.shape[2:])]
    logits[0].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", PLANS)
def test_without_displacement_it_is_the_plain_unet_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch):
    model, x = build(name), patches(name)
    before = model(x)[0]
    torch.nn.init.normal_(model.localization.displace.weight)
    after = model(x)[0]
    for move in ("warp", "restore"):
        monkeypatch.setattr(dense_transformer, move, lambda tokens, places: tokens)
    plain = model(x)[0]
    assert torch.equal(before, plain)
    assert not torch.allclose(after, plain)


def test_displacements_keep_within_half_the_way_to_the_next_point():
    torch.manual_seed(0)
    localization = Localization(4, (9, 5)).double()
    torch.nn.init.constant_(localization.displace.bias, 100.0)  # every point moves as far as it may
    x = torch.zeros(1, 9, 5, 4, dtype=torch.float64)
    moved = localization(x) - localization.get_buffer("voxels")
    expected = torch.tensor([4 / 3, 2 / 3], dtype=torch.float64).expand_as(moved)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["volume", "plane"])
def test_the_module_builds_without_memory_and_grows_affinely_with_hidden(name: str):
    with torch.device("meta"):
        counts = [count_parameters(build(name, Size(dim=8, hidden=h, depth=2))) for h in (8, 12, 16)]
    assert counts[0] == count_parameters(build(name, Size(dim=8, hidden=8, depth=2)))
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


def test_bf16_and_another_mixer():
    model, x = build("volume", mixer=Mamba), patches("volume")
    torch.nn.init.normal_(model.localization.displace.weight, std=0.1)
    with torch.no_grad():
        exact = model(x)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(x)[0]
    assert float((rough - exact).abs().mean() / exact.abs().mean()) < 0.05


def test_it_learns_a_warped_pattern():
    torch.manual_seed(0)
    model = build("plane")
    x = patches("plane")
    truth = (torch.nn.functional.avg_pool2d(x, 3, 1, 1).sum(1) > 0).long()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(x)[0], truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert float(model.localization.displace.weight.detach().abs().max()) > 0


@pytest.mark.parametrize(("size", "blocks"), [(9, 3), (10, 3), (7, 3), (2, 3), (1, 3), (14, 4)])
def test_block_means_are_adaptive_pooling(size, blocks):
    x = torch.randn(2, 5, size)
    expected = torch.nn.functional.adaptive_avg_pool1d(x, blocks)
    torch.testing.assert_close(x @ block_means(size, blocks).T, expected)
