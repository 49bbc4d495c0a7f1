"""A checkpoint in the hands of a user: completing, scoring beside the floors, and through the command line."""

import json
from math import log

import pytest
import torch
from torch.nn import functional as F

from omniform.cli import main
from omniform.errors import ConfigError
from omniform_codegen import Coder


@pytest.fixture
def llama(checkpoint):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64
    )
    return checkpoint(config)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_is_scored_beside_the_floors(llama, folder):
    path, _ = llama
    coder = Coder.load(path)
    assert coder.complete("import os\n", max_tokens=4) == coder.complete("import os\n", max_tokens=4)
    scores = coder.evaluate(folder)
    assert list(scores) == ["model", "ngram", "retrieval"]
    assert 6 < scores["model"]["bits_per_byte"] < 16  # random weights, a token a byte
    assert scores["ngram"]["bits_per_byte"] < 3
    with pytest.raises(ConfigError, match=r"expected evaluate\(data\)"):
        coder.evaluate()


@pytest.mark.filterwarnings("ignore")
def test_bits_are_those_of_transformers(llama, corpus):
    """A file that fits one window takes what transformers' own probabilities say."""
    from omniform_codegen.corpus import Corpus, SourceFile
    from omniform_codegen.network import LanguagePredictor

    path, model = llama
    content = corpus.files[0].content[:50]
    language = Coder.load(path).language
    told = LanguagePredictor(language, 64).predict(Corpus((SourceFile("a.py", content, "a"),)))
    end = language.tokenizer.special.end
    ids = torch.tensor([[end, *language.tokenizer.encode(content), end]])
    with torch.no_grad():
        chances = F.log_softmax(model(ids[:, :-1]).logits.double(), dim=-1).gather(-1, ids[:, 1:, None])
    assert told.bits[0] == pytest.approx(-chances.sum().item() / log(2), rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_command_line_scores_a_checkpoint_as_a_run(llama, folder, capsys):
    path, _ = llama
    assert main(["codegen", "evaluate", str(path), str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(report) == {"task", "mixer", "params", "seconds", "metrics", "floor", "run"}
    assert report["metrics"]["bits_per_byte"] > report["floor"]["bits_per_byte"]
