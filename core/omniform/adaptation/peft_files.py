"""Adapters as files that Hugging Face's `peft` reads and writes: `adapter_config.json`, `adapter_model.safetensors`.

Shapes: r rank, p prefix length, N layers, K key heads, d head width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniform.adaptation.lora import LowRank
from omniform.adaptation.prefix import Prefixed
from omniform.errors import IncompatibleError, RunError
from omniform.linear import replace_linear
from omniform.mixers.attention import Attention
from omniform.serial import read_json
from omniform.training.checkpoint import load_tensors, replace_file, save_tensors

__all__ = ["CONFIG", "WEIGHTS", "Counterpart", "load_low_rank", "load_prefix", "save_low_rank", "save_prefix"]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_HEAD = "base_model.model."
_PROMPT = "prompt_embeddings"
_UNREADABLE = {"bias": "none", "use_dora": False, "use_rslora": False, "fan_in_fan_out": False}
_UNREADABLE_PARTS = ("rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices")


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The linear maps of another implementation that one of ours was taken from.

    Attributes:
        names: what they are called there; several where ours holds equal ones, one behind the other (gate and up); none
            where ours is a part of one of theirs (queries, keys and values in one).
        rows: (O,) int64, which of their outputs, in that part, each of ours is, where the order differs (rotary pairs
            side by side or half a head apart); `None` for the same order.
    """

    names: tuple[str, ...]
    rows: Tensor | None = None


Counterparts = Mapping[str, Counterpart]


def save_low_rank(
    model: nn.Module, folder: Path, *, base: str = "", counterparts: Counterparts | None = None
) -> tuple[Path, ...]:
    """Write the low-rank updates of a model and return the files.

    Args:
        base: what the model is called; `peft` looks for it when no model is given.
        counterparts: by our name, the other implementation's map, for a network whose weights came from there; a
            network of our own goes under its own names.

    Raises:
        IncompatibleError: there are no updates, they differ in rank or scale, or one has no counterpart.
    """
    updates = {name: module for name, module in model.named_modules() if isinstance(module, LowRank)}
    if len({(module.rank, module.alpha, module.dropout.p) for module in updates.values()}) != 1:
        raise IncompatibleError("expected low-rank updates of one rank and one scale to write, got none or several")
    tensors: dict[str, Tensor] = {}
    names = []
    for name, module in updates.items():
        other = _counterpart(name, counterparts)
        if not other.names:
            raise IncompatibleError(f"{name} is a part of a map of the other network; write it under its own name")
        names += other.names
        shares = _to_theirs(module.up, other.rows).chunk(len(other.names))
        for theirs, share in zip(other.names, shares, strict=True):
            tensors[_key(theirs, "A")], tensors[_key(theirs, "B")] = module.down, share
    first = next(iter(updates.values()))
    config = {
        "peft_type": "LORA",
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": first.dropout.p,
        "target_modules": names,
        **_UNREADABLE,
    }
    return _save(folder, config, base, tensors)


def load_low_rank(model: nn.Module, folder: Path, *, counterparts: Counterparts | None = None) -> list[str]:
    """Give a model the low-rank updates in a folder and return the names of the maps.

    Raises:
        RunError: the files are missing, broken, or of a kind that is not read here.
        IncompatibleError: they belong to another network.
    """
    config, tensors = _load(folder, "LORA")
    wrong = [name for name, value in _UNREADABLE.items() if config.get(name, value) != value]
    wrong += [name for name in _UNREADABLE_PARTS if config.get(name)]
    if wrong:
        raise RunError(
            f"expected a plain LoRA adapter in {folder}, got one with {', '.join(wrong)}; merge it elsewhere"
        )
    try:
        rank, alpha, dropout = int(config["r"]), float(config["lora_alpha"]), float(config.get("lora_dropout", 0.0))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"expected r and lora_alpha in {folder / CONFIG}, got {error!r}") from None
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    updates: dict[nn.Linear, LowRank] = {}
    names, used = [], set()
    for name, linear in linears.items():
        if counterparts is not None and name not in counterparts:
            continue
        other = _counterpart(name, counterparts)
        keys = {_key(theirs, part) for theirs in other.names for part in "AB"} & tensors.keys()
        if keys:
            names.append(name)
            used |= keys
            updates[linear] = _read_update(linear, other, tensors, rank=rank, alpha=alpha, dropout=dropout)
    if not used or used != tensors.keys():
        strange = next(iter(sorted(tensors.keys() - used)), "no tensors")
        raise IncompatibleError(f"the adapter in {folder} belongs to another network, which has {strange}")
    replace_linear(model, updates.__getitem__, lambda name, linear: linear in updates)
    return names


