"""The task through the contract that the shared commands rely on, and what the shared trainer is told."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from omniform.classification import Predictions, confusion
from omniform.configuration import split_names
from omniform.errors import ConfigError
from omniform.task import Size
from omniform.testing import check_task
from omniform_medical.classification.augmentation import Augmentation
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.figures import classification_figures
from omniform_medical.classification.network import PictureDataset, classify_network, cross_entropy
from omniform_medical.classification.task import Classify

TASK = Classify()
SIZE = Size(dim=16, hidden=16, depth=1)


@pytest.fixture(scope="module")
def folder(make_album, write_album, tmp_path_factory):
    return write_album(make_album(), tmp_path_factory.mktemp("stripes"))


@pytest.mark.parametrize(
    ("model", "mixer"),
    [
        ("pyramid", "attention"),
        ("pyramid", "gla"),
        ("dct-histotransformer", "attention"),
        ("duoformer", "attention"),
        ("fetal-plane", "attention"),
        ("fetal-plane", "mlp-mixer"),
    ],
)
def test_the_task_keeps_its_contract(folder, model, mixer):
    check_task(TASK, ClassifyConfig(model=model, class_weights="balanced"), source=folder, mixer=mixer, suffix=".csv")


@pytest.mark.slow
def test_the_sample_keeps_the_contract(needs_sample):
    check_task(TASK, ClassifyConfig(image=(32, 32)), suffix=".csv")


@pytest.mark.parametrize(
    "options",
    [
        {"image": (4, 64)},
        {"image": (64,)},
        {"channels": 2},
        {"keep": 0.0},
        {"shift": 0.6},
        {"dropout": 1.0},
        {"split": "0.5,0.6,0.1"},
        {"split": "most"},
        {"classes": "one"},
        {"classes": "a,a"},
        {"group": "("},
        {"flip": "z"},
        {"model": "vit"},
        {"split_seed": -1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        ClassifyConfig(**options)


def test_resolving_writes_down_what_the_data_says(make_album):
    config = TASK.resolve(make_album(channels=3), ClassifyConfig())
    assert split_names(config.classes) == ("across", "down", "slanted")
    assert (config.image, config.channels) == ((16, 12), 3)
    with pytest.raises(ConfigError, match="resolve"):
        classify_network(ClassifyConfig(), "attention")
    with pytest.raises(ConfigError):
        classify_network(config, "no-such-mixer")


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_what_is_learnt_comes_from_training_alone(make_album, weights):
    album = make_album(90)
    labels = tuple("across" if i < 30 else label for i, label in enumerate(album.labels))
    album = replace(album, labels=labels)
    config = TASK.resolve(album, ClassifyConfig(class_weights=weights))
    splits = TASK.split(album, config)
    network = TASK.network(splits, config, "attention")
    module = network.build(SIZE)
    network.initialize(module, replace(splits, test=splits.train.take([0]), validation=splits.train.take([1])))
    pixels = splits.train.pixels.astype(np.float64)
    assert module.center.item() == pytest.approx(pixels.mean(), rel=1e-5)
    assert module.spread.item() == pytest.approx(pixels.std(), rel=1e-5)
    count = np.bincount(splits.train.targets(split_names(config.classes)))
    expected = count.sum() / (3 * count) if weights == "balanced" else np.ones(3)
    np.testing.assert_allclose(module.class_weights, expected, rtol=1e-5)
    batch = default_collate(network.dataset(splits.train, False).__getitems__([0, 1, 2, 3]))
    loss = cross_entropy(module.eval(), batch, generator=torch.Generator()).total
    chances = network.decode(module, batch).gather(1, batch[1][:, None])[:, 0]
    weight = torch.tensor(expected)[batch[1]]
    assert loss.item() == pytest.approx((-(chances.log() * weight).sum() / weight.sum()).item(), rel=1e-4)


def test_training_pictures_are_varied_and_others_are_not(make_album):
    album = make_album(6)
    config = TASK.resolve(album, ClassifyConfig())
    network = TASK.network(None, config, "attention")
    plain, varied = network.dataset(album, False), network.dataset(album, True)
    np.testing.assert_array_equal(plain[2][0][0], album.pixels[2, ..., 0])
    torch.manual_seed(0)
    first = varied[2][0]
    assert not torch.equal(first, varied[2][0])
    torch.manual_seed(0)
    assert torch.equal(first, varied[2][0])
    strangers = replace(album, labels=("x",) * 6)
    assert PictureDataset(strangers, classes=("a", "b")).targets.tolist() == [-1] * 6


def test_augmentation_moves_mirrors_and_relights():
    x = torch.arange(48.0).reshape(1, 1, 6, 8).expand(64, 1, 6, 8)
    torch.manual_seed(0)
    flipped = Augmentation(flip="x")(x)
    assert {tuple(p[0, 0].tolist()) for p in flipped} == {tuple(range(8)), tuple(range(7, -1, -1))}
    moved = Augmentation(shift=0.25)(x)
    corners = {int(p[0, 3, 4]) for p in moved}
    assert corners <= {8 * (3 + down) + 4 + right for down in (-1, 0, 1) for right in (-2, -1, 0, 1, 2)}
    assert len(corners) > 5
    lit = Augmentation(brightness=0.1)(x)
    assert torch.corrcoef(torch.stack([lit[0].flatten(), x[0].flatten()]))[0, 1] > 0.999
    assert 0.05 < (lit.mean(dim=(1, 2, 3)) - x.mean()).std() / x.std() < 0.2
    assert torch.equal(Augmentation()(x), x)


def test_the_network_can_be_sent_to_another_process(make_album):
    album = make_album()
    config = TASK.resolve(album, ClassifyConfig(model="dct-histotransformer", keep=0.25))
    network = pickle.loads(pickle.dumps(TASK.network(TASK.split(album, config), config, "attention")))
    model = network.build(SIZE)
    assert model.head[-1].out_features == 3
    assert model.stages[0][0].frequencies.transform.rows.shape == (4, 16)


def test_new_pictures_need_no_labels_and_take_the_size_of_training(folder, make_album):
    config = TASK.resolve(make_album(), ClassifyConfig(group=r"k\d"))
    items = TASK.predictor_items(folder / "across", replace(config, image=(10, 8), channels=3))
    assert (items.labels, items.pixels.shape[1:]) == (None, (10, 8, 3))


def test_of_data_with_parts_the_test_is_predicted(make_album, write_album, tmp_path):
    source = write_album(make_album(12, parts=["train"] * 8 + ["test"] * 4), tmp_path)
    assert len(TASK.predictor_items(source, ClassifyConfig())) == 4


def test_the_confusion_matrix_counts(make_album):
    album = replace(make_album(4), labels=("a", "a", "b", "b"))
    told = Predictions(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]), ("a", "b"), album)
    assert confusion(told, album).tolist() == [[1, 1], [0, 2]]
    figures = list(classification_figures({"one": told, "$two": told}, album))
    assert [figure.name for figure in figures] == ["confusion", "pictures"]
