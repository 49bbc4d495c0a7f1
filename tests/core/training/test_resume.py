"""A run that was killed goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from killed_run import ITEMS, train
from toy_regression import Net, Validation, make_network, make_splits, plain_objective

from omniform.errors import RunError
from omniform.task import Budget, Size
from omniform.training.checkpoint import load_checkpoint
from omniform.training.config import Training
from omniform.training.fit import Fit, fit

SCRIPT = Path(__file__).with_name("killed_run.py")
STEPS = 400
SIZE = Size(dim=8, hidden=16, depth=1)


def start(folder: Path, how: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), str(STEPS), how]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def kill_after_checkpoints(process: subprocess.Popen[bytes], folder: Path, count: int) -> int:
    """Kill for real once `count` checkpoints were written, and return the step of the last whole one."""
    deadline = time.monotonic() + 180  # it imports Lightning first
    while not (folder / "checkpoint" / "state.json").exists() or last_number(folder) < count:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return load_checkpoint(folder / "checkpoint")["omniform"]["step"]


def last_number(folder: Path) -> int:
    names = [path.stem for path in (folder / "checkpoint").glob("state-*.safetensors")]
    return max((int(name.partition("-")[2]) for name in names), default=0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sum in the same order as the processes that are killed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_resumes_to_the_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = kill_after_checkpoints(start(killed, "start"), killed, 2)
    second = kill_after_checkpoints(start(killed, "resume"), killed, 4)
    assert 0 < first < second < STEPS
    assert all(step * 8 % ITEMS for step in (first, second)), "each kill comes within an epoch"
    train(killed, STEPS, resume=True, nap=0.0)
    train(whole, STEPS, resume=False, nap=0.0)

    expected, resumed = load_checkpoint(whole / "checkpoint"), load_checkpoint(killed / "checkpoint")
    assert resumed["omniform"]["step"] == STEPS
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    for name, value in expected["omniform"]["best_weights"].items():
        assert torch.equal(value, resumed["omniform"]["best_weights"][name]), name
    for index, moments in expected["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, resumed["optimizer_states"][0]["state"][index][name]), (index, name)
    assert expected["omniform"]["history"] == resumed["omniform"]["history"]
    assert len(list((killed / "checkpoint").iterdir())) == 3, "no left-overs"


def run(folder: Path, *, resume: bool, size: Size = SIZE) -> Fit:
    network, splits = make_network(loss=plain_objective), make_splits()
    torch.manual_seed(0)
    model = network.build(size)
    assert isinstance(model, Net)
    return fit(
        network,
        model,
        splits,
        validate=Validation(splits.validation),
        lower_is_better=True,
        training=Training(batch_size=8, precision="32", device="cpu"),
        budget=Budget(steps=12),
        seed=0,
        folder=folder,
        resume=resume,
    )


def test_resuming_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    first, again = run(tmp_path, resume=False), run(tmp_path, resume=True)
    assert (again.steps, again.seconds, again.history) == (first.steps, first.seconds, first.history)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_resume_without_a_checkpoint_starts(tmp_path: Path) -> None:
    assert run(tmp_path, resume=True).steps == 12


def test_resume_refuses_another_network(tmp_path: Path) -> None:
    run(tmp_path, resume=False)
    with pytest.raises(RunError, match="resume with the options that the run was started with"):
        run(tmp_path, resume=True, size=Size(dim=16, hidden=16, depth=1))
