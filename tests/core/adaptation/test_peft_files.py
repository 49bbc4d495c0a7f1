"""Adapter files go to peft and come from peft, and the logits stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_language import DEPTH, make_ids, make_language, make_llama

from omniform.adaptation.lora import LowRank, add_low_rank
from omniform.adaptation.peft_files import (
    CONFIG,
    WEIGHTS,
    load_low_rank,
    load_prefix,
    save_low_rank,
    save_prefix,
)
from omniform.adaptation.prefix import add_prefix
from omniform.errors import IncompatibleError, RunError
from omniform.mixers import Mamba


def test_peft_reads_our_updates(tmp_path: Path) -> None:
    from peft import PeftModel

    peer, ours, counterparts = make_llama()
    add_low_rank(ours.backbone, rank=3, alpha=7.0)
    shake(ours)
    names = save_low_rank(ours, tmp_path, base="tiny", counterparts=counterparts)
    assert {path.name for path in names} == {CONFIG, WEIGHTS}
    tuned = PeftModel.from_pretrained(peer, str(tmp_path))
    same_logits(ours, tuned)
    _, other, _ = make_llama()
    load_low_rank(other, tmp_path, counterparts=counterparts)
    assert torch.equal(ours(make_ids()), other(make_ids()))
    save_low_rank(other, tmp_path / "again", counterparts=counterparts)
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    "targets", [["q_proj", "v_proj"], ["gate_proj", "down_proj", "k_proj"], ["gate_proj", "up_proj"]]
)
def test_we_read_updates_of_peft(tmp_path: Path, targets: list[str]) -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    peer, ours, counterparts = make_llama()
    torch.manual_seed(5)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=4, lora_alpha=9, target_modules=targets, init_lora_weights=False
    )
    tuned = get_peft_model(peer, config).eval()
    tuned.save_pretrained(tmp_path)
    names = load_low_rank(ours, tmp_path, counterparts=counterparts)
    assert len(names) == DEPTH * (1 if targets == ["gate_proj", "up_proj"] else len(targets))
    same_logits(ours, tuned)


def test_a_network_of_our_own_goes_under_its_own_names(tmp_path: Path) -> None:
    first, second = make_language(), make_language()
    add_low_rank(first.backbone, rank=2, alpha=4.0, dropout=0.1)
    shake(first)
    save_low_rank(first, tmp_path)
    assert "backbone.layers.0.branches.0.op.query" in json.loads((tmp_path / CONFIG).read_bytes())["target_modules"]
    load_low_rank(second, tmp_path)
    assert torch.equal(first(make_ids()), second(make_ids()))
    assert {m.dropout.p for m in second.modules() if isinstance(m, LowRank)} == {0.1}


def test_a_prefix_goes_to_peft_and_back(tmp_path: Path) -> None:
    from peft import PeftModel

    peer, ours, counterparts = make_llama()
    _, other, _ = make_llama()
    add_prefix(ours.backbone, ours.start(make_ids(1, 6)))
    shake(ours)
    save_prefix(ours, tmp_path, counterparts=counterparts)
    tuned = PeftModel.from_pretrained(peer, str(tmp_path))
    same_logits(ours, tuned)
    add_prefix(other.backbone, other.start(make_ids(1, 6, seed=9)))
    load_prefix(other, tmp_path, counterparts=counterparts)
    assert torch.equal(ours(make_ids()), other(make_ids()))


def test_we_read_a_prefix_of_peft(tmp_path: Path) -> None:
    from peft import PrefixTuningConfig, TaskType, get_peft_model

    peer, ours, counterparts = make_llama()
    tuned = get_peft_model(peer, PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=4)).eval()
    tuned.save_pretrained(tmp_path)
    add_prefix(ours.backbone, ours.start(make_ids(1, 4)))
    load_prefix(ours, tmp_path, counterparts=counterparts)
    same_logits(ours, tuned)


def test_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    first = make_language()
    add_low_rank(first.backbone, rank=2, alpha=4.0)
    save_low_rank(first, tmp_path)
    with pytest.raises(IncompatibleError, match=r"another network|of the shapes"):
        load_low_rank(make_language(Mamba), tmp_path)
    with pytest.raises(RunError, match="PREFIX_TUNING"):
        load_prefix(first, tmp_path)
    config = json.loads((tmp_path / CONFIG).read_bytes())
    for change, told in (({"use_dora": True}, "use_dora"), ({"r": 3}, "shapes"), ({"r": "x"}, "lora_alpha")):
        (tmp_path / CONFIG).write_text(json.dumps(config | change))
        with pytest.raises((RunError, IncompatibleError), match=told):
            load_low_rank(make_language(), tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        load_low_rank(make_language(), tmp_path)


def test_refuses_what_the_files_cannot_hold(tmp_path: Path) -> None:
    model = make_language(Mamba)
    with pytest.raises(IncompatibleError, match="one rank"):
        save_low_rank(model, tmp_path)
    add_prefix(model.backbone, model.start(make_ids(1, 3)))
    with pytest.raises(IncompatibleError, match="attention"):
        save_prefix(model, tmp_path)
    add_low_rank(model.backbone, rank=1, alpha=1.0)
    with pytest.raises(IncompatibleError, match="own name"):
        save_low_rank(model, tmp_path, counterparts={})


@torch.no_grad()
def shake(model: nn.Module) -> None:
    """Move what an adaptation trains away from its start."""
    generator = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        if name.endswith(".up") or ".start_" in name:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)


@torch.no_grad()
def same_logits(ours: nn.Module, peer: Any) -> None:
    ids = make_ids()
    expected = peer(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(ours(ids), expected, rtol=1e-3, atol=1e-5)
