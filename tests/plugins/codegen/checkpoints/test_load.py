"""Broken, hostile and unsupported checkpoints: one clear line each, before any memory is taken."""

import json
import random
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from omniform.errors import ConfigError, OmniformError, PluginError, RunError
from omniform_codegen.checkpoints import is_checkpoint, load_checkpoint
from omniform_codegen.infilling import STAR_CODER

transformers = pytest.importorskip("transformers")


@pytest.fixture
def llama(checkpoint: Any) -> Path:
    return checkpoint(small())[0]


def small(**options: Any) -> Any:
    return transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, **options
    )


def refusal(source: Any, kind: type[OmniformError] = RunError) -> str:
    with pytest.raises(kind) as caught:
        load_checkpoint(source)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def refused_or_loaded(folder: Path) -> str:
    try:
        load_checkpoint(folder)
    except OmniformError as error:
        return str(error)
    return ""


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_folder_is_known_by_its_config(llama: Path, tmp_path: Path):
    assert is_checkpoint(llama)
    assert is_checkpoint(str(llama))
    (tmp_path / "run").mkdir()
    for content in ("{}", '{"model_type": 3}', "[]", "no JSON", "[" * 100_000):
        (tmp_path / "run" / "config.json").write_text(content)
        assert not is_checkpoint(tmp_path / "run")
    for nothing in (tmp_path / "absent", llama / "config.json", "owner/name", "\0"):
        assert not is_checkpoint(nothing)


def test_a_model_knows_its_name_its_context_and_its_form(llama: Path, edit: Any):
    edit(llama, max_position_embeddings=77)
    loaded = load_checkpoint(str(llama))
    assert (loaded.name, loaded.context, loaded.form) == ("model", 77, None)
    assert len(loaded.tokenizer) == 261
    assert not loaded.model.training
    spec = json.loads((llama / "tokenizer.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    for place, name in enumerate(("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), start=257):
        spec["added_tokens"].append({"id": place, "content": name, "special": True, **flags})
    (llama / "tokenizer.json").write_text(json.dumps(spec))
    loaded = load_checkpoint(llama)
    assert loaded.form is STAR_CODER
    assert loaded.infills


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not JSON", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[1]", "expected a JSON object"),
        (b'{"model_type": "t5"}', "model_type among llama"),
        (b'{"model_type": ["llama"]}', "model_type among llama"),
        (b"{}", "model_type among llama"),
        (b'{"model_type": "llama"}', "hidden_size"),
        (b'{"model_type": "llama", "quantization_config": {}}', "quantised"),
    ],
)
def test_a_config_that_cannot_be_read(llama: Path, content: bytes, message: str):
    (llama / "config.json").write_bytes(content)
    assert message in refusal(llama, OmniformError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 10**12),
        ("hidden_size", 10**12),
        ("num_hidden_layers", 10**12),
        ("intermediate_size", 10**30),
        ("head_dim", 10**12),
        ("num_attention_heads", 10**12),
        ("num_attention_heads", 0),
        ("num_key_value_heads", 3),
        ("hidden_size", -16),
        ("hidden_size", 16.0),
        ("hidden_size", True),
        ("hidden_act", "relu"),
        ("attention_bias", "yes"),
        ("rms_norm_eps", float("nan")),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", 10**400),
        ("max_position_embeddings", "many"),
        ("partial_rotary_factor", 0.5),
        ("rope_parameters", [1]),
    ],
)
def test_an_option_that_is_not_supported(llama: Path, edit: Any, name: str, value: Any):
    edit(llama, **{name: value})
    assert f"expected {name} in" in refusal(llama, ConfigError)


def test_heads_that_cannot_be_rotated(llama: Path, edit: Any):
    edit(llama, head_dim=7)
    assert "an even number of its 7 channels" in refusal(llama, ConfigError)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "yarn", "factor": 4.0}, "one of default, linear, llama3"),
        ({"type": "dynamic", "factor": 4.0}, "one of default, linear, llama3"),
        ({"rope_type": "linear"}, "factor"),
        ({"rope_type": "linear", "factor": -1}, "factor"),
        ({"rope_type": "llama3", "factor": 8.0}, "original_max_position_embeddings"),
        ({"full_attention": {"rope_theta": 1e4}}, "the same for all layers"),
        ({"rope_theta": float("inf")}, "rope_theta"),
    ],
)
def test_rotations_that_are_not_supported(llama: Path, edit: Any, rope: dict[str, Any], message: str):
    edit(llama, rope_parameters=rope)
    assert message in refusal(llama, ConfigError)


def test_nothing_large_is_allocated(llama: Path, edit: Any):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = (llama / "config.json").read_text()
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "head_dim"):
        (llama / "config.json").write_text(config)
        edit(llama, **{name: 10**8})
        refusal(llama, ConfigError)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_truncated_weights(llama: Path, share: float):
    path = llama / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "expected safetensors" in refusal(llama)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"[]", b"\x80\x04pickled" * 9],
)
def test_weights_that_are_none(llama: Path, content: bytes):
    (llama / "model.safetensors").write_bytes(content)
    assert "expected safetensors" in refusal(llama)


