"""Checkpoints hold any tree of plain values and tensors, whole or not at all, and are never unpickled."""

from __future__ import annotations

import json
import math
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.errors import RunError
from omniform.training.checkpoint import (
    decode_tree,
    encode_tree,
    has_checkpoint,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)

TREE: dict[str, Any] = {
    "step": 3,
    "betas": (0.9, 0.999),
    "state": {0: {"step": torch.tensor(3.0), "moment": torch.arange(6.0).reshape(2, 3).T}},
    "a/b": torch.tensor([1]),
    "a": {"b": torch.tensor([2])},
    "half": torch.tensor([1.5], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 4),
    "nothing": None,
    "limit": math.inf,
    "names": ["x", True, {"tensor": "not one"}],
}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) and first.dtype == second.dtype
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second and type(first) is type(second)


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(TREE, tmp_path)
    assert same(TREE, load_checkpoint(tmp_path))


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_any_tree_of_plain_values_survives_json(tree: Any) -> None:
    value, tensors = encode_tree(tree)
    assert same(tree, decode_tree(json.loads(json.dumps(value, allow_nan=False)), tensors))


def test_what_would_need_pickle_is_refused_by_its_place() -> None:
    with pytest.raises(TypeError, match="outer/inner"):
        encode_tree({"outer": {"inner": object()}})
    with pytest.raises(TypeError, match="keys of outer"):
        encode_tree({"outer": {(1, 2): 3}})


def test_tied_weights_are_kept(tmp_path: Path) -> None:
    tied = torch.arange(4.0)
    save_tensors(tmp_path / "w.safetensors", OrderedDict(a=tied, b=tied, c=tied[1:3]))
    loaded = load_tensors(tmp_path / "w.safetensors")
    assert torch.equal(loaded["a"], loaded["b"])
    assert loaded["c"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3, 4])
def test_a_death_while_saving_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Die at each of the system calls that a save makes: fsync, replace, fsync, replace, unlink."""
    save_checkpoint({"step": 1, "w": torch.ones(3)}, tmp_path)
    calls = 0

    def mortal(call: Any) -> Any:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > fails_at:
                raise KeyboardInterrupt
            return call(*arguments, **keywords)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", mortal(os.fsync))
        patch.setattr(os, "replace", mortal(os.replace))
        patch.setattr(Path, "unlink", mortal(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint({"step": 2, "w": torch.full((3,), 2.0)}, tmp_path)
    found = load_checkpoint(tmp_path)
    assert found["step"] == (1 if fails_at < 4 else 2)
    assert found["w"].tolist() == [float(found["step"])] * 3
    save_checkpoint({"step": 3, "w": torch.ones(3)}, tmp_path)
    assert load_checkpoint(tmp_path)["step"] == 3
    assert len(list(tmp_path.iterdir())) == 2, "no left-overs"


def test_damage_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    save_checkpoint(TREE, tmp_path)
    state = tmp_path / "state.json"
    tensors = next(tmp_path.glob("*.safetensors"))
    good = state.read_bytes(), tensors.read_bytes()

    def refused(name: str) -> None:
        with pytest.raises(RunError, match=name) as caught:
            load_checkpoint(tmp_path)
        assert "\n" not in str(caught.value)
        state.write_bytes(good[0])
        tensors.write_bytes(good[1])

    state.write_bytes(good[0][:-10])
    refused("state.json")
    state.write_bytes(good[0].replace(b'["step", 3]', b'["step", 4]'))
    refused("state.json")
    state.write_bytes(b"[]")
    refused("state.json")
    tensors.write_bytes(good[1][:-3])
    refused(tensors.name)
    tensors.write_bytes(b"\x80\x04.")
    refused(tensors.name)
    tensors.unlink()
    refused(tensors.name)
    save_tensors(tensors, {"other": torch.ones(1)})
    refused("do not belong together")
    state.unlink()
    assert not has_checkpoint(tmp_path)
    refused("state.json")
