"""The task as a whole: its contract, its formats, and a training through the commands."""

import csv
import json
from dataclasses import replace

import pytest

from omniform import commands
from omniform.compare import compare
from omniform.task import Budget
from omniform.testing import check_task
from omniform.training.config import Training
from omniform_codegen.api import Coder, load_language
from omniform_codegen.config import CompleteConfig
from omniform_codegen.task import Complete
from omniform_codegen.tokenizer import BytePair

CONFIG = CompleteConfig(vocabulary=300, context=32, spans=6, split="0.6,0.2,0.2")


def test_contract(folder):
    check_task(Complete(), CONFIG, source=str(folder), mixer="gla", suffix=".csv")


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for file in corpus.files:
        path = root / "sources" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    report = commands.train(
        Complete(),
        root / "sources",
        CONFIG,
        domain="codegen",
        mixer="gla",
        budget=Budget(steps=60),
        training=Training(learning_rate=5e-3, validate_every=0.5),
        params=60_000,
        depth=2,
        seed=0,
        out=root / "run",
        progress=False,
    )
    return root, report


def test_a_run_learns_and_holds_its_tokenizer(run):
    root, report = run
    assert report.metrics["bits_per_byte"] < 3.0
    assert set(report.metrics) == set(report.floor) == {"bits_per_byte", "exact_match", "edit_similarity"}
    config = json.loads((root / "run" / "config.json").read_text())["config"]
    assert len(BytePair.from_text(config["tokenizer"])) == config["vocabulary"]


def test_the_tokenizer_of_a_run_serves_another(run, corpus):
    root, _ = run
    task = Complete()
    resolved = task.resolve(corpus, replace(CONFIG, tokenizer=str(root / "run")))
    assert resolved.tokenizer == json.loads((root / "run" / "config.json").read_text())["config"]["tokenizer"]


def test_prediction_writes_a_row_a_file(run, tmp_path):
    root, _ = run
    commands.predict(root / "run", [str(root / "sources" / "package0")], tmp_path / "told.csv")
    rows = list(csv.DictReader((tmp_path / "told.csv").open()))
    assert [row["file"] for row in rows] == ["module0.py", "module1.py"]
    assert all(0 < float(row["bits_per_byte"]) < 3 for row in rows)


def test_a_file_too_large_to_be_read_whole_is_named(tmp_path, caplog):
    (tmp_path / "large.py").write_bytes(b"x = 1\n" * 200_000)
    items = Complete().predictor_items(str(tmp_path / "large.py"), CONFIG)
    assert items.size == 1_000_000
    assert "large.py" in caplog.text


def test_a_coder_completes_from_a_run(run):
    root, _ = run
    coder = Coder.load(root / "run")
    prefix = "import os\n\ndef alpha_0(beta, count=3):\n    "
    first = coder.complete(prefix, max_tokens=8)
    assert first == coder.complete(prefix, max_tokens=8) != ""
    assert "\n" not in coder.complete(prefix, max_tokens=8, stop=("\n",))
    told = coder.suggest(prefix, "\n    return count\n", count=3)
    assert len(told) == 3
    assert all(0 <= chance <= 1 for each in told for chance in each.probabilities)
    assert load_language(root / "run").context == CONFIG.context


def test_a_coder_is_fitted_scored_and_saved(folder, tmp_path):
    coder = Coder("attention", vocabulary=300, context=32, split="0.6,0.2,0.2", params=60_000, depth=1)
    coder.fit(folder, budget="5", progress=False)
    scores = coder.evaluate()
    assert list(scores) == ["attention", "ngram", "retrieval"]
    coder.save(tmp_path / "saved")
    again = Coder.load(tmp_path / "saved")
    assert again.complete("import os\n", max_tokens=4) == coder.complete("import os\n", max_tokens=4)


def test_mixers_are_compared_with_their_cost_beside_the_floors(folder, tmp_path):
    result = compare(
        Complete(),
        folder,
        CONFIG,
        domain="codegen",
        mixers=["gla"],
        budget=Budget(steps=3),
        training=Training(learning_rate=3e-3),
        params=60_000,
        depth=1,
        seeds=1,
        out=tmp_path / "out",
        command="compare",
        progress=False,
    )
    rows = {row.name: row for row in result.rows}
    assert set(rows) == {"gla", "ngram", "retrieval"}
    assert rows["gla"].error is None
    assert rows["gla"].latency_ms is not None