def test_a_header_that_lies_about_sizes(llama: Path, edit: Any):
    """A tensor of no numbers may claim any extent; it must not vouch for one of the config."""
    change_weights(llama, lambda tensors: tensors.update(extra=torch.zeros(10**12, 0)))
    edit(llama, head_dim=10**12, rope_parameters={"rope_type": "linear", "factor": 2.0})
    assert "head_dim" in refusal(llama, ConfigError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "model.norm.weight of shape (16,), got none"),
        (lambda t: t.pop("lm_head.weight"), "lm_head.weight of shape (261, 16), got none"),
        (lambda t: t.update({"model.norm.weight": torch.ones(17)}), "(16,), got (17,)"),
        (lambda t: t.update({"model.norm.weight": torch.ones(16, 1)}), "(16,), got (16, 1)"),
        (lambda t: t.update({"model.norm.weight": torch.ones(16, dtype=torch.int8)}), "quantised"),
        (lambda t: t.update({"model.norm.bias": torch.ones(16)}), "no tensor 'model.norm.bias'"),
        (lambda t: t.update({"model.layers.2.input_layernorm.weight": torch.ones(16)}), "no tensor"),
        (lambda t: t.update({"x\n" * 500: torch.ones(16)}), "no tensor"),
        (
            lambda t: t.update(
                {
                    "model.layers.0.mlp.gate_proj.weight": torch.ones(20, 16),
                    "model.layers.0.mlp.up_proj.weight": torch.ones(28, 16),
                }
            ),
            "(24, 16), got (20, 16)",
        ),
    ],
)
def test_tensors_that_do_not_fit(llama: Path, change: Any, message: str):
    change_weights(llama, change)
    assert message in refusal(llama)


def test_what_follows_from_the_config_is_passed_over(checkpoint: Any, llama: Path):
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    change_weights(llama, lambda tensors: tensors.update({name: torch.ones(4)}))
    load_checkpoint(llama)
    config = transformers.GPTNeoXConfig(
        hidden_size=32, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    folder, _ = checkpoint(config)
    for leaf in ("bias", "masked_bias", "rotary_emb.inv_freq"):
        name = f"gpt_neox.layers.0.attention.{leaf}"
        change_weights(folder, lambda tensors, name=name: tensors.update({name: torch.ones(1, 1, 9, 9).bool()}))
    load_checkpoint(folder)


def test_names_of_older_versions(checkpoint: Any):
    ids = torch.arange(9)[None]
    for config, old, new in (
        (
            transformers.MambaConfig(hidden_size=16, num_hidden_layers=1),
            "backbone.embedding.weight",
            "backbone.embeddings.weight",
        ),
        (
            transformers.GPTNeoXConfig(
                hidden_size=32, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
            ),
            "lm_head.weight",
            "embed_out.weight",
        ),
    ):
        folder, _ = checkpoint(config)
        expected = load_checkpoint(folder).model(ids)
        change_weights(folder, lambda tensors, old=old, new=new: tensors.update({old: tensors.pop(new)}))
        assert torch.equal(load_checkpoint(folder).model(ids), expected)


def test_a_tied_head_may_be_repeated_but_not_differ(checkpoint: Any):
    folder, _ = checkpoint(small(tie_word_embeddings=True))
    change_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert load_checkpoint(folder).model.head is None
    change_weights(folder, lambda t: t["lm_head.weight"].add_(1))
    assert "tie_word_embeddings" in refusal(folder)
    change_weights(folder, lambda t: t.update({"lm_head.weight": torch.zeros(2, 2)}))
    assert "(261, 16), got (2, 2)" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.pkl"])
def test_pickles_are_refused_with_the_remedy(llama: Path, name: str):
    (llama / "model.safetensors").rename(llama / name)
    message = refusal(llama)
    assert name in message
    assert "revision with safetensors" in message


def test_missing_files(llama: Path, tmp_path: Path):
    (llama / "model.safetensors").unlink()
    assert "got neither" in refusal(llama)
    (llama / "config.json").unlink()
    assert "config.json" in refusal(llama)
    assert "tokenizer.json" not in refusal(tmp_path / "absent")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("no JSON", "expected JSON"),
        ("{}", "weight_map"),
        ('{"weight_map": {}}', "weight_map"),
        ('{"weight_map": {"x": 3}}', "weight_map"),
        ('{"weight_map": {"x": "../model.safetensors"}}', "'../model.safetensors'"),
        ('{"weight_map": {"x": "/etc/x.safetensors"}}', "'/etc/x.safetensors'"),
        ('{"weight_map": {"x": "pytorch_model.bin"}}', "'pytorch_model.bin'"),
        ('{"weight_map": {"x": "absent.safetensors"}}', "absent.safetensors"),
        ('{"weight_map": {"x": "part.safetensors"}}', "expected x in part.safetensors"),
        ('{"weight_map": {"x": "\\u0000.safetensors"}}', "missing"),
    ],
)
def test_an_index_that_is_broken(llama: Path, index: str, message: str):
    (llama / "model.safetensors").rename(llama / "part.safetensors")
    (llama / "model.safetensors.index.json").write_text(index)
    assert message in refusal(llama)


