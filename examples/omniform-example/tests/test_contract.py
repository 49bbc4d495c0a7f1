"""omniform's contract tests, run on what this plugin adds."""

import numpy as np
import pytest
from omniform_example.config import RecallConfig
from omniform_example.data import read_bits, write_bits
from omniform_example.plugin import ECHO
from omniform_example.shift_mixer import ShiftMixer
from omniform_example.task import Recall

from omniform.errors import DataError
from omniform.testing import check_domain, check_mixer, check_task


def test_mixer_keeps_its_contract():
    check_mixer(ShiftMixer)


def test_domain_keeps_its_contract():
    check_domain(ECHO)


def test_task_keeps_its_contract():
    check_task(Recall())


def test_files_survive_the_round_trip(tmp_path):
    bits = read_bits("sample")
    write_bits(bits, tmp_path / "bits.txt")
    np.testing.assert_array_equal(read_bits(tmp_path / "bits.txt"), bits)


@pytest.mark.parametrize("text", ["", "01\n0\n", "01\n02\n", "é"])
def test_wrong_files_are_refused(tmp_path, text):
    path = tmp_path / "bits.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        read_bits(path)


def test_score_counts_wrong_bits():
    task, config = Recall(), RecallConfig(delay=2)
    items = np.array([[1, 0, 1, 1, 0]])
    said = np.array([[0, 0, 1, 1, 1]])  # wanted from step 2 on: 1 0 1
    assert task.score(said, items, config).values() == {"error": pytest.approx(1 / 3)}
