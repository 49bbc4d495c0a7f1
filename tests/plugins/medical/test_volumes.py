"""How large labels are, as tables."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from omniform.errors import ConfigError
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.quality import LabelQuality, Quality
from omniform_medical.segmentation import Segmentation, Segmentations
from omniform_medical.volumes import label_volumes, write_volumes


@pytest.fixture
def predictions(oblique):
    label = np.zeros((6, 5, 4), np.uint8)
    label[1:3, 1:4, 2] = 2
    confidence = np.where(label == 2, 204, 255).astype(np.uint8)
    case = Segmentation("scan", label, confidence, Image(label, Geometry((6, 5, 4), oblique), Path("scan.nii.gz")))
    return Segmentations([case], ("background", "liver", "spleen"), (0, 7, 1000))


def test_volumes_are_voxels_times_their_size(predictions):
    liver, spleen = label_volumes(predictions)
    assert (spleen.case, spleen.label, spleen.value, spleen.voxels) == ("scan", "spleen", 1000, 6)
    assert spleen.volume_ml == pytest.approx(6 * 0.8 * 0.9 * 2.5 / 1000)
    assert spleen.mean_confidence == pytest.approx(0.8)
    assert spleen.estimated_dice == pytest.approx(2 * 0.8 / 1.8)  # all around is certain
    assert (liver.voxels, liver.volume_ml, liver.mean_confidence, liver.estimated_dice) == (0, 0.0, None, None)


def test_what_validation_taught_is_used(predictions):
    quality = Quality(labels=(LabelQuality(), LabelQuality(slope=0.5, intercept=0.1)))
    rows = label_volumes(Segmentations(predictions.cases, predictions.labels, predictions.values, quality))
    assert rows[1].estimated_dice == pytest.approx(0.1 + 0.5 * 2 * 0.8 / 1.8)


def test_tables_hold_the_rows(predictions, tmp_path):
    rows = label_volumes(predictions)
    write_volumes(rows, tmp_path / "new" / "volumes.json")
    write_volumes(rows, tmp_path / "new" / "volumes.csv")
    assert json.loads((tmp_path / "new" / "volumes.json").read_text()) == [asdict(row) for row in rows]
    with (tmp_path / "new" / "volumes.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["case", "label", "value", "voxels", "volume_ml", "mean_confidence", "estimated_dice"]
    assert float(table[1]["volume_ml"]) == rows[1].volume_ml
    assert table[0]["mean_confidence"] == ""
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["volumes.csv", "volumes.json"]


def test_another_ending_is_refused(predictions, tmp_path):
    with pytest.raises(ConfigError, match=r"\.csv or \.json, got 'volumes\.xlsx'"):
        write_volumes(label_volumes(predictions), tmp_path / "volumes.xlsx")
    assert not list(tmp_path.iterdir())