def test_a_tensor_in_two_shards(llama: Path):
    (llama / "model.safetensors").rename(llama / "a.safetensors")
    save_file({"model.norm.weight": torch.ones(16)}, llama / "b.safetensors")
    places = {"model.norm.weight": "a.safetensors", "lm_head.weight": "b.safetensors"}
    (llama / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert "expected one tensor model.norm.weight" in refusal(llama)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_links_out_of_the_folder_are_not_followed(llama: Path, tmp_path: Path, name: str):
    outside = tmp_path / f"outside-{name}"
    (llama / name).rename(outside)
    (llama / name).symlink_to(outside)
    assert "inside" in refusal(llama)
    (llama / name).unlink()
    (llama / name).symlink_to(llama / name)
    refusal(llama)


def test_a_snapshot_of_the_hub_s_cache_links_to_its_blobs(llama: Path, tmp_path: Path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for place, path in enumerate(sorted(llama.iterdir())):
        path.rename(blobs / str(place))
        (snapshot / path.name).symlink_to(f"../../blobs/{place}")
    assert is_checkpoint(snapshot)
    load_checkpoint(snapshot)


def test_the_hub_is_asked_for_safetensors_and_json_alone(llama: Path, monkeypatch: pytest.MonkeyPatch):
    hub = pytest.importorskip("huggingface_hub")
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(llama)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    loaded = load_checkpoint("owner/some-model.v1@refs/pr/3")
    assert (asked["name"], asked["revision"], loaded.name) == (
        "owner/some-model.v1",
        "refs/pr/3",
        "owner/some-model.v1@refs/pr/3",
    )
    assert asked["allow_patterns"] == ["*.json", "*.safetensors"]
    load_checkpoint("owner/name")
    assert asked["revision"] is None


def test_a_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "HF_HUB_OFFLINE" in refusal("owner/no-such-model-here")
    for source in ("no-owner", "a/b/c", "../x", "owner/name@", "http://x/y", "\0"):
        assert "owner/name[@revision]" in refusal(source)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "omniform[codegen]" in refusal("owner/name", PluginError)


def test_a_dtype_must_be_of_floats(llama: Path):
    with pytest.raises(ConfigError, match="floating-point"):
        load_checkpoint(llama, dtype=torch.int8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_bias": True}, "use_bias"),
        ({"use_conv_bias": False}, "use_conv_bias"),
        ({"expand": 0}, "expand"),
        ({"time_step_rank": "many"}, "time_step_rank"),
        ({"state_size": 10**12}, "state_size"),
    ],
)
def test_mambas_that_are_not_supported(checkpoint: Any, edit: Any, options: dict[str, Any], message: str):
    folder, _ = checkpoint(transformers.MambaConfig(hidden_size=16, num_hidden_layers=1))
    edit(folder, **options)
    assert message in refusal(folder, ConfigError)


def test_windows_that_are_not_supported(checkpoint: Any, edit: Any):
    folder, _ = checkpoint(
        transformers.Qwen2Config(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
        )
    )
    for options in ({"layer_types": ["full_attention"]}, {"layer_types": ["chunked_attention"] * 2}):
        edit(folder, **options)
        assert "layer_types" in refusal(folder, ConfigError)
    edit(folder, layer_types=None, use_sliding_window=True, sliding_window=0)
    assert "sliding_window" in refusal(folder, ConfigError)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_flipped_bytes_are_loaded_or_refused_in_a_line(llama: Path, name: str):
    content, draw = (llama / name).read_bytes(), random.Random(0)
    refused = 0
    for _ in range(60):
        broken = bytearray(content)
        for _ in range(draw.choice((1, 1, 5))):
            broken[draw.randrange(min(len(broken), 2000))] = draw.randrange(256)
        (llama / name).write_bytes(broken)
        message = refused_or_loaded(llama)
        assert "\n" not in message
        refused += message != ""
    assert refused > 10


@pytest.mark.parametrize(
    "value", [0, -1, 7, 1.5, 10**20, float("nan"), True, "x", [], [1], {"a": 1}, {"type": "linear"}]
)
def test_odd_values_are_loaded_or_refused_in_a_line(llama: Path, edit: Any, value: Any):
    config = (llama / "config.json").read_text()
    for name in [*json.loads(config), "rope_scaling", "rope_theta", "head_dim", "quantization_config"]:
        (llama / "config.json").write_text(config)
        edit(llama, **{name: value})
        assert "\n" not in refused_or_loaded(llama)
