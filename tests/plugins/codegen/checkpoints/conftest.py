"""Tiny checkpoints of transformers, written to disk with a tokenizer of bytes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

Make = Callable[..., tuple[Path, Any]]


def byte_tokenizer() -> Any:
    """Return byte-level BPE without merges, whose last id is the end."""
    tokenizers = pytest.importorskip("tokenizers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Make:
    """Return a function that saves a random network of a config, all of whose parameters matter."""
    transformers = pytest.importorskip("transformers")

    def make(config: Any, **options: Any) -> tuple[Path, Any]:
        torch.manual_seed(0)
        config.vocab_size, config.eos_token_id = 261, 256
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():  # norms that are not ones, biases that are not zeros, logits of the size of one
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1 and "dt_proj" not in name:
                    parameter.add_(0.2 * torch.randn_like(parameter))
                elif "A_log" not in name:
                    parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
        folder = tmp_path / "model"
        model.save_pretrained(folder, **options)
        byte_tokenizer().save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
        return folder, model

    return make


@pytest.fixture
def edit() -> Callable[..., None]:
    """Return a function that changes a folder's config.json; `None` takes a key away."""

    def change(folder: Path, **values: Any) -> None:
        config = json.loads((folder / "config.json").read_text()) | values
        kept = {key: value for key, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))

    return change
