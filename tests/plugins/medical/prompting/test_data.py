from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omniform.errors import ConfigError, DataError
from omniform_medical.cohort import read_cohort
from omniform_medical.prompting.config import PromptConfig
from omniform_medical.prompting.data import box_of, enlarge, normalized, read_prompts
from omniform_medical.prompting.network import AskDataset
from omniform_medical.prompting.square import Square

CONFIG = PromptConfig(planes=2, side=32, vit=(16, 4, 2, 8, 2, 32, 24))


def test_asks_hold_a_plane_a_truth_and_a_box_around_it(blobs: Path):
    cohort = read_cohort(blobs, CONFIG)
    items = read_prompts(cohort, CONFIG)
    assert len(items) == 20
    assert items.values == (0, 3)
    for ask in items.asks:
        assert ask.truth is not None
        assert ask.box is not None
        case = [case.name for case in cohort.cases].index(ask.case)
        volume = cohort.read(case)
        assert volume.label is not None
        assert np.array_equal(ask.truth, volume.label[..., ask.plane] == ask.label)
        tight = box_of(ask.truth)
        most = CONFIG.jitter * np.tile(tight[2:] - tight[:2] + 1, 2)
        outward = (ask.box - tight) * [-1, -1, 1, 1]
        assert (outward >= 0).all()
        assert (outward <= most).all()
        assert abs(float(ask.image.mean())) < 1e-5


def test_prompts_depend_on_the_seed_and_not_on_the_other_cases(blobs: Path):
    cohort = read_cohort(blobs, CONFIG)
    whole, part = read_prompts(cohort, CONFIG), read_prompts(cohort.take([3, 7]), CONFIG)
    alike = {(ask.case, ask.plane): ask.box for ask in whole.asks}
    assert all(np.array_equal(alike[ask.case, ask.plane], ask.box) for ask in part.asks)
    other = read_prompts(cohort, replace(CONFIG, prompt_seed=1))
    assert not any(np.array_equal(a.box, b.box) for a, b in zip(whole.asks, other.asks, strict=True))


def test_a_click_lies_on_the_object(blobs: Path):
    items = read_prompts(read_cohort(blobs, CONFIG), replace(CONFIG, prompt="click"))
    for ask in items.asks:
        assert ask.truth is not None
        assert ask.points is not None
        assert ask.truth[tuple(ask.points[0].astype(int))]


def test_labels_too_small_or_absent_are_refused(blobs: Path):
    cohort = read_cohort(blobs, CONFIG)
    with pytest.raises(DataError, match="lower --smallest"):
        read_prompts(cohort, replace(CONFIG, smallest=1000))
    unlabelled = replace(cohort, cases=tuple(replace(case, label=None) for case in cohort.cases))
    with pytest.raises(DataError, match="no labels to draw a prompt from"):
        read_prompts(unlabelled, CONFIG)


def test_boxes_grow_outward_and_even_planes_are_normalised():
    assert enlarge(np.array([2.0, 3, 5, 4]), np.full(4, 0.5)).tolist() == [0, 2, 7, 5]
    assert np.array_equal(normalized(np.full((1, 3, 3), 7.0)), np.zeros((1, 3, 3)))


@pytest.mark.parametrize("shape", [(20, 17), (9, 40), (32, 32), (1, 5)])
def test_the_square_keeps_places_and_gives_masks_back(shape: tuple[int, int]):
    square = Square(shape, 32)
    truth = np.zeros(shape, bool)
    truth[shape[0] // 4 : shape[0] // 2 + 1, shape[1] // 4 : shape[1] // 2 + 1] = True
    covered = square.truth(truth)
    assert covered.shape == (32, 32)
    x, y = (int(n) // 2 for n in np.argwhere(truth).sum(0) / truth.sum() * 2)
    column, row = square.points(np.array([[x, y]]))[0].round().long().tolist()
    assert covered[row, column] > 0.5
    back = square.mask(8 * (covered - 0.5))
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.8


def test_channels_repeat_to_three_and_more_are_refused():
    plane = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    assert Square((4, 4), 4).image(plane).mean((1, 2)).tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="at most 3 channels"):
        Square((4, 4), 4).image(np.zeros((4, 4, 4), np.float32))


def test_training_draws_new_prompts_and_mirrors_image_truth_and_prompt_together(blobs: Path):
    items = read_prompts(read_cohort(blobs, CONFIG), CONFIG)
    dataset = AskDataset(items, CONFIG, train=True)
    torch.manual_seed(0)
    drawn = [dataset[0] for _ in range(8)]
    assert len({tuple(item["boxes"].tolist()) for item in drawn}) == 8
    for item in drawn:
        rows, columns = torch.nonzero(item["truth"] > 0.5, as_tuple=True)
        x0, y0, x1, y1 = item["boxes"].tolist()
        assert x0 - 1 <= columns.min() <= columns.max() <= x1 + 1
        assert y0 - 1 <= rows.min() <= rows.max() <= y1 + 1
        inside = item["images"][0][item["truth"] > 0.9].mean()
        assert inside > item["images"][0][item["truth"] == 0].mean()  # the blob is bright


def test_a_prompt_of_another_kind_is_refused(blobs: Path):
    items = read_prompts(read_cohort(blobs, CONFIG), CONFIG)
    with pytest.raises(ConfigError, match="trained with a click"):
        AskDataset(items, replace(CONFIG, prompt="click"), train=False)[0]


@pytest.mark.parametrize(
    "options", [{"jitter": -0.1}, {"planes": 0}, {"vit": (1, 2)}, {"vit": (16, 4, 2, 8, 2, 32, 24), "side": 30}]
)
def test_options_out_of_range_are_refused(options: dict):
    with pytest.raises(ConfigError, match="expected"):
        PromptConfig(**options)
