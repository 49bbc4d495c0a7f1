"""`omniform codegen complete` and `serve`, from the command line to the last line of output."""

import json
import sys
from io import BytesIO, TextIOWrapper

import pytest
import torch

from omniform.cli import main
from omniform.mixers import Attention
from omniform.task import Size
from omniform_codegen import api
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import causal_model
from omniform_codegen.tokenizer import train_tokenizer


@pytest.fixture
def language(corpus, monkeypatch):
    """A model behind the name `model`, nested, and with random weights."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(corpus, 300)
    size = Size(dim=32, hidden=64, depth=1)
    model = causal_model(Attention, size, vocabulary=len(tokenizer), context=64, channel="matformer")
    language = LanguageModel(model.eval(), tokenizer, "attention", 64)
    monkeypatch.setattr(api, "load_language", lambda source, adapter=None: language)
    return language


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("import os\n\ndef f(a):\n    <CURSOR>\n    return b\n")
    return path


def told(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_samples_come_as_json_with_their_probabilities(language, source, capsys):
    words = ["codegen", "complete", "model", str(source), "--samples", "3", "--max-tokens", "5", "--json"]
    assert main(words) == 0
    record = told(capsys)
    assert len(record["completions"]) == 3
    for completion in record["completions"]:
        assert len(completion["probability"]) == completion["tokens"] <= 5
    assert main(words) == 0
    again = told(capsys)
    assert [each["text"] for each in again["completions"]] == [each["text"] for each in record["completions"]]


def test_a_draft_changes_nothing_but_the_time(language, source, capsys):
    texts = []
    for more in ([], ["--draft", "0.25"]):
        assert main(["codegen", "complete", "model", str(source), "--max-tokens", "12", "--json", *more]) == 0
        texts.append(told(capsys)["completions"][0]["text"])
    assert texts[0] == texts[1]


def test_standard_input_is_continued(language, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"import os\n")))
    assert main(["codegen", "complete", "model", "--max-tokens", "3"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_line_stands_for_a_cursor(language, tmp_path, capsys):
    path = tmp_path / "y.py"
    path.write_text("import os\nreturn b\n")
    marked = tmp_path / "z.py"
    marked.write_text("import os\n<CURSOR>return b\n")
    texts = []
    for words in ([str(path), "--line", "1"], [str(marked)]):
        assert main(["codegen", "complete", "model", *words, "--max-tokens", "6", "--json"]) == 0
        texts.append(told(capsys)["completions"][0]["text"])
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-file.py"], "cannot be read"),
        (["FILE", "--line", "99"], "expected --line from 1 to 5, got 99"),
        (["FILE", "--temperature", "-1"], "expected a temperature of at least 0"),
        (["FILE", "--draft", "0.3"], "0.3"),
    ],
)
def test_mistakes_are_one_line(language, source, capsys, words, message):
    words = [str(source) if word == "FILE" else word for word in words]
    assert main(["codegen", "complete", "model", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_model_that_is_not_there_is_named(source, tmp_path, capsys):
    assert main(["codegen", "complete", str(tmp_path / "nothing"), str(source)]) == 2
    assert "nothing" in capsys.readouterr().err


def test_serving_listens_where_it_is_told(language, monkeypatch, capsys):
    import uvicorn

    served = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: served.update(options, app=app))
    assert main(["codegen", "serve", "model", "--port", "9999"]) == 0
    assert (served["host"], served["port"]) == ("127.0.0.1", 9999)
    assert "http://127.0.0.1:9999/infill" in capsys.readouterr().out
