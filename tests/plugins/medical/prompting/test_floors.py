import numpy as np
import pytest

from omniform.task import Splits
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.prompting.data import Ask, Prompts, box_of
from omniform_medical.prompting.floors import better_rule, ellipse, threshold
from omniform_medical.prompting.masks import Masks
from omniform_medical.prompting.metrics import score

SHAPE = (24, 20)


def disc(middle: tuple[float, float], radius: float) -> np.ndarray:
    x, y = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius**2


def prompts(*truths: np.ndarray, click: bool = False, images: list[np.ndarray] | None = None) -> Prompts:
    asks = []
    for index, truth in enumerate(truths):
        image = (truth if images is None else images[index]).astype(np.float32)[None]
        case = f"case-{index // 2}"
        if click:
            middle = np.argwhere(truth).mean(axis=0)[None]
            asks.append(Ask(case, index % 2, 1, image, truth, points=middle, marks=np.ones(1, np.int64)))
        else:
            asks.append(Ask(case, index % 2, 1, image, truth, box=box_of(truth)))
    grid = Image(np.empty(0), Geometry((*SHAPE, 2), np.eye(4)), path=None)  # pyright: ignore[reportArgumentType]
    return Prompts(tuple(asks), {ask.case: grid for ask in asks}, ("background", "disc"), (0, 1))


def test_the_ellipse_has_the_area_of_an_ellipse_and_stays_in_its_box():
    box = np.array([3.0, 4.0, 20.0, 13.0])
    mask = ellipse(np.zeros(SHAPE), box)
    assert mask.sum() == pytest.approx(np.pi / 4 * 18 * 10, rel=0.03)
    assert box_of(mask).tolist() == box.tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_threshold_finds_a_disc_brighter_or_darker_than_what_is_around(sign: int):
    truth = disc((11, 9), 5) & ~disc((16, 9), 2)
    noise = np.random.default_rng(0).normal(0, 0.1, SHAPE)
    box = np.add(box_of(truth), [-2, -2, 2, 2])
    mask = threshold(sign * truth + noise, box)
    assert np.array_equal(mask, truth)


def test_the_threshold_keeps_the_largest_piece_and_takes_all_of_an_even_plane():
    truth, speck = disc((11, 9), 4), disc((17, 9), 0.5)
    mask = threshold((truth | speck).astype(float), np.array([5.0, 3.0, 18.0, 15.0]))
    assert np.array_equal(mask, truth)
    even = threshold(np.zeros(SHAPE), np.array([2.0, 3.0, 4.0, 5.0]))
    assert even.sum() == 9


def test_the_floor_is_the_rule_that_is_better_on_validation():
    discs = prompts(disc((8, 8), 5), disc((14, 10), 4))
    flat = prompts(disc((8, 8), 5), disc((14, 10), 4), images=[np.zeros(SHAPE)] * 2)
    assert better_rule().fit(Splits(discs, discs, discs), seed=0).rule is threshold
    assert better_rule().fit(Splits(flat, flat, flat), seed=0).rule is ellipse


def test_a_click_gets_the_usual_extent_of_an_object():
    items = prompts(disc((8, 8), 5), disc((14, 10), 5), click=True, images=[np.zeros(SHAPE)] * 2)
    predictor = better_rule().fit(Splits(items, items, items), seed=0)
    assert predictor.extent.tolist() == [11, 11]
    assert score(predictor.predict(items), items).values()["dice"] > 0.9


def test_scores_are_means_over_the_asks_of_a_case_and_then_over_cases():
    truths = [disc((8, 8), 5), disc((14, 10), 4), disc((10, 10), 3)]
    items = prompts(*truths)  # two cases, of two asks and of one
    empty, whole = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    values = score(Masks([truths[0], empty, whole], None, items), items).values()
    area = truths[2].sum()
    assert values["dice"] == pytest.approx((0.5 + 2 * area / (area + whole.sum())) / 2)
    assert values["iou"] == pytest.approx((0.5 + area / whole.sum()) / 2)
