"""What a prediction and a training step cost, measured on one item."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from omniform.estimator import NetworkPredictor

__all__ = ["latency_ms", "memory_mb"]

_WARM_UPS = 3
_TRIALS = 21


def latency_ms(predictor: NetworkPredictor, items: Any) -> float:
    """Return the median time of one prediction for the first item, a batch of 1, where the model is."""
    import torch

    batch = _first_item(predictor, items, fitting=False)
    on_gpu = _device(predictor).type == "cuda"
    times = []
    with torch.no_grad():
        for _ in range(_WARM_UPS + _TRIALS):
            start = time.perf_counter()
            predictor.network.decode(predictor.model, batch)
            if on_gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return 1e3 * median(times[_WARM_UPS:])


def memory_mb(predictor: NetworkPredictor, items: Any) -> float:
    """Return the megabytes that the forward pass of one training item keeps for the backward pass, weights apart.

    Measured in eval mode, for normalisation over a batch of 1 has no statistics; the activations are the same.
    """
    import torch

    batch = _first_item(predictor, items, fitting=True)
    weights = {parameter.untyped_storage().data_ptr() for parameter in predictor.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    generator = torch.Generator(device=_device(predictor)).manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = predictor.network.objective(predictor.model, batch, generator=generator)
    megabytes = sum(kept.values()) / 2**20
    del losses  # alive until here, so that no storage was freed and its address counted for another
    return megabytes


def _first_item(predictor: NetworkPredictor, items: Any, *, fitting: bool) -> Any:
    from omniform.training.precision import move_to
    from omniform.training.sampler import read_items

    return move_to(read_items(predictor.network.dataset(items, fitting), [0]), _device(predictor))


def _device(predictor: NetworkPredictor) -> torch.device:
    return next(predictor.model.parameters()).device
