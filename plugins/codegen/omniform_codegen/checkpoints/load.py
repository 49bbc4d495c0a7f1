"""Load an open checkpoint as a language model of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from omniform.errors import ConfigError, RunError
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.folder import read_json, weight_files
from omniform_codegen.checkpoints.gpt_neox import gpt_neox
from omniform_codegen.checkpoints.hub import download, is_hub_name
from omniform_codegen.checkpoints.llama import llama, mistral
from omniform_codegen.checkpoints.mamba import mamba
from omniform_codegen.checkpoints.qwen2 import qwen2
from omniform_codegen.checkpoints.settings import Settings
from omniform_codegen.checkpoints.starcoder2 import starcoder2
from omniform_codegen.checkpoints.tokenizer import load_tokenizer
from omniform_codegen.checkpoints.weights import Weights
from omniform_codegen.infilling import find_format
from omniform_codegen.language import LanguageModel

__all__ = ["FAMILIES", "load_checkpoint"]

FAMILIES: Mapping[str, Callable[[Settings], Blueprint]] = {
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen2,
    "starcoder2": starcoder2,
    "gpt_neox": gpt_neox,
    "mamba": mamba,
}
"""Builds the network of a config, by its `model_type`."""

_ALIASES = {
    "gpt_neox": {"lm_head.weight": "embed_out.weight"},
    "mamba": {"backbone.embedding.weight": "backbone.embeddings.weight"},
}
"""Names of tensors that some versions of a family use."""


def load_checkpoint(
    source: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LanguageModel:
    """Read a checkpoint of the Hugging Face kind into our own layers.

    Only safetensors and JSON are read: pickles are refused, and code that comes with a checkpoint is never run. Names
    and shapes are compared with the config before memory is taken; then one tensor is read at a time.

    Args:
        source: a folder with config.json, tokenizer.json and safetensors; or `owner/name[@revision]` on the hub.
        dtype: of the parameters.
        device: where they are put.

    Raises:
        ConfigError: the kind of model, or an option of its config, is not supported.
        RunError: a file is missing, broken, or does not fit the others.
        PluginError: the hub is asked for without huggingface_hub.
    """
    if not dtype.is_floating_point:
        raise ConfigError(f"expected a floating-point dtype for the parameters, got {dtype}")
    folder = _find(source)
    config = read_json(folder, "config.json")
    kind = _check_kind(config, folder)
    files, places = weight_files(folder)
    with Weights(files, places, aliases=_ALIASES.get(kind)) as weights:
        settings = Settings(folder / "config.json", config, weights.largest, len(weights.shapes))
        with torch.device("meta"):
            blueprint = FAMILIES[kind](settings)
        blueprint.check(weights)
        tokenizer = load_tokenizer(folder, config, size=blueprint.model.output_weight.shape[0])
        model = blueprint.fill(weights, dtype=dtype, device=device)
    name = folder.name if Path(source).is_dir() else str(source)
    return LanguageModel(model, tokenizer, name, blueprint.context, find_format(tokenizer.vocabulary))


def _find(source: str | Path) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not folder.exists() and is_hub_name(str(source)):
        return download(str(source))
    raise RunError(f"expected a folder with config.json, or owner/name[@revision] on the hub, got {str(source)!r}")


def _check_kind(config: Mapping[str, object], folder: Path) -> str:
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ConfigError(
            f"expected a model_type among {', '.join(FAMILIES)} in {folder / 'config.json'}, got {kind!r}"
        )
    if config.get("quantization_config") is not None:
        raise ConfigError(f"{folder} is quantised, which is not supported; pick the full-precision checkpoint")
    return kind
