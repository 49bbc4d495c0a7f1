"""What is done to a patch is done to its label, and nothing is done where nothing is asked for."""

import numpy as np
import torch

from omniform_medical.augmentation import Augmentation, crop, vary_intensities, warp

STILL = Augmentation(angle=0, scale=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_change_is_the_middle_of_the_region():
    image, label = torch.randn(2, 12, 9, 10), torch.randint(0, 4, (12, 9, 10), dtype=torch.uint8)
    for patch in ((8, 5, 6), (8, 5, 10)):
        seen, classes = warp(image, label, patch, STILL, _generator())
        middle, middle_label = crop(image, label, patch, STILL, _generator())
        torch.testing.assert_close(seen, middle, rtol=0, atol=1e-5)
        assert torch.equal(classes, middle_label)


def test_planes_stay_planes():
    image, label = torch.randn(1, 12, 12, 1), torch.randint(0, 4, (12, 12, 1), dtype=torch.uint8)
    seen, classes = warp(image, label, (8, 8, 1), Augmentation(), _generator())
    assert seen.shape == (1, 8, 8, 1)
    assert classes.shape == (8, 8, 1)
    assert seen.abs().max() > 0


def test_rotation_keeps_a_ball_and_its_size():
    """A ball in the middle looks the same from all sides, in image and label alike; its volume grows with scale^-3."""
    axes = np.indices((24, 24, 24)) - 11.5
    ball = torch.from_numpy((np.square(axes).sum(0) < 36).astype(np.uint8))
    turned = Augmentation(angle=0.6, scale=0, shift=0)
    for seed in range(3):
        seen, classes = warp(ball[None].float(), ball, (16, 16, 16), turned, _generator(seed))
        assert (classes != ball[4:20, 4:20, 4:20]).float().mean() < 0.04
        assert ((seen[0] > 0.5) != (classes > 0)).float().mean() < 0.04


def test_image_and_label_move_together():
    rng = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal((30, 30, 30)), 3)
    label = torch.from_numpy((field > 0).astype(np.uint8))
    image = torch.from_numpy(field[None].astype(np.float32))
    how = Augmentation(mirror=(0, 2))
    for seed in range(4):
        seen, classes = warp(image, label, (18, 20, 16), how, _generator(seed))
        inside = seen[0].abs() > 0.02  # away from borders and from beyond the volume
        assert ((seen[0] > 0) == (classes > 0))[inside].float().mean() > 0.98


def test_mirroring_flips_both():
    image, label = torch.randn(1, 6, 5, 4), torch.randint(0, 4, (6, 5, 4), dtype=torch.uint8)
    how = Augmentation(angle=0, scale=0, shift=0, mirror=(0,))
    seen = {torch.equal(crop(image, label, (6, 5, 4), how, _generator(seed))[1], label.flip(0)) for seed in range(20)}
    assert seen == {True, False}
    for seed in range(6):
        a, a_label = crop(image, label, (6, 5, 4), how, _generator(seed))
        if torch.equal(a_label, label.flip(0)):
            torch.testing.assert_close(a, image.flip(1))


def test_intensities_stay_finite_and_repeat():
    image = torch.randn(2, 6, 6, 6)
    for seed in range(20):
        varied = vary_intensities(image, Augmentation(), _generator(seed))
        assert varied.isfinite().all()
        assert torch.equal(varied, vary_intensities(image, Augmentation(), _generator(seed)))
    flat = torch.zeros(1, 4, 4, 4)
    assert all(vary_intensities(flat, Augmentation(), _generator(seed)).isfinite().all() for seed in range(10))
    torch.testing.assert_close(vary_intensities(image, STILL, _generator(3)), image, rtol=0, atol=1e-5)
