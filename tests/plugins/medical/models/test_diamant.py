import pytest
import torch

from omniform.layout import Layout
from omniform.mixers.attention import Attention
from omniform.mixers.mamba import Mamba
from omniform.solver import count_parameters
from omniform.task import Size
from omniform_medical.models import diamant
from omniform_medical.models.diamant import Diamant
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


def build(name: str, size: Size = SIZE, mixer=Attention) -> Diamant:
    torch.manual_seed(0)
    return Diamant(mixer, size, plan=PLANS[name], channels=2, classes=3)


def patches(name: str, count: int = 2) -> torch.Tensor:
    plan = PLANS[name]
    return torch.randn(count, 2, *plan.patch[: plan.rank], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PLANS)
def test_logits_have_the_shape_of_the_patch_and_every_trained_parameter_a_gradient(name: str):
    model, x = build(name), patches(name)
    logits = model(x)
    assert [tuple(part.shape) for part in logits] == [(2, 3, *x.shape[2:])]
    logits[0].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("vit."), name


@pytest.mark.parametrize("name", ["volume", "plane"])
def test_without_the_attention_branch_it_is_the_plain_unet(name: str):
    model, x = build(name).double(), patches(name).double()
    with torch.no_grad():
        for fusion in model.fusions:  # take the image's features as they are, and nothing else
            width = fusion.out_features
            fusion.weight.copy_(torch.cat([torch.eye(width), torch.zeros(width, width)], dim=1))
            fusion.bias.zero_()
        torch.testing.assert_close(model(x)[0], plain_unet(model, x), rtol=0, atol=1e-12)


def plain_unet(model: Diamant, x: torch.Tensor) -> torch.Tensor:
    """Run the parts of a U-Net one after another."""
    tokens, skips = model.stem(x).movedim(1, -1), []
    for stage, down in zip(model.encoders[0], model.downs[0], strict=True):
        for layer in stage:
            tokens = layer(tokens, Layout.of(tokens))
        skips.append(tokens)
        tokens = down(tokens, Layout.of(tokens))[0]
    for layer in model.bottom:
        tokens = layer(tokens, Layout.of(tokens))
    for skip, up, join, stage in list(zip(skips, model.ups, model.joins, model.decoder, strict=True))[::-1]:
        tokens = join(torch.cat([up(tokens, Layout.of(skip)), skip], dim=-1))
        for layer in stage:
            tokens = layer(tokens, Layout.of(tokens))
    return model.head(tokens).movedim(-1, 1)


def test_what_the_transformer_looks_at_matters():
    model, x = build("plane"), patches("plane")
    before = model(x)[0]
    torch.nn.init.normal_(model.vit.token)
    assert not torch.allclose(model(x)[0], before)


def test_initialize_trains_the_transformer_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diamant, "_STEPS", 2)
    model = build("volume")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.initialize(patches("volume", count=5))
    moved = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.startswith("vit.")}
    assert not any(parameter.requires_grad for parameter in model.vit.parameters())


@pytest.mark.parametrize("name", ["volume", "plane"])
def test_the_module_builds_without_memory_and_grows_affinely_with_hidden(name: str):
    with torch.device("meta"):
        counts = [count_parameters(build(name, Size(dim=8, hidden=h, depth=2))) for h in (8, 12, 16)]
    model = build(name, Size(dim=8, hidden=8, depth=2))
    assert counts[0] == count_parameters(model)
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0
    assert counts[0] < sum(parameter.numel() for parameter in model.parameters())  # the transformer does not count


def test_bf16_and_another_mixer():
    model, x = build("volume", mixer=Mamba), patches("volume")
    with torch.no_grad():
        exact = model(x)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(x)[0]
    assert float((rough - exact).abs().mean() / exact.abs().mean()) < 0.05
