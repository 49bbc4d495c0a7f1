"""Networks of ours against transformers' on the same random weights: logits, cached decoding, padded batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from omniform.layout import Layout
from omniform_codegen.checkpoints import load_checkpoint
from omniform_codegen.model import CausalModel

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5  # of logits of size one, in float32
MAMBA_TOLERANCE = 5e-5  # either is 1e-5 to 3e-5 from float64: a recurrence rounds at each token

_LLAMA: dict[str, Any] = {
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_NEOX: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 70, "num_hidden_layers": 3, "num_attention_heads": 3}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_LLAMA),
    "llama, no groups, tied": lambda: transformers.LlamaConfig(
        **_LLAMA | {"num_key_value_heads": 6, "tie_word_embeddings": True, "rms_norm_eps": 1e-3}
    ),
    "llama, wide heads, biases": lambda: transformers.LlamaConfig(
        **_LLAMA, head_dim=10, attention_bias=True, mlp_bias=True
    ),
    "llama, linear scaling": lambda: transformers.LlamaConfig(
        **_LLAMA, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}
    ),
    "llama 3": lambda: transformers.LlamaConfig(**_LLAMA, head_dim=16, rope_parameters=_LLAMA3),
    "mistral": lambda: transformers.MistralConfig(**_LLAMA, sliding_window=7),
    "mistral, no window": lambda: transformers.MistralConfig(**_LLAMA, sliding_window=None),
    "qwen2": lambda: transformers.Qwen2Config(**_LLAMA, tie_word_embeddings=True),
    "qwen2, windows above": lambda: transformers.Qwen2Config(
        **_LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
    "starcoder2": lambda: transformers.Starcoder2Config(**_LLAMA, norm_epsilon=1e-4),
    "starcoder2, window, no biases": lambda: transformers.Starcoder2Config(
        **_LLAMA, sliding_window=6, use_bias=False, hidden_act="gelu", tie_word_embeddings=False
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_NEOX),
    "gpt_neox, one after another, half": lambda: transformers.GPTNeoXConfig(
        **_NEOX, use_parallel_residual=False, rotary_pct=0.5, hidden_act="gelu_new"
    ),
    "gpt_neox, no biases, tied": lambda: transformers.GPTNeoXConfig(
        **_NEOX, attention_bias=False, tie_word_embeddings=True, layer_norm_eps=1e-3
    ),
    "mamba": lambda: transformers.MambaConfig(hidden_size=20, num_hidden_layers=3),
    "mamba, other sizes, untied": lambda: transformers.MambaConfig(
        hidden_size=24,
        num_hidden_layers=2,
        expand=3,
        state_size=5,
        conv_kernel=3,
        time_step_rank=7,
        tie_word_embeddings=False,
        layer_norm_epsilon=1e-3,
    ),
}


def tolerance(name: str) -> float:
    return MAMBA_TOLERANCE if name.startswith("mamba") else TOLERANCE


_SEVERAL = pytest.mark.parametrize("name", list(CONFIGS))


@torch.no_grad()
def theirs_of(model: Any, ids: Tensor, **options: Any) -> Tensor:
    return model(ids, **options).logits


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randint(0, 261, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def decoded(model: CausalModel, ids: Tensor, sizes: list[int]) -> Tensor:
    state, parts = model.init_state(len(ids)), []
    for chunk in ids.split(sizes, dim=1):
        logits, state = model.extend(chunk, state)
        parts.append(logits)
    return torch.cat(parts, dim=1)


@torch.no_grad()
@_SEVERAL
def test_logits_equal_those_of_transformers(name: str, checkpoint: Any):
    folder, model = checkpoint(CONFIGS[name]())
    loaded = load_checkpoint(folder)
    ids = drawn(1, 3, 45)
    expected = theirs_of(model, ids)
    assert expected.std() > 0.3  # there is something to be wrong about
    assert (loaded.model(ids) - expected).abs().max() < tolerance(name)
    assert loaded.name == "model"


@torch.no_grad()
@_SEVERAL
def test_decoding_equals_the_whole_and_their_cache(name: str, checkpoint: Any):
    folder, model = checkpoint(CONFIGS[name]())
    ours, ids = load_checkpoint(folder).model, drawn(2, 2, 21)
    whole = ours(ids)
    for sizes in ([1] * 21, [4, 1, 9, 7], [13, 8], [2, 3, 1, 1, 14]):
        assert (decoded(ours, ids, sizes) - whole).abs().max() < tolerance(name)
    cache, steps = {}, []
    for token in ids.split(1, dim=1):
        out = model(token, use_cache=True, **cache)
        cache = {key: out[key] for key in ("past_key_values", "cache_params") if key in out}
        steps.append(out.logits)
    assert (torch.cat(steps, dim=1) - whole).abs().max() < tolerance(name)


@torch.no_grad()
@_SEVERAL
def test_a_padded_batch_equals_theirs_and_each_row_alone(name: str, checkpoint: Any):
    folder, model = checkpoint(CONFIGS[name]())
    ours, ids = load_checkpoint(folder).model, drawn(3, 3, 19)
    mask = torch.arange(19) >= torch.tensor([[0], [6], [11]])  # on the left, as generation pads
    logits = ours(ids, Layout((19,), mask=mask))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    placed = {} if model.config.model_type == "mamba" else {"position_ids": positions}
    theirs = theirs_of(model, ids, attention_mask=mask.long(), **placed)
    for row, valid in enumerate(mask):
        assert (logits[row, valid] - ours(ids[row : row + 1, valid])[0]).abs().max() < tolerance(name)
        assert (logits[row, valid] - theirs[row, valid]).abs().max() < tolerance(name)


@torch.no_grad()
def test_older_configs_mean_the_same(checkpoint: Any, edit: Any):
    ids = drawn(4, 2, 30)
    folder, model = checkpoint(CONFIGS["llama, linear scaling"]())
    edit(folder, rope_parameters=None, rope_theta=1000.0, rope_scaling={"type": "linear", "factor": 4.0})
    assert (load_checkpoint(folder).model(ids) - theirs_of(model, ids)).abs().max() < TOLERANCE
    folder, model = checkpoint(CONFIGS["gpt_neox, one after another, half"]())
    edit(folder, rope_parameters=None, rotary_pct=0.5, rotary_emb_base=10000)
    assert (load_checkpoint(folder).model(ids) - theirs_of(model, ids)).abs().max() < TOLERANCE
    folder, model = checkpoint(CONFIGS["qwen2, windows above"]())
    edit(folder, layer_types=None)
    assert (load_checkpoint(folder).model(ids) - theirs_of(model, ids)).abs().max() < TOLERANCE


@torch.no_grad()
def test_shards_hold_the_same(checkpoint: Any):
    folder, model = checkpoint(CONFIGS["llama"](), max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    ids = drawn(5, 1, 9)
    assert (load_checkpoint(folder).model(ids) - theirs_of(model, ids)).abs().max() < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mamba"])
def test_half_precision_is_near(name: str, checkpoint: Any):
    folder, model = checkpoint(CONFIGS[name]())
    loaded = load_checkpoint(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    ids = drawn(6, 2, 12)
    expected = theirs_of(model, ids)
    assert (loaded.model(ids).float() - expected).abs().mean() < 0.03 * expected.std()


def test_what_is_loaded_trains_and_keeps_its_marks(checkpoint: Any):
    folder, _ = checkpoint(CONFIGS["mamba"]())
    model = load_checkpoint(folder).model
    model(drawn(7, 1, 5)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter._no_weight_decay for name, parameter in model.named_parameters() if "A_log" in name)


def test_code_that_comes_along_is_not_run(checkpoint: Any, edit: Any, tmp_path: Path):
    folder, _ = checkpoint(CONFIGS["llama"]())
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (folder / "modeling_evil.py").write_text(trap)
    edit(folder, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    load_checkpoint(folder)
    assert not (tmp_path / "ran").exists()
