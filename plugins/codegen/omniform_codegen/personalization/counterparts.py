"""Whose linear maps ours are, for a network that came from a Hugging Face checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from omniform.adaptation.peft_files import Counterpart
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.folder import is_checkpoint, read_json, weight_files
from omniform_codegen.checkpoints.hub import download, is_hub_name
from omniform_codegen.checkpoints.load import FAMILIES
from omniform_codegen.checkpoints.settings import Settings
from omniform_codegen.checkpoints.weights import Weights

__all__ = ["counterparts_of", "find_counterparts"]


def find_counterparts(base: str | Path) -> dict[str, Counterpart] | None:
    """Return, for a checkpoint, the maps that each of ours was taken from; `None` for a run of our own."""
    folder = Path(base)
    if not folder.exists() and is_hub_name(str(base)):
        folder = download(str(base))
    if not is_checkpoint(folder):
        return None
    config = read_json(folder, "config.json")
    files, places = weight_files(folder)
    with Weights(files, places) as weights, torch.device("meta"):
        settings = Settings(folder / "config.json", config, weights.largest, len(weights.shapes))
        blueprint = FAMILIES[str(config.get("model_type"))](settings)
    return counterparts_of(blueprint)


def counterparts_of(blueprint: Blueprint) -> dict[str, Counterpart]:
    """Return the counterparts of a network's linear maps, by our names.

    One without names is of a map that is a part of one of theirs (GPT-NeoX has queries, keys and values in one): its
    rows tell the order within the part.
    """
    found: dict[str, Counterpart] = {}
    for name, module in blueprint.model.named_modules():
        if isinstance(module, nn.Linear):
            origin = blueprint.origins[f"{name}.weight"]
            each = origin.shape((module.out_features, 1))[0]
            theirs = torch.arange(each * len(origin.names), device="cpu")[:, None].split(each)
            taken = origin.make(*theirs)[:, 0]  # which of their rows each of ours is
            whole = len(taken) == each * len(origin.names)
            rows = taken.argsort().argsort()
            names = tuple(each.removesuffix(".weight") for each in origin.names) if whole else ()
            found[name] = Counterpart(names, None if torch.equal(rows, torch.arange(len(rows))) else rows)
    return found
