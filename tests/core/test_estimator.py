"""What a trained network does with items: batch by batch, or as its task streams them."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from omniform.errors import DataError
from omniform.estimator import NetworkPredictor, Validation
from omniform.task import Metric, Network, Scores, Statistic, Units


def _network(**own):
    return Network(
        build=lambda size: nn.Linear(1, 1),
        objective=None,
        dataset=lambda items, train: TensorDataset(items),
        decode=lambda model, batch: model(batch[0]),
        assemble=lambda decoded, items: torch.cat(list(decoded)),
        **own,
    )


def test_the_last_batch_is_predicted_too():
    model, items = nn.Linear(1, 1), torch.randn(7, 1)
    predicted = NetworkPredictor(model, _network(), 3).predict(items)
    torch.testing.assert_close(predicted, model(items).detach())
    with pytest.raises(DataError, match="at least one item"):
        NetworkPredictor(model, _network(), 3).predict(items[:0])


def test_a_task_that_streams_is_given_decode_and_items():
    """It sees results without gradients, of a model in eval mode, and its answer is the prediction."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.9))

    def stream(decode, items):
        parts = [decode([part]) for part in items.split(2)]
        assert not any(part.requires_grad for part in parts)
        return sum(part.sum() for part in parts)

    items = torch.randn(5, 1)
    network = replace(_network(), stream=stream, dataset=None, assemble=None)
    told = NetworkPredictor(model.train(), network, 3).predict(items)
    torch.testing.assert_close(told, model[0](items).sum().detach())


def test_validation_asks_for_the_primary_metric_alone():
    import numpy as np

    class Lazy(dict):
        def __getitem__(self, name):
            assert name == "error", f"{name} was computed during training"
            return Statistic(np.array([2.0, 4.0]), np.ones(2))

    class Task:
        def metrics(self, config):
            return Metric(name="error"), Metric(name="costly")

        def score(self, predictions, items, config):
            return Scores(Lazy(), Units(kind="group"))

    validate = Validation(Task(), None, _network(), torch.randn(2, 1), 2)
    assert validate(nn.Linear(1, 1)) == 3.0


def test_a_statistic_that_nothing_weighs_is_no_number():
    import numpy as np

    assert np.isnan(Statistic(np.zeros(3), np.zeros(3)).value())
