"""A network from a checkpoint: adapter files under the checkpoint's names, which peft reads, and peft's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_project import make_history

from omniform.adaptation.settings import Adaptation, Method
from omniform.errors import RunError
from omniform.task import Budget
from omniform.training.config import Training
from omniform_codegen.checkpoints import load_checkpoint
from omniform_codegen.personalization import load_personalized, personalize, save_personalization
from omniform_codegen.personalization.counterparts import find_counterparts
from omniform_codegen.tokenizer import train_tokenizer

VOCABULARY = 300
IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))


def make_peer(kind: str) -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    shared: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shared, num_key_value_heads=2)).eval()
    return GPTNeoXForCausalLM(GPTNeoXConfig(**shared)).eval()


def save_checkpoint(peer: Any, folder: Path) -> Path:
    tokenizer = train_tokenizer(make_history().train, VOCABULARY)
    peer.config.eos_token_id = tokenizer.special.end
    peer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    return folder


def personalized(base: Path, method: Method, out: Path) -> Any:
    told = personalize(
        load_checkpoint(base),
        make_history(),
        settings=Adaptation(method=method, rank=2, prefix_length=4),
        budget=Budget(steps=3),
        training=Training(precision="32", batch_size=4, device="cpu", learning_rate=1e-2),
        context=128,
        gaps=0,
        progress=False,
    )
    save_personalization(told, out, base=str(base))
    return told.language


@pytest.mark.parametrize(("kind", "method"), [("llama", "adapter"), ("llama", "prefix"), ("gpt_neox", "prefix")])
def test_peft_reads_what_we_trained(kind: str, method: Method, tmp_path: Path) -> None:
    from peft import PeftModel

    peer = make_peer(kind)
    base = save_checkpoint(peer, tmp_path / "base")
    tuned = personalized(base, method, tmp_path / "out")
    theirs = PeftModel.from_pretrained(peer, str(tmp_path / "out"))
    with torch.no_grad():
        expected = theirs(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
        torch.testing.assert_close(tuned.model(IDS), expected, rtol=1e-4, atol=1e-4)
    loaded = load_personalized(load_checkpoint(base), tmp_path / "out")
    assert torch.equal(loaded.model(IDS), tuned.model(IDS))


def test_we_read_what_peft_trained(tmp_path: Path) -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    peer = make_peer("llama")
    base = save_checkpoint(peer, tmp_path / "base")
    config = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    config.task_type = TaskType.CAUSAL_LM
    tuned = get_peft_model(peer, config).eval()
    tuned.save_pretrained(tmp_path / "out")
    loaded = load_personalized(load_checkpoint(base), tmp_path / "out", base=base)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(IDS), tuned(input_ids=IDS).logits, rtol=1e-4, atol=1e-4)


def test_maps_that_are_one_in_theirs_go_under_our_names(tmp_path: Path) -> None:
    base = save_checkpoint(make_peer("gpt_neox"), tmp_path / "base")
    found = find_counterparts(base)
    assert found is not None
    assert found["backbone.layers.0.branches.0.op.query"].names == ()
    tuned = personalized(base, "adapter", tmp_path / "out")
    loaded = load_personalized(load_checkpoint(base), tmp_path / "out")
    assert torch.equal(loaded.model(IDS), tuned.model(IDS))


def test_says_when_the_base_has_moved(tmp_path: Path) -> None:
    base = save_checkpoint(make_peer("llama"), tmp_path / "base")
    personalized(base, "adapter", tmp_path / "out")
    language = load_checkpoint(base)
    base.rename(tmp_path / "moved")
    with pytest.raises(RunError, match="tell where it lies"):
        load_personalized(language, tmp_path / "out")
    load_personalized(language, tmp_path / "out", base=tmp_path / "moved")
