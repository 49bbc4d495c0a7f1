"""The task through the contract that the shared commands rely on, and what the shared trainer is told."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import default_collate

from omniform.classification import Predictions, confusion
from omniform.configuration import split_names
from omniform.errors import ConfigError, DataError
from omniform.task import Size
from omniform.testing import check_task
from omniform_timeseries.classification.config import ClassifyConfig
from omniform_timeseries.classification.figures import classification_figures
from omniform_timeseries.classification.network import CaseDataset, classify_network
from omniform_timeseries.classification.task import Classify

TASK = Classify()
SMALL = ClassifyConfig(kernels=100, shapes=6, intervals=6)
SIZE = Size(dim=16, hidden=16, depth=1)


@pytest.fixture
def table(levels, tmp_path):
    path = tmp_path / "levels.csv"
    levels.frame().to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("model", "mixer", "suffix"),
    [("patch", "attention", ".csv"), ("patch", "gla", ".parquet"), ("vsformer", "attention", ".csv.gz"),
     ("vsformer", "mlp-mixer", ".csv")],
)  # fmt: skip
def test_the_task_keeps_its_contract(table, model, mixer, suffix):
    check_task(TASK, replace(SMALL, model=model), source=table, mixer=mixer, suffix=suffix)


def test_the_sample_keeps_the_contract(needs_sample):
    check_task(TASK, SMALL, suffix=".csv")


def test_mixers_that_refuse_padding_take_stretched_cases(table):
    check_task(TASK, replace(SMALL, align="stretch"), source=table, mixer="mlp-mixer", suffix=".csv")


def test_resolving_writes_down_what_the_data_says(levels):
    config = TASK.resolve(levels, SMALL)
    assert split_names(config.classes) == ("high", "low", "mid")
    assert split_names(config.channels) == ("c0", "c1")
    assert (config.length, config.patch, config.shape) == (12, 1, 3)
    with pytest.raises(ConfigError, match="resolve"):
        classify_network(SMALL, "attention")
    with pytest.raises(ConfigError):
        classify_network(config, "no-such-mixer")


def test_names_with_commas_and_quotes_survive(make_collection):
    cases = make_collection([[[0.0]]] * 6, ['a, "b"', "c"] * 3)
    assert split_names(TASK.resolve(cases, SMALL).classes) == ('a, "b"', "c")


def test_items_are_padded_stretched_or_shortened(make_collection):
    cases = make_collection([[[0.0], [np.nan], [4.0]], [[1.0]], np.arange(9.0)[:, None]], ["a", "b", "x"])
    values, mask, target = CaseDataset(cases.take([0]), classes=("a", "b"), length=5, stretch=False)[0]
    assert values[:, 0].tolist() == [0, 2, 4, 0, 0]
    assert mask.tolist() == [True] * 3 + [False] * 2
    assert target == 0
    assert CaseDataset(cases, classes=("a", "b"), length=5, stretch=False).targets.tolist() == [-1] * 3
    stretched = CaseDataset(cases, classes=("a", "b"), length=5, stretch=True)
    assert stretched[0][0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert stretched[1][0][:, 0].tolist() == [1] * 5
    assert stretched[2][0][:, 0].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("model", ["patch", "vsformer"])
def test_what_is_learnt_comes_from_training_alone(levels, model):
    config = replace(TASK.resolve(levels, SMALL), model=model)
    splits = TASK.split(levels, config)
    shuffled = replace(splits.test, labels=splits.test.labels[::-1])
    states = []
    for test in (splits.test, shuffled):
        network = TASK.network(splits, config, "attention")
        torch.manual_seed(0)
        module = network.build(SIZE)
        network.initialize(module, replace(splits, test=test, validation=test))
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["center"], torch.zeros(2))


def test_a_counter_that_stands_high_is_seen_as_it_moves(levels):
    config = TASK.resolve(levels, SMALL)
    lifted = replace(levels, values=tuple(case + 1e9 for case in levels.values))
    told = []
    for cases in (levels, lifted):
        splits = TASK.split(cases, config)
        network = TASK.network(splits, config, "attention")
        torch.manual_seed(0)
        module = network.build(SIZE).eval()
        network.initialize(module, splits)
        dataset = network.dataset(splits.test, False)
        with torch.no_grad():
            told.append(network.decode(module, default_collate([dataset[i] for i in range(len(dataset))])))
    torch.testing.assert_close(told[0], told[1], rtol=1e-4, atol=1e-5)


def test_the_network_can_be_sent_to_another_process(levels):
    config = TASK.resolve(levels, SMALL)
    network = pickle.loads(pickle.dumps(TASK.network(TASK.split(levels, config), config, "attention")))
    assert network.build(SIZE).head.out_features == 3


def test_new_input_needs_the_channels_of_training_and_no_labels(levels):
    config = TASK.resolve(levels, SMALL)
    assert TASK.predictor_items(levels.frame().drop(columns="label"), config).labels is None
    with pytest.raises(DataError, match="no channel 'c1'"):
        TASK.predictor_items(levels.frame().drop(columns="c1"), config)


def test_one_point_series_with_gaps_go_through(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        for t in range(1 + i % 2):
            rows.append((f"k{i}", t, "ab"[i % 2], rng.normal() if t else np.nan, 1.0 + i % 2))
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "label", "u", "v"])
    for model in ("patch", "vsformer"):
        path = tmp_path / f"{model}.parquet"
        frame.to_parquet(path)
        check_task(TASK, replace(SMALL, model=model), source=path, suffix=".csv")


def test_the_confusion_matrix_counts(make_collection):
    cases = make_collection([[[0.0]]] * 4, ["a", "a", "b", "b"])
    told = Predictions(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]), ("a", "b"), cases)
    assert confusion(told, cases).tolist() == [[1, 1], [0, 2]]
    figures = list(classification_figures({"one": told, "$two": told}, cases))
    assert [figure.name for figure in figures] == ["confusion", "cases"]
