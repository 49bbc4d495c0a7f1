"""The task `segment` from files to files, on the embedded sample."""

import nibabel
import numpy as np
import pytest
import torch

from omniform import commands
from omniform.errors import ConfigError
from omniform.estimator import NetworkPredictor
from omniform.serial import from_json, to_json
from omniform.task import Budget, Size
from omniform.testing import check_task
from omniform.training.config import Training
from omniform.training.sampler import read_items
from omniform_medical.config import SegmentConfig
from omniform_medical.plan import Plan
from omniform_medical.task import Segment

TASK = Segment()
SMALL = {"spacing": (4.0, 4.0, 4.0), "patch": (16, 16, 16), "stages": 3, "batch": 2}
TRAINING = Training(precision="32", device="cpu", validate_every=1.0)


@pytest.mark.parametrize("patch", [(16, 16, 16), (20, 24, 1)])
def test_contract(patch):
    config = SegmentConfig(**(SMALL | {"patch": patch, "stages": 2}))
    check_task(TASK, config, mixer="linear-attention")


def test_resolved_config_is_the_whole_plan():
    config = SegmentConfig(stages=2)
    cohort = TASK.read("sample", config)
    resolved = TASK.resolve(cohort, config)
    again = from_json(SegmentConfig, to_json(resolved), where="test")
    assert again == resolved
    plan = Plan.of(resolved)
    assert len(plan.strides) == 1
    assert plan.rank == 3
    assert "1=grey matter" in resolved.labels or "grey" in resolved.labels


def test_planes_are_not_mirrored_upwards():
    config = SegmentConfig(**(SMALL | {"patch": (20, 24, 1), "stages": 2, "mirror": "xz"}))
    with pytest.raises(ConfigError, match="of x and y"):
        TASK.resolve(TASK.read("sample", config), config)


def test_test_cases_have_no_say(monkeypatch):
    """Neither plan nor normalisation nor training reads a case that is tested on."""
    config = SegmentConfig(**SMALL)
    cohort = TASK.read("sample", config)
    held = {case.name for case in TASK.split(cohort, config).test.cases}
    read = []
    original = type(cohort).read

    def spy(self, index):
        read.append(self.cases[index].name)
        return original(self, index)

    monkeypatch.setattr(type(cohort), "read", spy)
    resolved = TASK.resolve(cohort, SegmentConfig())
    splits = TASK.split(cohort, resolved)
    TASK.network(splits, resolved, "linear-attention")
    assert read
    assert not held & set(read)


def test_trains_resumes_and_predicts(tmp_path):
    """A run that was stopped goes on at its step; its predictions lie on the input's own grid, to the bit."""
    config = SegmentConfig(**SMALL)

    def run(name, steps, resume=False):
        return commands.train(
            TASK, "sample", config, domain="medical", mixer="linear-attention", budget=Budget(steps=steps),
            training=TRAINING, params=60_000, depth=1, seed=0, out=tmp_path / name, resume=resume, progress=False,
        )  # fmt: skip

    report = run("run", 3)
    assert {"dice", "nsd", "hd95", "ece", "dice-grey matter", "dice-white matter"} == set(report.metrics)
    assert report.floor["dice"] > 0.5
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    case = TASK.read("sample", config).cases[0]
    told = commands.predict(tmp_path / "run", [str(case.images[0])], tmp_path / "told.nii.gz")
    source, result = nibabel.load(case.images[0]), nibabel.load(told.outputs[0])
    assert np.array_equal(source.affine, result.affine)
    assert source.shape == result.shape
    assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2}


def test_temperature_is_fitted_and_saved():
    """Calibration leaves classes as they were and changes how sure the network says it is."""
    config = SegmentConfig(**SMALL)
    cohort = TASK.read("sample", config)
    config = TASK.resolve(cohort, config)
    splits = TASK.split(cohort, config)
    network = TASK.network(splits, config, "linear-attention")
    torch.manual_seed(0)
    model = network.build(Size(dim=8, hidden=16, depth=1))
    with torch.no_grad():
        for head in model.model.head:
            head.weight.mul_(40)
    batch = read_items(network.dataset(splits.validation, False), [0, 1])
    with torch.no_grad():
        before = network.decode(model.eval(), batch)
        network.calibrate(NetworkPredictor(model, network, 2), splits)
        after = network.decode(model, batch)
    assert model.temperature > 1.5
    assert torch.equal(before.argmax(1), after.argmax(1))
    assert (after.amax(1) <= before.amax(1) + 1e-6).all()
    torch.testing.assert_close(after.sum(1), torch.ones_like(after[:, 0]))
