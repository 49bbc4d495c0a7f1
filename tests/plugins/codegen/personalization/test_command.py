"""The command, from a repository with a history to a verdict."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
import typer
from toy_project import HEAD, make_file, make_line
from typer.testing import CliRunner

from omniform.training.config import Training
from omniform_codegen.api import Coder, load_language
from omniform_codegen.cli.personalize import personalize
from omniform_codegen.personalization import load_personalized

COMMITS = 14
AUTHOR = "ann@example.org"


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(personalize)
    return made


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository to which lines of one kind are added, one commit a day."""
    root, rng = tmp_path_factory.mktemp("repo"), random.Random(0)
    git(root, 0, "init", "-q")
    for place in range(COMMITS):
        path = root / f"module{place % 5}.py"
        before = path.read_bytes() if path.exists() else HEAD + b"def run():\n"
        path.write_bytes(
            before + b"".join(make_line(rng).replace(b"quiet", b"v%d" % rng.randrange(999)) for _ in range(5))
        )
        git(root, place, "add", "-A")
        git(root, place, "commit", "-q", "-m", "more")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("base"), random.Random(1)
    for place in range(8):
        (root / f"package{place}").mkdir()
        text = make_file(rng, 9).replace(b"zebra", b"horse%d" % place).replace(b"register", b"call_%d" % place)
        (root / f"package{place}" / "module.py").write_bytes(text)
    training = Training(precision="32", batch_size=4, device="cpu")
    coder = Coder(params=30_000, depth=1, vocabulary=300, context=128, training=training)
    coder.fit(root, budget="3", progress=False).save(root / "run")
    return root / "run"


def git(folder: Path, day: int, *words: str) -> None:
    date = f"{1_600_000_000 + 86_400 * day} +0000"
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ann Onymous",
        "GIT_AUTHOR_EMAIL": AUTHOR,
        "GIT_COMMITTER_NAME": "Ann Onymous",
        "GIT_COMMITTER_EMAIL": AUTHOR,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
    }
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, env=environment)


def test_a_run_is_tuned_and_comes_back(app: typer.Typer, repo: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [str(repo), "--base", str(run), "--out", str(out), "--steps", "5", "--rank", "2", "--gaps", "2"]
    told = CliRunner().invoke(app, [*words, "--shares", "0.5,0.2,0.3", "--author", AUTHOR, "--json"])
    assert told.exit_code == 0, told.output
    record = json.loads(told.stdout.splitlines()[-1])
    assert record["task"] == "personalize"
    assert set(record["metrics"]) == {"bits_per_byte", "exact_match", "edit_similarity"}
    assert record["verdict"].split(":")[0] in ("Gain", "Loss", "No gain shown")
    written = (out / "personalization.json").read_text()
    assert "Ann" not in written
    assert AUTHOR not in written
    assert load_personalized(load_language(run), out).context == 128


def test_a_table_for_people(app: typer.Typer, repo: Path, run: Path, tmp_path: Path) -> None:
    words = [str(repo), "--base", str(run), "--out", str(tmp_path / "out"), "--method", "bias", "--steps", "1"]
    told = CliRunner().invoke(app, [*words, "--gaps", "0", "--shares", "0.5,0.2,0.3"])
    assert told.exit_code == 0, told.output
    assert "parameters trained" in told.stdout
    assert "bits_per_byte" in told.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "magic"], "method"),
        (["--steps", "3", "--budget", "1m"], "give one"),
        (["--shares", "0.5,0.6"], "three shares"),
    ],
)
def test_mistakes_are_told_before_work(app: typer.Typer, tmp_path: Path, words: list[str], said: str) -> None:
    told = CliRunner().invoke(app, [str(tmp_path), "--base", "none", "--out", str(tmp_path / "out"), *words])
    assert said in str(told.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(app: typer.Typer, repo: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = CliRunner().invoke(app, [str(repo), "--base", str(run), "--out", str(tmp_path)])
    assert "new or empty folder" in str(told.exception)
