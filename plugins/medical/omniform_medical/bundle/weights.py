"""The weights of a bundle: tensors and nothing that runs."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from omniform.errors import DataError
from omniform_medical.bundle.files import BundleFiles

__all__ = ["load_weights"]

_SAFE, _PICKLED = "models/model.safetensors", "models/model.pt"


def load_weights(network: nn.Module, files: BundleFiles) -> None:
    """Give a network the weights of a bundle: of `model.safetensors`, else of `model.pt`.

    The latter is a pickle: only tensors and plain containers are taken from it, and it is refused if it names anything
    that could run.

    Raises:
        DataError: there are no weights, they are of another make, or they are not those of the network.
    """
    weights = _read(files)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2]  # after a title
        raise DataError(
            f"the weights of {files.path.name!r} are not those of its network_def ({''.join(first).strip()[:200]})"
        ) from None


def _read(files: BundleFiles) -> dict[str, Tensor]:
    if _SAFE in files:
        try:
            return load(files.read(_SAFE))
        except SafetensorError:
            raise DataError(f"expected safetensors in {_SAFE} of {files.path.name!r}; copy the bundle anew") from None
    if _PICKLED not in files:
        raise DataError(f"expected {_SAFE} or {_PICKLED} in the bundle {files.path.name!r}, but there is neither")
    content = io.BytesIO(files.read(_PICKLED))
    try:
        with warnings.catch_warnings(action="ignore"):  # of the format of what is refused anyway
            value = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{_PICKLED} of {files.path.name!r} holds more than tensors and may run code; it was not loaded; have it "
            f"saved as {_SAFE}"
        ) from None
    except Exception:  # a broken file fails in many ways
        raise DataError(f"{_PICKLED} of {files.path.name!r} is truncated or no file of torch; copy it anew") from None
    return _state(value, files)


def _state(value: Any, files: BundleFiles) -> dict[str, Tensor]:
    """Return the tensors by name, which checkpoints keep under a name of their own."""
    for held in (value, *(value.get(name) for name in ("model", "state_dict") if isinstance(value, Mapping))):
        if isinstance(held, Mapping) and held and all(isinstance(each, Tensor) for each in held.values()):
            return dict(held)
    raise DataError(f"expected tensors by name in {_PICKLED} of {files.path.name!r}, got something else")
