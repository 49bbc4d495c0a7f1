"""Med3D: shapes, branches that stay apart, encoders that move from net to net, and a race on phantoms."""

import pytest
import torch
from torch import Tensor

from omniform.errors import ConfigError
from omniform.mixers.attention import Attention
from omniform.task import Size
from omniform_medical.losses import dice_cross_entropy
from omniform_medical.models.med3d import CoTraining, Med3D, co_training_loss, encoder_weights, transfer
from omniform_medical.plan import Plan

SIZE = Size(dim=16, hidden=16, depth=1)


def plan(*patch: int, strides: tuple[tuple[int, int, int], ...]) -> Plan:
    return Plan(spacing=(1, 1, 1), patch=patch, strides=strides, normalization=("zscore",), intensities=(), batch=2)  # pyright: ignore[reportArgumentType]


CUBE = plan(16, 16, 16, strides=((2, 2, 2),) * 3)


def batch(classes: int, *, seed: int = 0, count: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, 16, 16, 16, generator=generator)
    return x, torch.randint(0, classes, (count, 16, 16, 16), generator=generator)


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        ((16, 16, 16), ((2, 2, 2),) * 3),
        ((17, 13, 9), ((2, 2, 1), (2, 2, 2), (1, 2, 2), (2, 2, 2))),
        ((1, 3, 2), ((2, 2, 2),)),
        ((5, 4, 3), ()),
        ((23, 14, 1), ((2, 2, 1), (2, 1, 1), (2, 2, 1))),
    ],
)
def test_any_patch_in_planes_and_volumes(patch, strides):
    model = Med3D(Attention, SIZE, plan=plan(*patch, strides=strides), channels=2, classes=3)
    spatial = patch[:2] if patch[2] == 1 else patch
    (logits,) = model(torch.randn(2, 2, *spatial))
    assert logits.shape == (2, 3, *spatial)


def test_other_branches_gradients_are_exactly_zero():
    torch.manual_seed(0)
    model = CoTraining(SIZE, plan=CUBE, channels=1, classes=(2, 3, 4))
    parts = [batch(2), batch(3, seed=1), batch(4, seed=2)]
    features = model.encoder(torch.cat([x for x, _ in parts])).split(2)
    for i, (_, labels) in enumerate(parts):  # a sample's own loss, while the batch holds all data sets
        model.zero_grad()
        dice_cross_entropy(model.branches[i](features[i]), labels).backward(retain_graph=True)
        for j, branch in enumerate(model.branches):
            touched = [p.grad is not None and bool(p.grad.any()) for p in branch.parameters()]
            assert any(touched) == (i == j)
        assert all(p.grad is not None and p.grad.any() for p in model.encoder.parameters())


def test_an_absent_data_set_leaves_its_branch_as_it_is():
    torch.manual_seed(0)
    model = CoTraining(SIZE, plan=CUBE, channels=1, classes=(2, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(2):
        optimizer.zero_grad()
        co_training_loss(model, [batch(2, seed=step), None]).backward()
        optimizer.step()
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert not {name for name in changed if name.startswith("branches.1.")}
    assert "branches.0.grow.weight" in changed
    assert "encoder.conv1.weight" in changed


def test_the_loss_is_the_mean_over_data_sets_of_one_pass_through_the_encoder():
    torch.manual_seed(0)
    model = CoTraining(SIZE, plan=CUBE, channels=1, classes=(2, 3))
    (x, y), (u, v) = batch(2, count=1), batch(3, seed=1, count=3)
    features = model.encoder(torch.cat([x, u]))
    expected = dice_cross_entropy(model.branches[0](features[:1]), y) + dice_cross_entropy(
        model.branches[1](features[1:]), v
    )
    torch.testing.assert_close(co_training_loss(model, [(x, y), (u, v)]), expected / 2)


def test_missing_data_sets_are_refused():
    model = CoTraining(SIZE, plan=CUBE, channels=1, classes=(2, 3))
    for batches in ([batch(2)], [None, None]):
        with pytest.raises(ConfigError, match="expected a batch for each of 2 data sets"):
            co_training_loss(model, batches)


def test_an_encoder_moves_to_a_network_of_its_size():
    torch.manual_seed(0)
    source = CoTraining(SIZE, plan=CUBE, channels=1, classes=(2, 3)).eval()
    target = Med3D(Attention, SIZE, plan=CUBE, channels=1, classes=5).eval()
    head = target.head.grow.weight.clone()
    x, _ = batch(2)
    transfer(encoder_weights(source.state_dict()), target)
    torch.testing.assert_close(target.encoder(x), source.encoder(x))
    torch.testing.assert_close(target.head.grow.weight, head)


def test_an_encoder_of_another_size_is_refused():
    target = Med3D(Attention, SIZE, plan=CUBE, channels=1, classes=2)
    for size in (Size(dim=24, hidden=16, depth=1), Size(dim=16, hidden=16, depth=2)):
        source = Med3D(Attention, size, plan=CUBE, channels=1, classes=2)
        with pytest.raises(ConfigError, match="take the size, depth and channels of the run"):
            transfer(encoder_weights(source.state_dict()), target)
    with pytest.raises(ConfigError, match="another model"):
        encoder_weights(torch.nn.Linear(1, 1).state_dict())
