"""The folder of a personalisation: what was trained, what it brought, and a page to read."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniform.adaptation.peft_files import (
    CONFIG,
    load_low_rank,
    load_prefix,
    save_low_rank,
    save_prefix,
)
from omniform.adaptation.prefix import Prefixed
from omniform.adaptation.selection import begin, trained_tensors
from omniform.adaptation.settings import Adaptation
from omniform.errors import ConfigError, IncompatibleError, RunError
from omniform.mixers.attention import Attention
from omniform.serial import from_json, read_json, to_json
from omniform.training.checkpoint import load_tensors, replace_file, save_tensors
from omniform.versions import versions
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import CausalModel
from omniform_codegen.personalization.comparison import Comparison
from omniform_codegen.personalization.counterparts import find_counterparts
from omniform_codegen.personalization.tuning import Personalization

__all__ = ["load_personalized", "report", "save_personalization"]

_RECORD = "personalization.json"
_CHANGES = "changes.safetensors"


def report(personalization: Personalization) -> dict[str, Any]:
    """Return scores, cost and how they came about, as plain values; nothing in it tells who wrote the code."""
    fit, cost = personalization.fit, personalization.cost
    return {
        "verdict": personalization.verdict,
        "metrics": {each.metric.name: _row(each) for each in personalization.comparisons},
        "method": to_json(personalization.settings),
        "context": personalization.context,
        "cost": asdict(cost) | {"steps": fit.steps, "seconds": fit.seconds, "cpu_seconds": fit.cpu_seconds},
        "validation": [to_json(record) for record in fit.history if record.validation is not None],
        "training": to_json(personalization.training),
        "seed": personalization.seed,
        "versions": versions(),
    }


def save_personalization(
    personalization: Personalization, folder: Path, *, base: str, command: str = "", fingerprint: str = ""
) -> dict[str, Any]:
    """Write a folder, the record last, and return the record.

    - `personalization.json`: the scores before and after with intervals, cost, settings, versions.
    - An adapter, and a prefix of attention: `adapter_config.json` and `adapter_model.safetensors`, which `peft` reads;
      under the names of the base's checkpoint, where it came from one.
    - Anything else: `changes.safetensors`, the tensors that trained.

    Args:
        base: what the base was loaded from, a path or a name on the hub.
        command: what was typed.
        fingerprint: of the files that were tuned to.

    Raises:
        ConfigError: there is something in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"expected --out to name a new or empty folder, got {folder}")
    model = personalization.language.model
    names = _save_trained(model, personalization.settings, folder, base)
    record = report(personalization) | {
        "base": base,
        "names": names,
        "fingerprint": fingerprint,
        "command": command,
    }
    replace_file(folder / _RECORD, (json.dumps(to_json(record), indent=1, allow_nan=False) + "\n").encode())
    return record


def load_personalized(language: LanguageModel, folder: str | Path, *, base: str | Path | None = None) -> LanguageModel:
    """Return a copy of the base model with what `save_personalization` wrote put into it, or `peft` for a checkpoint.

    Args:
        base: where the model was loaded from, if that is no longer where it was.

    Raises:
        RunError: a file is missing or broken, or an adapter of another kind.
        IncompatibleError: the folder belongs to another network.
    """
    folder = Path(folder)
    record = _read_record(folder)
    settings, model = record.settings, copy.deepcopy(language.model)
    counterparts = find_counterparts(base or record.base) if record.names == "theirs" else None
    if record.names == "theirs" and counterparts is None:
        raise RunError(f"expected the base model of {folder} in {base or record.base}, got none; tell where it lies")
    if settings.method == "adapter":
        load_low_rank(model, folder, counterparts=counterparts)
        return _ready(language, model)
    start = None
    if settings.method == "prefix":
        ids = torch.full((1, settings.prefix_length), language.tokenizer.special.end)
        start = model.extend(ids.to(model.output_weight.device), model.init_state(1))[1]
    begin(model, settings, start=start)
    if (folder / CONFIG).exists():
        load_prefix(model, folder, counterparts=counterparts)
    else:
        _load_changes(model, folder)
    return _ready(language, model)


@dataclass(frozen=True, slots=True)
class _Record:
    """What has to be known of a folder to load it."""

    settings: Adaptation
    base: str
    names: str


def _read_record(folder: Path) -> _Record:
    """Read our record, or peft's where that stands alone."""
    ours = (folder / _RECORD).exists() or not (folder / CONFIG).exists()
    path = folder / (_RECORD if ours else CONFIG)
    told = read_json(path)
    try:
        if ours:
            return _Record(from_json(Adaptation, told["method"], where=str(path)), told["base"], told["names"])
        prefix = told["peft_type"] == "PREFIX_TUNING"
        settings = Adaptation(method="prefix", prefix_length=told["num_virtual_tokens"]) if prefix else Adaptation()
        return _Record(settings, told["base_model_name_or_path"] or "", "theirs")
    except (KeyError, TypeError) as error:
        raise RunError(f"expected what `personalize` wrote in {path}, got {error!r}; run it again") from None


def _save_trained(model: nn.Module, settings: Adaptation, folder: Path, base: str) -> str:
    """Write the trained tensors and return whose names they go under."""
    prefixes = [module.mixer for module in model.modules() if isinstance(module, Prefixed)]
    attention = bool(prefixes) and all(isinstance(mixer, Attention) for mixer in prefixes)
    if settings.method != "adapter" and not attention:
        save_tensors(folder / _CHANGES, trained_tensors(model))
        return "ours"
    save = save_low_rank if settings.method == "adapter" else save_prefix
    counterparts = find_counterparts(base)
    if counterparts is not None:
        try:
            save(model, folder, base=base, counterparts=counterparts)
            return "theirs"
        except IncompatibleError:  # a map of ours that is a part of one of theirs: under its own name then
            pass
    save(model, folder, base=base)
    return "ours"


@torch.no_grad()
def _load_changes(model: nn.Module, folder: Path) -> None:
    """Copy the tensors of a folder into a network that has been made ready for them."""
    changes, own = load_tensors(folder / _CHANGES), trained_tensors(model)
    shapes, wanted = ({name: tuple(value.shape) for name, value in each.items()} for each in (changes, own))
    if shapes != wanted:
        name = min(shapes.items() ^ wanted.items())[0]
        got = f"{name} of shape {shapes[name]}" if name in shapes else f"no {name}"
        raise IncompatibleError(f"{folder / _CHANGES} belongs to another network: it has {got}")
    for name, value in own.items():
        value.copy_(changes[name])


def _ready(language: LanguageModel, model: CausalModel) -> LanguageModel:
    return replace(language, model=model.requires_grad_(False).eval())


def _row(comparison: Comparison) -> dict[str, Any]:
    difference = comparison.difference
    return {
        "before": comparison.before,
        "after": comparison.after,
        "difference": difference.value,
        "interval": None if difference.low is None else [difference.low, difference.high],
        "units": comparison.units,
        "lower_is_better": comparison.metric.lower_is_better,
        "outcome": comparison.outcome,
    }
