"""Losses beside MONAI's, straight-line formulas in float64, and their behaviour at the edges."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from omniform_medical.losses import deep_supervision, dice_cross_entropy, region_tversky, tversky_cross_entropy


def example(shape: tuple[int, ...] = (7, 9, 5), classes: int = 4, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(batch, classes, *shape, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, classes, (batch, *shape), dtype=torch.uint8)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("shape", [(7, 9, 5), (11, 6)])
def test_dice_and_cross_entropy_equal_monai(shape: tuple[int, ...], per_sample: bool):
    from monai.losses.dice import DiceCELoss

    theirs = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=not per_sample,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )
    logits, labels = example(shape)
    expected = theirs(logits, labels[:, None].long())
    ours = dice_cross_entropy(logits, labels, per_sample=per_sample)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    (a,), (b,) = torch.autograd.grad(ours, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_tversky_of_one_region_is_soft_dice():
    from monai.losses.dice import DiceLoss
    from monai.losses.tversky import TverskyLoss

    logits, labels = example()
    ours = region_tversky(logits, labels, regions=1, least=0.5, share=0.0)
    common = {"include_background": False, "to_onehot_y": True, "softmax": True, "batch": True}
    dice = DiceLoss(**common, smooth_nr=0, smooth_dr=0)(logits, labels[:, None].long())
    tversky = TverskyLoss(**common, alpha=0.5, beta=0.5, smooth_nr=0, smooth_dr=0)(logits, labels[:, None].long())
    torch.testing.assert_close(ours, dice, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours, tversky, rtol=0, atol=1e-4)


def test_region_tversky_equals_a_loop_over_regions():
    logits, labels = example((4, 6, 8), classes=3)
    p, terms = logits.softmax(dim=1), []
    for k, x, y, z in itertools.product((1, 2), (0, 2), (0, 3), (0, 4)):
        q = p[:, k, x : x + 2, y : y + 3, z : z + 4]
        t = (labels[:, x : x + 2, y : y + 3, z : z + 4] == k).double()
        tp, fp, fn = (part.sum() / 24 for part in (q * t, q * (1 - t), (1 - q) * t))
        alpha = 0.3 + 0.4 * (fp + 5e-6) / (fp + fn + 1e-5)
        terms.append((tp + 1e-5) / (tp + alpha * fp + (1 - alpha) * fn + 1e-5))
    torch.testing.assert_close(region_tversky(logits, labels, regions=2), 1 - torch.stack(terms).mean())


@pytest.mark.parametrize("loss", [dice_cross_entropy, region_tversky, tversky_cross_entropy])
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_gradients_are_finite_without_foreground_and_with_certainty(loss, scale: float):
    for wanted in (0, 2):
        logits = (scale * torch.randn(2, 3, 5, 4, 3, generator=torch.Generator().manual_seed(1))).requires_grad_()
        value = loss(logits, torch.full((2, 5, 4, 3), wanted))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", [dice_cross_entropy, region_tversky, tversky_cross_entropy])
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much(loss):
    _, labels = example((6, 5, 4), classes=3)
    right = 40 * F.one_hot(labels.long(), 3).movedim(-1, 1).float()
    assert loss(right, labels) < 1e-4
    assert loss(right.roll(1, dims=1), labels) > 0.9


@pytest.mark.parametrize("loss", [dice_cross_entropy, region_tversky, tversky_cross_entropy])
def test_sums_run_in_float32_under_autocast(loss):
    logits, labels = example((40, 40, 20), classes=3, batch=2)
    half = logits.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(half.double(), labels), rtol=1e-5, atol=1e-6)


def test_coarser_logits_weigh_half_and_see_the_nearest_voxel():
    fine, labels = example((7, 9, 5), classes=3)
    coarse = torch.randn(3, 3, 4, 5, 5, dtype=torch.float64)
    few = labels[:, [0, 1, 3, 5]][:, :, [0, 1, 3, 5, 7]]  # floor(i 7 / 4), floor(i 9 / 5)
    expected = (dice_cross_entropy(fine, labels) + 0.5 * dice_cross_entropy(coarse, few)) / 1.5
    torch.testing.assert_close(deep_supervision(dice_cross_entropy, (fine, coarse), labels), expected)
    alone = deep_supervision(dice_cross_entropy, (fine,), labels)
    torch.testing.assert_close(alone, dice_cross_entropy(fine, labels))
