"""The HTTP endpoint, as llama.vscode and llama.vim call it."""

import json

import pytest
import torch
from starlette.testclient import TestClient

from omniform.errors import ConfigError
from omniform.mixers import Attention
from omniform.task import Size
from omniform_codegen.filling import gap_prompt
from omniform_codegen.generation import Sampling, generate
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import causal_model
from omniform_codegen.server import InfillRequest, serve_language
from omniform_codegen.tokenizer import train_tokenizer

EDITOR = {  # what llama.vscode sends
    "input_prefix": "import os\n\n",
    "input_suffix": "\n    return count\n",
    "input_extra": [{"filename": "other.py", "text": "def other():\n    pass\n"}],
    "prompt": "def alpha(beta):",
    "n_predict": 12,
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "n_indent": 4,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 60_000,
}


@pytest.fixture(scope="module")
def language(corpus):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(corpus, 300)
    model = causal_model(Attention, Size(dim=32, hidden=48, depth=1), vocabulary=len(tokenizer), context=96)
    return LanguageModel(model.eval(), tokenizer, "attention", 96)


@pytest.fixture(scope="module")
def client(language):
    return TestClient(serve_language(language), base_url="http://127.0.0.1:8012")


def test_an_editors_request_is_completed_as_by_the_model_itself(client, language):
    answer = client.post("/infill", json=EDITOR)
    assert answer.status_code == 200
    before = EDITOR["input_extra"][0]["text"] + EDITOR["input_prefix"] + EDITOR["prompt"]
    prompt = gap_prompt(language, before.encode(), EDITOR["input_suffix"].encode(), room=12)
    (told,) = generate(language, [prompt], Sampling(max_tokens=12, top_k=40, top_p=0.99))
    body = answer.json()
    assert body["content"] == told.text.decode(errors="replace") != ""
    assert body["tokens_predicted"] == len(told.tokens) <= 12
    assert body["tokens_evaluated"] == len(prompt)


def test_a_warm_up_is_answered_with_nothing(client):
    answer = client.post("/infill", json=EDITOR | {"n_predict": 0, "prompt": ""})
    assert answer.status_code == 200
    assert answer.json()["content"] == ""


def test_an_answer_goes_out_when_time_is_up(client):
    whole, cut = (
        client.post("/infill", json=EDITOR | {"n_predict": 60, "t_max_predict_ms": time}).json() for time in (0, 1e-6)
    )
    assert cut["tokens_predicted"] == 1 < whole["tokens_predicted"]
    assert whole["content"].startswith(cut["content"])


def test_health_and_properties(client, language):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/props").json()["n_ctx"] == language.context


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not json", "expected a JSON object"),
        (b"[1]", "expected a JSON object, got list"),
        (json.dumps({"input_prefix": 3}).encode(), "expected input_prefix to be of the type str"),
        (json.dumps({"n_predict": "many"}).encode(), "expected n_predict to be of the type int"),
        (json.dumps({"temperature": "hot"}).encode(), "expected temperature to be a number"),
        (json.dumps({"temperature": -1}).encode(), "temperature"),
        (json.dumps({"stop": [1]}).encode(), "expected stop to hold texts"),
        (json.dumps({"input_extra": ["text"]}).encode(), "expected input_extra to hold objects"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_a_line(client, body, message):
    answer = client.post("/infill", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert "\n" not in answer.json()["error"]["message"]


def test_another_name_for_this_machine_is_refused(client):
    answer = client.get("/health", headers={"host": "evil.example"})
    assert answer.status_code == 400


def test_a_request_too_large_is_refused(client):
    assert client.post("/infill", content=b" " * 5_000_000).status_code == 413


def test_no_time_no_tokens():
    assert InfillRequest.parse(b'{"n_predict": 0}').sampling is None
    most = InfillRequest.parse(b'{"n_predict": -1}').sampling
    assert most is not None
    assert most.max_tokens == InfillRequest.parse(b'{"n_predict": 100000}').sampling.max_tokens
    with pytest.raises(ConfigError):
        InfillRequest.parse(b"")
