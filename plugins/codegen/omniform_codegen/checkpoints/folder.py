"""The files of a checkpoint: found, kept inside their folder, read as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omniform.errors import RunError

__all__ = ["checkpoint_file", "is_checkpoint", "read_json", "weight_files"]

_MOST_JSON = 200_000_000  # bytes; the largest tokenizer.json of an open model has 33 million
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def is_checkpoint(path: str | Path) -> bool:
    """Tell whether this is a folder whose config.json names a `model_type`, and so no run of ours."""
    try:
        return isinstance(read_json(Path(path), "config.json").get("model_type"), str)
    except (RunError, OSError):
        return False


def checkpoint_file(folder: Path, name: str) -> Path:
    """Return where a file of the folder lies, links followed.

    Links may lead to the folder itself or, from a snapshot in the hub's cache, to the blobs of its repository.

    Raises:
        RunError: it is missing, or lies elsewhere.
    """
    if name != Path(name).name:
        raise RunError(f"expected files in {folder} itself, got {name!r}; fetch the checkpoint again")
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise RunError(f"expected {name} in {folder}, but it is missing; fetch the checkpoint again") from None
    home = folder.resolve()
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not path.is_file() or not any(path.is_relative_to(place) for place in homes):
        raise RunError(f"expected {name} to be a file inside {folder}, got {path}; copy the file there")
    return path


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: it is missing, too large, or none.
    """
    path = checkpoint_file(folder, name)
    size = path.stat().st_size
    if size > _MOST_JSON:
        raise RunError(f"expected at most {_MOST_JSON} bytes in {folder / name}, got {size}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RunError(f"expected JSON in {folder / name}, got {error}; fetch the file again") from None
    if not isinstance(value, dict):
        raise RunError(f"expected a JSON object in {folder / name}, got a {type(value).__name__}")
    return value


def weight_files(folder: Path) -> tuple[list[Path], dict[str, str] | None]:
    """Return the safetensors files, and for several which file the index says holds each tensor.

    Raises:
        RunError: there are none, or the index is broken.
    """
    if (folder / _SINGLE).exists():
        return [checkpoint_file(folder, _SINGLE)], None
    if not (folder / _INDEX).exists():
        raise RunError(_absence(folder))
    places = read_json(folder, _INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise RunError(f"expected a weight_map from tensors to files in {folder / _INDEX}; fetch the file again")
    names = sorted(set(places.values()))
    for name in names:
        if not name.endswith(".safetensors"):
            raise RunError(
                f"expected safetensors files in {folder / _INDEX}, got {name!r}; pick a revision that has them"
            )
    return [checkpoint_file(folder, name) for name in names], places


def _absence(folder: Path) -> str:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if not pickles:
        return f"expected {_SINGLE} or {_INDEX} in {folder}, got neither; fetch the checkpoint again"
    return (
        f"expected safetensors in {folder}, got {pickles[0]}, a pickle, which can run code when it is read: pick a "
        "revision with safetensors, or have its author convert it with safetensors' own converter"
    )
