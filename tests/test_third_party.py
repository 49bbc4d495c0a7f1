"""A plugin of another distribution: built, installed beside omniform, found, trained, and held to the contracts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "omniform-example"
SCORES = {"task", "mixer", "params", "seconds", "metrics", "floor", "run"}


def call(*command: str | Path, site: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(site)] if site else []
    path = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300, env=environment, cwd=cwd
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example's wheel and install it into a folder of its own."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = ("-m", "pip", "--disable-pip-version-check")
    built = call(*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", wheels, EXAMPLE)
    assert built.returncode == 0, built.stderr
    [wheel] = wheels.glob("*.whl")
    installed = call(*pip, "install", "--no-deps", "--no-index", "--target", site, wheel)
    assert installed.returncode == 0, installed.stderr
    return site


@pytest.fixture(scope="module")
def omniform(site, tmp_path_factory):
    """Run a command line that must succeed, in a folder of its own, and return what it printed as JSON."""
    folder = tmp_path_factory.mktemp("work")

    def run(line: str) -> object:
        done = call("-m", "omniform", *line.split(), "--json", site=site, cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.folder = folder
    return run


def test_plugin_is_found(omniform):
    report = omniform("plugins")
    [plugin] = [plugin for plugin in report["loaded"] if plugin["name"] == "example"]
    assert (plugin["distribution"], plugin["version"]) == ("omniform-example", "0.1.0")
    assert plugin["tasks"] == {"echo": ["recall"]}
    assert not report["failed"]


def test_its_systems_are_in_the_zoo(omniform):
    assert omniform("zoo show shift-mixer")["mixer"] is True
    assert [row["id"] for row in omniform("zoo --domain echo")] == ["shift-mixer", "majority-bit"]


def test_discovery_imports_nothing_heavy(site):
    code = (
        "import sys; from omniform.plugins import host; host(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert call("-c", code, site=site).stdout.split() == ["False", "False"]


def test_it_trains_evaluates_and_predicts(omniform):
    report = omniform("echo train sample --mixer shift-mixer --steps 60 --params 10k --out run --learning-rate 0.01")
    assert set(report) >= SCORES
    assert (report["task"], report["mixer"]) == ("recall", "shift-mixer")
    assert 9_700 <= report["params"] <= 10_300
    assert report["metrics"]["error"] < 0.05 < report["floor"]["error"]
    again = omniform("echo evaluate run sample")
    assert set(again) >= SCORES
    (omniform.folder / "bits.txt").write_text("110100111010011101101101\n" * 3)
    omniform("echo predict run bits.txt --out said.txt")
    said = (omniform.folder / "said.txt").read_text().splitlines()
    assert [len(line) for line in said] == [24, 24, 24]


def test_its_mixer_is_compared_with_ours(omniform):
    line = "echo compare sample --mixers shift-mixer,retention --steps 10 --params 10k --seeds 1 --out compared"
    result = omniform(line)
    roles = {row["name"]: row["role"] for row in result["rows"]}
    assert roles == {"majority-bit": "floor", "shift-mixer": "contender", "retention": "contender"}
    assert result["verdict"]
    assert (omniform.folder / result["report"]).exists()


def test_its_own_tests_pass(site, tmp_path):
    """The example's tests are `omniform.testing`'s contracts, run on its mixer, domain and task."""
    done = call("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