def save_prefix(
    model: nn.Module, folder: Path, *, base: str = "", counterparts: Counterparts | None = None
) -> tuple[Path, ...]:
    """Write the trained keys and values of a model's attention and return the files.

    `peft` keeps them as one matrix `(p, N 2 K d)`. There is no such form for the states of other mixers.

    Raises:
        IncompatibleError: a prefix is not attention's, or they differ in shape.
    """
    added = _prefixes(model)
    tables, shapes = [], set()
    for name, module in added.items():
        shapes.add(tuple(module.start["keys"].shape))
        rows = _counterpart(f"{name}.key", counterparts).rows
        keys, values = (module.start[part][0].transpose(0, 1).flatten(1) for part in ("keys", "values"))  # (p, K d)
        tables += [_to_theirs(keys.mT, rows).mT, values]
    if len(shapes) != 1:
        raise IncompatibleError(f"expected prefixes of one shape to write, got {sorted(shapes) or 'none'}")
    _, heads, length, width = shapes.pop()
    config = {
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": length,
        "token_dim": heads * width,
        "num_transformer_submodules": 1,
        "num_attention_heads": heads,
        "num_layers": len(added),
        "encoder_hidden_size": heads * width,
        "prefix_projection": False,
    }
    return _save(folder, config, base, {_PROMPT: torch.cat(tables, dim=1)})


def load_prefix(model: nn.Module, folder: Path, *, counterparts: Counterparts | None = None) -> None:
    """Fill the prefixes of a model, which it has already and of that length, from a folder.

    Raises:
        RunError: the files are missing, broken, or of a kind that is not read here.
        IncompatibleError: they belong to another network, or to a prefix of another length.
    """
    config, tensors = _load(folder, "PREFIX_TUNING")
    if config.get("prefix_projection"):
        raise RunError(f"expected a prefix without projection in {folder}, got one with; save it without elsewhere")
    added = _prefixes(model)
    starts = [module.start[part] for module in added.values() for part in ("keys", "values")]
    width = sum(start[0, :, 0].numel() for start in starts)
    table = tensors.get(_PROMPT)
    wanted = (starts[0].shape[2], width)
    if table is None or tuple(table.shape) != wanted:
        got = "none" if table is None else tuple(table.shape)
        raise IncompatibleError(f"expected {_PROMPT} of shape {wanted} in {folder}, got {got}")
    columns = iter(table.chunk(len(starts), dim=1))
    with torch.no_grad():
        for name, module in added.items():
            rows = _counterpart(f"{name}.key", counterparts).rows
            for part, order in (("keys", rows), ("values", None)):
                start = module.start[part]
                flat = _to_ours(next(columns).mT, order).mT  # (p, K d)
                start.copy_(flat.unflatten(1, (start.shape[1], -1)).transpose(0, 1)[None])


def _prefixes(model: nn.Module) -> dict[str, Prefixed]:
    """Return the prefixes of attention by the names of the mixers in whose place they stand."""
    added = {name: module for name, module in model.named_modules() if isinstance(module, Prefixed)}
    if not added or not all(isinstance(module.mixer, Attention) for module in added.values()):
        raise IncompatibleError("expected a trained prefix for attention in every layer, got none or other states")
    return added


def _counterpart(name: str, counterparts: Counterparts | None) -> Counterpart:
    if counterparts is None:
        return Counterpart((name,))
    if name not in counterparts:
        raise IncompatibleError(f"{name} has no counterpart in the other network; write it under its own name")
    return counterparts[name]


def _read_update(
    linear: nn.Linear, other: Counterpart, tensors: Mapping[str, Tensor], *, rank: int, alpha: float, dropout: float
) -> LowRank:
    """Return the updates of several maps as one: of n times the rank, unless they share A, as those we wrote do."""
    count = len(other.names)
    downs = [tensors.get(_key(name, "A"), torch.zeros(rank, linear.in_features)) for name in other.names]
    ups = [tensors.get(_key(name, "B"), torch.zeros(linear.out_features // count, rank)) for name in other.names]
    shapes = [tuple(part.shape) for part in (*downs, *ups)]
    wanted = [(rank, linear.in_features)] * count + [(linear.out_features // count, rank)] * count
    if shapes != wanted:
        raise IncompatibleError(f"expected an update of {other.names[0]} of the shapes {wanted}, got {shapes}")
    shared = all(torch.equal(down, downs[0]) for down in downs)
    times = 1 if shared else count
    update = LowRank(linear, rank=times * rank, alpha=times * alpha, dropout=dropout)
    with torch.no_grad():
        update.down.copy_(downs[0] if shared else torch.cat(downs))
        update.up.copy_(_to_ours(torch.cat(ups) if shared else torch.block_diag(*ups), other.rows))
    return update


def _key(name: str, part: str) -> str:
    return f"{_HEAD}{name}.lora_{part}.weight"


def _to_ours(theirs: Tensor, rows: Tensor | None) -> Tensor:
    return theirs if rows is None else theirs[rows]


def _to_theirs(ours: Tensor, rows: Tensor | None) -> Tensor:
    return ours if rows is None else torch.empty_like(ours).index_copy(0, rows, ours)


def _save(folder: Path, config: dict[str, Any], base: str, tensors: Mapping[str, Tensor]) -> tuple[Path, ...]:
    """Write tensors, then the config that names them."""
    shared = {"base_model_name_or_path": base or None, "task_type": "CAUSAL_LM", "inference_mode": True}
    save_tensors(folder / WEIGHTS, tensors)
    replace_file(folder / CONFIG, (json.dumps(config | shared, indent=2) + "\n").encode())
    return folder / CONFIG, folder / WEIGHTS


def _load(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != kind:
        got = config.get("peft_type") if isinstance(config, dict) else config
        raise RunError(f"expected an adapter of the type {kind} in {folder}, got {got!r}")
    return config, load_tensors(folder / WEIGHTS)
