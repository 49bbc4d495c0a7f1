"""The command, from pictures to a table and heat maps."""

import csv
import json

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from omniform.training.config import Training
from omniform_medical.classification.api import ImageClassifier
from omniform_medical.cli.classify import classify


@pytest.fixture(scope="module")
def app():
    made = typer.Typer()
    made.command()(classify)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stripes across and down, eight of each."""
    root = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for i in range(16):
        wave = np.sin(1.6 * np.arange(16) + rng.uniform(0, 6))
        picture = np.broadcast_to(wave[:, None] if i % 2 else wave, (16, 16))
        place = root / ("down", "across")[i % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray((127 + 100 * picture).astype(np.uint8)).save(place / f"k{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    training = Training(batch_size=8, precision="32", device="cpu")
    path = tmp_path_factory.mktemp("trained") / "run"
    ImageClassifier(params=30_000, training=training).fit(folder, budget="3", progress=False).save(path)
    return path


def test_it_writes_a_table_and_heat_maps_and_counts_classes(app, run, folder, tmp_path):
    arguments = [str(run), str(folder), "--out", str(tmp_path / "told.csv"), "--heat-maps", str(tmp_path / "heat")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])
    assert (report["task"], report["pictures"], sum(report["labels"].values())) == ("classify", 16, 16)
    with open(tmp_path / "told.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows][:2] == ["across/k01.png", "across/k03.png"]
    assert float(rows[0]["probability_across"]) + float(rows[0]["probability_down"]) == pytest.approx(1)
    maps = sorted(path.relative_to(tmp_path / "heat").as_posix() for path in (tmp_path / "heat").rglob("*.png"))
    assert len(maps) == 16
    assert maps[0] == "across/k01.png.png"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heat", "told.csv"]


def test_several_files_are_one_table(app, run, folder, tmp_path):
    files = [str(path) for path in sorted((folder / "down").iterdir())[:3]]
    result = CliRunner().invoke(app, [str(run), *files, "--out", str(tmp_path / "told.csv")])
    assert result.exit_code == 0, result.output
    assert "3 pictures" in result.stdout
    assert len((tmp_path / "told.csv").read_text(encoding="utf-8").splitlines()) == 4
