"""One encoder from two data sets, and a network that starts from it."""

import pytest
import torch

from omniform import commands
from omniform.errors import ConfigError, RunError
from omniform.task import Budget, Size
from omniform.training.config import Training
from omniform_medical.co_training import co_train, load_encoder
from omniform_medical.config import SegmentConfig
from omniform_medical.task import Segment

SMALL = {"spacing": (4.0, 4.0, 4.0), "patch": (16, 16, 16), "stages": 3, "batch": 2}
TRAINING = Training(precision="32", device="cpu", validate_every=1.0)
TASK = Segment()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    out = tmp_path_factory.mktemp("co") / "encoder"
    co_train(
        ["sample", "sample"], SegmentConfig(**SMALL), params=40_000, depth=1, budget=Budget(steps=4),
        training=TRAINING, seed=0, out=out, progress=False,
    )  # fmt: skip
    return out


def test_it_learns_from_both(encoder):
    described, weights = load_encoder(encoder)
    assert described.losses[1] < described.losses[0]
    assert described.sources == ("sample", "sample")
    assert all(not name.startswith("branches") for name in weights)


def test_a_network_starts_from_it(encoder, tmp_path):
    """Its encoder is the trained one before the first step, whatever the size of its own branch."""
    described, weights = load_encoder(encoder)
    config = SegmentConfig(**SMALL, model="med3d", encoder=encoder)
    cohort = TASK.read("sample", config)
    resolved = TASK.resolve(cohort, config)
    size = described.size
    assert resolved.encoder_size == (size.dim, size.hidden, size.depth)
    splits = TASK.split(cohort, resolved)
    network = TASK.network(splits, resolved, "attention")
    model = network.build(Size(dim=48, hidden=16, depth=1))
    network.initialize(model, splits)
    for name, value in weights.items():
        torch.testing.assert_close(model.model.encoder.state_dict()[name], value)
    report = commands.train(
        TASK, "sample", config, domain="medical", mixer="attention", budget=Budget(steps=2), training=TRAINING,
        params=50_000, depth=1, seed=0, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    encoder.rename(encoder.with_name("moved"))
    try:
        told = commands.evaluate(tmp_path / "run", "sample")  # the run holds all it needs
    finally:
        encoder.with_name("moved").rename(encoder)
    assert told.metrics["dice"] == pytest.approx(report.metrics["dice"])


def test_mistakes_are_one_line(encoder, tmp_path):
    def run(sources, out):
        co_train(
            sources, SegmentConfig(**SMALL), params=40_000, depth=1, budget=Budget(steps=1), training=TRAINING,
            seed=0, out=out, progress=False,
        )  # fmt: skip

    with pytest.raises(ConfigError, match="at least two data sets"):
        run(["sample"], tmp_path / "a")
    with pytest.raises(ConfigError, match="holds something"):
        run(["sample", "sample"], encoder)
    with pytest.raises(RunError, match="co-train"):
        load_encoder(tmp_path)
    with pytest.raises(ConfigError, match="--model med3d"):
        SegmentConfig(encoder=encoder)
