"""Emitted modules compute what the discretised network does, on every input that is tried."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from omniform.analysis.programs.discrete import discretise
from omniform.analysis.programs.emission import to_python
from omniform.analysis.programs.model import PADDING, ProgramConfig, TransformerProgram

LETTERS = tuple("abcdefghij")

SHAPES = {
    "one layer": ProgramConfig(tokens=LETTERS[:3], labels=("x", "y"), length=5),
    "more tokens than positions": ProgramConfig(tokens=LETTERS, labels=LETTERS, length=4, layers=2),
    "three wide layers": ProgramConfig(
        tokens=LETTERS[:5],
        labels=("x", "y", "z"),
        length=8,
        layers=3,
        categorical_heads=4,
        numerical_heads=4,
        categorical_lookups=2,
        numerical_lookups=2,
    ),
    "categorical alone": ProgramConfig(
        tokens=LETTERS[:4], labels=LETTERS[:4], length=6, layers=2, numerical_heads=0, numerical_lookups=0
    ),
    "numerical alone": ProgramConfig(
        tokens=LETTERS[:4], labels=LETTERS[:4], length=6, layers=2, categorical_heads=0, categorical_lookups=0
    ),
    "sums of sums": ProgramConfig(
        tokens=LETTERS[:2], labels=LETTERS[:3], length=7, layers=3, numerical_heads=6, numerical_lookups=3
    ),
    "one token, one place": ProgramConfig(tokens=("a",), labels=("x",), length=1),
    "awkward names": ProgramConfig(
        tokens=('"""', "'", "\\", "\n", "é\u2028", "\ud800", "'\""), labels=("{", "}%s"), length=3
    ),
}


def _load(source: str, path: Path) -> ModuleType:
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _draw(config: ProgramConfig, count: int) -> list[list[int]]:
    lengths = torch.randint(1, config.length + 1, (count,)).tolist()
    return [torch.randint(len(config.tokens), (length,)).tolist() for length in lengths]


def _predict(model: TransformerProgram, sequences: list[list[int]]) -> list[list[str]]:
    """Return the network's labels, from one padded batch."""
    ids = torch.full((len(sequences), model.config.length), PADDING)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    labels = model.predict(ids).tolist()
    return [[model.config.labels[label] for label in row[: len(s)]] for row, s in zip(labels, sequences, strict=True)]


def _run(module: ModuleType, config: ProgramConfig, sequences: list[list[int]]) -> list[list[str]]:
    return [module.run([config.tokens[token] for token in sequence]) for sequence in sequences]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_discretised_network(shape: str, seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    model = TransformerProgram(SHAPES[shape])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)  # lookups that are not constant, labels of all kinds
    sequences = _draw(model.config, 200)
    module = _load(to_python(discretise(model)), tmp_path / "program.py")
    assert _run(module, model.config, sequences) == _predict(model, sequences)


def test_every_variable_agrees(tmp_path: Path) -> None:
    """Labels could hide a variable that no weight heeds: here each has its turn as the only one that counts."""
    torch.manual_seed(0)
    config = ProgramConfig(tokens=LETTERS[:4], labels=LETTERS[:7], length=6, layers=2)
    model = TransformerProgram(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    sequences = _draw(config, 40)
    deciding = 0
    for column in range(model.head.in_features):
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.weight[:, column] = torch.arange(1.0, 8.0)
            model.head.weight[0] = 0.5  # what a value of nought gives way to
        module = _load(to_python(discretise(model)), tmp_path / f"program_{column}.py")
        labels = _predict(model, sequences)
        assert _run(module, config, sequences) == labels
        deciding += len({label for row in labels for label in row}) > 1
    assert deciding > model.head.in_features / 2


def test_equal_sums_go_to_the_first_label(tmp_path: Path) -> None:
    model = TransformerProgram(SHAPES["one layer"])
    torch.nn.init.zeros_(model.head.weight)
    module = _load(to_python(discretise(model)), tmp_path / "program.py")
    assert module.run(["a", "b"]) == ["x", "x"] == _predict(model, [[0, 1]])[0]


def test_text_is_the_same_every_time_and_survives_a_second_import(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TransformerProgram(SHAPES["three wide layers"])
    source = to_python(discretise(model))
    assert to_python(discretise(model)) == source
    first, second = (_load(source, tmp_path / f"{name}.py") for name in ("first", "second"))
    rebuilt = _load(ast.unparse(ast.parse(source)), tmp_path / "rebuilt.py")
    sequences = _draw(model.config, 20)
    results = [_run(module, model.config, sequences) for module in (first, second, rebuilt, first)]
    assert all(result == results[0] for result in results)


def test_needs_nothing_but_python(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TransformerProgram(SHAPES["one layer"])
    source = to_python(discretise(model))
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    (tmp_path / "program.py").write_text(source)
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import runpy; run = runpy.run_path({str(tmp_path / 'program.py')!r})",
    ]
    command[-1] += "['run']; print(run(['a', 'c', 'b']))"
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert ast.literal_eval(printed) == _predict(model, [[0, 2, 1]])[0]


def test_is_laid_out_to_be_read() -> None:
    torch.manual_seed(0)
    source = to_python(discretise(TransformerProgram(SHAPES["three wide layers"])))
    assert max(map(len, source.splitlines())) <= 120
    assert not [line for line in source.splitlines() if line != line.rstrip()]
    assert source.endswith("\n")
    names = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    assert {"attention_2_3_matches", "sum_0_0_matches", "lookup_1_1_of", "sum_lookup_2_0_of", "run"} <= names


@pytest.mark.parametrize("tokens", [["a"] * 6, ["z"]])
def test_refuses_what_the_network_never_saw(tokens: list[str], tmp_path: Path) -> None:
    module = _load(to_python(discretise(TransformerProgram(SHAPES["one layer"]))), tmp_path / "program.py")
    with pytest.raises(ValueError, match="at most 5 tokens out of"):
        module.run(tokens)
    assert module.run([]) == []
