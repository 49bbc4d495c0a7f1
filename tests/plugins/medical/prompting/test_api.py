import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from omniform.errors import ConfigError, DataError
from omniform.training.config import Training
from omniform_medical.cli.prompt import prompt
from omniform_medical.prompting.api import Prompter

VIT = (16, 4, 2, 8, 2, 16, 24)


@pytest.fixture(scope="module")
def prompter(blobs: Path) -> Prompter:
    learner = Prompter(
        params=120_000, side=32, vit=VIT, pretrain=0, planes=2, training=Training(batch_size=8, precision="32")
    )
    return learner.fit(blobs, budget="40", progress=False)


def test_a_fitted_network_beats_chance_and_answers_for_planes_and_volumes(prompter: Prompter, blobs: Path):
    path = blobs / "images" / "case9.nii.gz"
    label = np.asanyarray(nibabel.nifti1.load(blobs / "labels" / "case9.nii.gz").dataobj)
    volume = nibabel.nifti1.load(path).get_fdata(dtype=np.float32)
    plane = int(np.argmax((label > 0).sum((0, 1))))
    x, y = np.nonzero(label[..., plane])
    box = (x.min(), y.min(), x.max(), y.max())
    answer = prompter.ask(path, box=box, plane=plane)
    assert answer.mask.shape == volume.shape
    assert not np.delete(answer.mask, plane, axis=2).any()
    assert 0 <= answer.quality <= 1
    assert np.array_equal(prompter.predict(volume, box=box, plane=plane), answer.mask)
    assert np.array_equal(prompter.predict(volume[..., plane], box=box), answer.mask[..., plane])
    truth, mask = label[..., plane] > 0, answer.mask[..., plane]
    assert 2 * (truth & mask).sum() / (truth.sum() + mask.sum()) > 0.6


def test_scores_stand_beside_the_floors(prompter: Prompter):
    scores = prompter.evaluate()
    assert list(scores) == ["attention", "rule", "ellipse", "threshold"]
    assert all(set(values) == {"dice", "iou"} for values in scores.values())


def test_prompts_that_cannot_be_answered_are_refused(prompter: Prompter):
    volume = np.random.default_rng(0).normal(size=(20, 17, 4))
    box = (3, 3, 9, 9)
    refused = [
        ({"box": box}, "expected a plane"),
        ({"box": box, "plane": 4}, "from 0 to 3"),
        ({"plane": 1}, "either a box or points"),
        ({"box": box, "points": [(1, 2)], "plane": 1}, "either a box or points"),
        ({"box": (9, 3, 3, 9), "plane": 1}, "x0 <= x1"),
        ({"box": (30, 3, 33, 9), "plane": 1}, "within the plane"),
        ({"points": [(1, 2, 3)], "plane": 1}, "pairs"),
        ({"points": [(1, 2)], "marks": [0], "plane": 1}, "a mark of 1 or 0"),
        ({"points": [(1, 2)], "plane": 1}, "trained with a box"),
    ]
    for options, message in refused:
        with pytest.raises(ConfigError, match=message):
            prompter.ask(volume, **options)
    with pytest.raises(DataError, match="finite"):
        prompter.ask(np.full((5, 5), np.nan), box=(1, 1, 2, 2))
    with pytest.raises(DataError, match="of one shape"):
        prompter.ask([np.zeros((5, 5)), np.zeros((5, 6))], box=(1, 1, 2, 2))
    with pytest.raises(ConfigError, match="nothing was fitted"):
        Prompter().predict(volume, box=box, plane=1)


def test_a_saved_network_answers_the_same_through_the_command(prompter: Prompter, blobs: Path, tmp_path: Path):
    prompter.save(tmp_path / "run")
    app = Typer()
    app.command()(prompt)
    path, out = blobs / "images" / "case9.nii.gz", tmp_path / "mask.nii.gz"
    arguments = [str(tmp_path / "run"), str(path), "--box", "4,3,14,12", "--plane", "1", "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    written = nibabel.nifti1.load(out)
    expected = prompter.predict(path, box=(4, 3, 14, 12), plane=1)
    assert np.array_equal(np.asanyarray(written.dataobj) > 0, expected)
    assert np.array_equal(written.affine, nibabel.nifti1.load(path).affine)
    assert told["voxels"] == expected.sum()
    assert told["mm2"] == pytest.approx(told["voxels"] * 0.88)
    broken = CliRunner().invoke(app, [*arguments[:3], "4,3,14", *arguments[4:]])
    assert isinstance(broken.exception, ConfigError)
