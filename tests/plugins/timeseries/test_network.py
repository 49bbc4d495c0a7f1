"""What the shared trainer is told about the networks."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from omniform.errors import ConfigError
from omniform.task import Size
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.data import Panel
from omniform_timeseries.network import WindowDataset, assemble, decode, forecast_network, mean_squared_error
from omniform_timeseries.task import Forecast
from omniform_timeseries.windows import latest_window, split_panel

CONFIG = ForecastConfig(lookback=24, horizon=6, season=24, eval_stride=1)


class Repeat(nn.Module):
    """Forecast `last + slope`, a line through the last two values, in any scale."""

    def __init__(self, unit):
        super().__init__()
        self.register_buffer("unit", torch.tensor(unit, dtype=torch.float32))

    def forward(self, history):
        slope = history[:, -1:] - history[:, -2:-1]
        return history[:, -1:] + slope * torch.arange(1, 7)[None, :, None]


def batches(items, size):
    dataset = WindowDataset(items)
    for start in range(0, len(dataset), size):
        yield torch.utils.data.default_collate([dataset[i] for i in range(start, min(start + size, len(dataset)))])


def test_a_round_trip_forecasts_in_the_datas_units_for_every_window(panel):
    items = split_panel(panel, CONFIG).test
    model = Repeat(items.scale.std)
    forecasts = assemble([decode(model, batch) for batch in batches(items, 16)], items)
    assert len(items) % 16  # the last batch is not whole
    slope = items.history()[:, -1:] - items.history()[:, -2:-1]
    expected = items.last() + slope * np.arange(1, 7)[None, :, None]
    # series c stands at a billion and moves by ten thousand: float32 alone would be off by 64
    np.testing.assert_allclose(forecasts.values, expected, atol=0.05, rtol=0)


def test_the_loss_is_in_training_variances(panel):
    items = split_panel(panel, CONFIG).train
    model = Repeat(items.scale.std)
    (history, future) = next(batches(items, 10_000))
    loss = mean_squared_error(model, (history, future), generator=torch.Generator()).total
    told = assemble([decode(model, (history, future))], items).values
    expected = np.square((told - items.future()) / items.scale.std).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_unknown_future_is_nan(panel):
    history, future = WindowDataset(latest_window(panel, CONFIG))[0]
    assert history.shape == (24, 3)
    assert future.shape == (6, 3)
    assert history[-1].tolist() == [0, 0, 0]
    assert future.isnan().all()


@pytest.mark.parametrize("model", ["patch", "itransformer", "patchtsmixer"])
def test_a_saved_network_keeps_the_units_of_its_training(panel, model):
    config = ForecastConfig(lookback=24, horizon=6, patch=8, stride=4, model=model)
    splits = split_panel(panel, config)
    network = pickle.loads(pickle.dumps(Forecast().network(splits, config, "attention")))
    size = Size(dim=8, hidden=16, depth=1)
    trained = network.build(size).eval()
    assert set(network.fixed) & {name for name, _ in trained.named_children()} >= {"stem", "head"}
    # at prediction new data is all there is, on another scale
    moved = Panel(panel.values * 100, panel.index, panel.names)
    other = forecast_network(config, "attention", unit=split_panel(moved, config).train.scale.std).build(size).eval()
    other.load_state_dict(trained.state_dict())
    batch = next(batches(splits.test, 4))
    with torch.no_grad():
        torch.testing.assert_close(network.decode(other, batch), network.decode(trained, batch))
    with torch.device("meta"):
        counted = network.build(size)
    assert sum(p.numel() for p in counted.parameters()) == sum(p.numel() for p in trained.parameters())


def test_an_unknown_mixer_is_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match="no mixer 'atention'"):
        forecast_network(CONFIG, "atention", unit=[1.0])
