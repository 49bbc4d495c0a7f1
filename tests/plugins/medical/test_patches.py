"""Where training patches are cut."""

import numpy as np
import torch

from omniform_medical.augmentation import Augmentation
from omniform_medical.inference import PADDING
from omniform_medical.patches import MiddlePatches, TrainingPatches, cut
from omniform_medical.plan import Plan
from omniform_medical.prepared import Prepared


class Shelf(list):
    """Prepared cases with a plan, as a store has them."""

    def __init__(self, cases, plan):
        super().__init__(cases)
        self.plan = plan


def _plan(patch):
    return Plan(
        spacing=(1.0, 1.0, 1.0), patch=patch, strides=(), normalization=("zscore",), intensities=(), batch=2
    )  # fmt: skip


def _prepared(shape, voxel):
    label = np.zeros(shape, np.uint8)
    label[voxel] = 1
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    return Prepared("case", image, label, label, frame=None, like=None)


def test_foreground_is_in_the_middle_when_asked_for():
    shelf = Shelf([_prepared((20, 22, 24), (3, 19, 11))], _plan((5, 7, 9)))
    patches = TrainingPatches(shelf, foreground=1.0, how=Augmentation(), warped=None)
    for seed in range(5):
        torch.manual_seed(seed)
        patch = patches[0]
        assert patch.image.shape == (1, 5, 7, 9)
        assert patch.label[2, 3, 4] == 1
        assert patch.label.sum() == 1


def test_patches_without_preference_reach_every_corner():
    shelf = Shelf([_prepared((6, 6, 6), (0, 0, 0))], _plan((5, 5, 5)))
    patches = TrainingPatches(shelf, foreground=0.0, how=Augmentation(), warped=None)
    torch.manual_seed(0)
    firsts = {float(patches[0].image[0, 0, 0, 0]) for _ in range(60)}
    assert len(firsts) == 8  # the patch has two places along each axis


def test_beyond_the_volume_lies_what_prediction_shows():
    array = np.ones((2, 3, 3, 3), np.float32)
    out = cut(array, [0, 1, 2], (5, 3, 4))
    assert out.shape == (2, 5, 3, 4)
    assert (out[:, 2:5, :, :3] == 1).all()
    assert (out[:, :2] == PADDING).all()
    assert (out[..., 3] == PADDING).all()


def test_planes_lose_their_last_axis():
    shelf = Shelf([_prepared((10, 12, 4), (5, 5, 2))], _plan((6, 8, 1)))
    for warped in (True, False, None):
        patch = TrainingPatches(shelf, foreground=0.5, how=Augmentation(), warped=warped)[0]
        assert patch.image.shape == (1, 6, 8)
        assert patch.label.shape == (6, 8)
    assert MiddlePatches(shelf)[0].image.shape == (1, 6, 8)


def test_same_seed_same_patch():
    shelf = Shelf([_prepared((20, 22, 24), (3, 19, 11))], _plan((8, 8, 8)))
    patches = TrainingPatches(shelf, foreground=0.3, how=Augmentation(mirror=(0,)), warped=True)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(patches[0])
    assert torch.equal(drawn[0].image, drawn[1].image)
    assert torch.equal(drawn[0].label, drawn[1].label)
