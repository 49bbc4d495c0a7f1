"""The Python API, from a folder to classes and heat maps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omniform.errors import ConfigError, DataError, RunError
from omniform.training.config import Training
from omniform_medical.classification.api import ImageClassifier

TRAINING = Training(learning_rate=3e-3, batch_size=16, precision="32", device="cpu")


@pytest.fixture(scope="module")
def folder(make_album, write_album, tmp_path_factory):
    return write_album(make_album(90, image=(16, 16)), tmp_path_factory.mktemp("stripes"))


@pytest.fixture(scope="module")
def fitted(folder):
    return ImageClassifier(params=30_000, depth=1, shift=0.0, training=TRAINING).fit(
        folder, budget="40", progress=False
    )


def test_classes_are_learnt_and_floors_stand_beneath(fitted):
    scores = fitted.evaluate()
    assert list(scores) == ["attention", "descriptors", "prior"]
    assert list(scores["prior"]) == ["accuracy", "top2_accuracy", "macro_f1", "auroc", "log_loss"]
    assert scores["attention"]["accuracy"] > 0.8
    assert scores["prior"]["accuracy"] == pytest.approx(1 / 3)


def test_predictions_are_a_row_a_picture(fitted, folder, make_album):
    rows = fitted.predict(folder)
    assert list(rows[0]) == ["file", "class", *(f"probability_{name}" for name in ("across", "down", "slanted"))]
    assert sum(row["class"] == row["file"].split("/")[0] for row in rows) > 72
    arrays = fitted.predict(make_album(6, image=(16, 16)).pixels[..., 0])
    assert [row["file"] for row in arrays] == ["0", "1", "2", "3", "4", "5"]
    path = sorted((folder / "down").iterdir())[0]
    assert fitted.predict(path)[0]["file"] == path.name


def test_heat_maps_are_on_the_networks_pixels(fitted, folder):
    heat = fitted.explain(folder / "down")
    assert heat.shape == (30, 16, 16)
    assert 0 <= heat.min() <= heat.max() == 1
    assert not np.allclose(heat, fitted.explain(folder / "down", label="across"))
    with pytest.raises(ConfigError, match="no class 'up'"):
        fitted.explain(folder / "down", label="up")


def test_a_saved_run_predicts_without_the_training_data(fitted, folder, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = ImageClassifier.load(tmp_path / "run")
    assert loaded.predict(folder / "down") == fitted.predict(folder / "down")
    np.testing.assert_array_equal(loaded.explain(folder / "down"), fitted.explain(folder / "down"))
    assert loaded.evaluate(folder)["attention"] == pytest.approx(fitted.evaluate()["attention"])
    with pytest.raises(ConfigError, match="no test data"):
        loaded.evaluate()


def test_mistakes_are_told(folder, tmp_path):
    with pytest.raises(ConfigError, match="nothing was fitted"):
        ImageClassifier().predict(folder)
    with pytest.raises(ConfigError):
        ImageClassifier("no-such-mixer").fit(folder, budget="1", progress=False)
    with pytest.raises(DataError, match="no labels"):
        ImageClassifier().fit(folder / "down", budget="1", progress=False)
    with pytest.raises(RunError):
        ImageClassifier.load(tmp_path)


def test_importing_the_config_imports_no_torch():
    code = "import sys, omniform_medical.classification.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def hippocampus_planes(tmp_path: Path) -> Path:
    """Middle planes of real MRI crops as PNG in class folders, named by patient, from the folder OMNIFORM_DATA."""
    source = Path(os.environ.get("OMNIFORM_DATA", "absent"), "medical/msd_hippocampus/imagesTr")
    files = sorted(source.glob("hippocampus_*.nii.gz"))[:60]
    if not files:
        pytest.skip("OMNIFORM_DATA names no folder with medical/msd_hippocampus")
    import nibabel

    for file in files:
        volume = np.asarray(nibabel.as_closest_canonical(nibabel.load(file)).dataobj, dtype=np.float32)
        volume = 255 * np.clip(volume / np.percentile(volume, 99.5), 0, 1)
        for axis, plane in enumerate(("sagittal", "coronal", "axial")):
            for place in (0.4, 0.5, 0.6):
                cut = np.take(volume, int(place * volume.shape[axis]), axis=axis)
                middle = cut[tuple(slice((n - 24) // 2, (n + 24) // 2) for n in cut.shape)].T[::-1]
                (tmp_path / plane).mkdir(exist_ok=True)
                name = f"{file.name.split('.')[0]}_{round(10 * place)}.png"
                Image.fromarray(middle.astype(np.uint8)).save(tmp_path / plane / name)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pyramid", "fetal-plane"])
def test_planes_of_real_mri_are_told_apart_across_patients(hippocampus_planes, model):
    classifier = ImageClassifier(
        model=model, params=50_000, image=(32, 32), group=r"hippocampus_\d+", training=TRAINING
    ).fit(hippocampus_planes, budget="60", progress=False)
    scores = classifier.evaluate()
    assert next(iter(scores.values()))["accuracy"] > 0.6 > scores["prior"]["accuracy"]
    assert classifier.task.read(hippocampus_planes, classifier.config).patients is not None
