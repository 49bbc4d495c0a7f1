import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from safetensors.torch import save_file

from omniform.errors import ConfigError
from omniform.task import Size
from omniform.testing import check_task
from omniform_medical.cohort import read_cohort
from omniform_medical.prompting.config import PromptConfig
from omniform_medical.prompting.data import read_prompts
from omniform_medical.prompting.masks import Masks, write_masks
from omniform_medical.prompting.sam import Sam
from omniform_medical.prompting.shape import SMALL, SamShape
from omniform_medical.prompting.task import Prompt

VIT = (16, 4, 2, 8, 2, 32, 24)


@pytest.mark.parametrize("prompt", ["box", "click"])
def test_the_contract_holds_on_the_sample(prompt: str):
    config = PromptConfig(prompt=prompt, planes=1, side=32, vit=VIT, pretrain=1)  # pyright: ignore[reportArgumentType]
    check_task(Prompt(), config)


def test_side_and_shape_are_planned_from_the_data(blobs: Path):
    task, config = Prompt(), PromptConfig()
    resolved = task.resolve(task.read(blobs, config), config)
    assert (resolved.side, resolved.vit) == (32, SMALL.numbers)


def test_a_checkpoint_tells_shape_and_side_and_fills_the_network(blobs: Path, tmp_path: Path):
    shape = SamShape(width=16, layers=8, heads=2, patch=8, window=2, decoder=32, hidden=24)
    sam = Sam(shape, 48)
    path = tmp_path / "sam.safetensors"
    save_file(sam.state_dict(), path)
    task, config = Prompt(), PromptConfig(sam=path, planes=1)
    data = task.read(blobs, config)
    config = task.resolve(data, config)
    assert (config.side, config.vit) == (48, shape.numbers)
    splits = task.split(data, config)
    network = task.network(splits, config, "attention")
    model = network.build(Size(dim=8, hidden=8, depth=1))
    assert network.initialize is not None
    network.initialize(model, splits)
    weights = model.get_submodule("sam").state_dict()
    assert all((weights[name] == weight).all() for name, weight in sam.state_dict().items())


def test_masks_are_written_on_the_grid_of_their_case(blobs: Path, tmp_path: Path):
    config = PromptConfig(planes=2)
    items = read_prompts(read_cohort(blobs, config).take([0, 1]), config)
    masks = Masks([ask.truth for ask in items.asks if ask.truth is not None], None, items)
    write_masks(masks, tmp_path / "masks")
    write_masks(masks, tmp_path / "masks")  # in the place of the first
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["case0.nii.gz", "case1.nii.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]
    for case in ("case0", "case1"):
        written = nibabel.nifti1.load(tmp_path / "masks" / f"{case}.nii.gz")
        label = nibabel.nifti1.load(blobs / "labels" / f"{case}.nii.gz")
        assert np.array_equal(written.affine, label.affine)
        planes = [ask.plane for ask in items.asks if ask.case == case]
        array = np.asanyarray(written.dataobj)
        assert np.array_equal(array[..., planes], np.asanyarray(label.dataobj)[..., planes])
        assert set(np.unique(array)) == {0, 3}
    with pytest.raises(ConfigError, match="expected a folder"):
        write_masks(masks, tmp_path / "masks.nii.gz")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        write_masks(masks, tmp_path / "file")


@pytest.mark.slow
@pytest.mark.skipif("OMNIFORM_DATA" not in os.environ, reason="needs OMNIFORM_DATA")
def test_floors_answer_real_prompts():
    task, config = Prompt(), PromptConfig(planes=1)
    cohort = task.read(Path(os.environ["OMNIFORM_DATA"], "medical/msd_hippocampus"), config).take(range(30))
    splits = task.split(cohort, config)
    for floor in task.floors(config):
        masks = floor.estimator.fit(splits, seed=0).predict(splits.test)
        assert task.score(masks, splits.test, config).values()["dice"] > 0.6, floor.name
