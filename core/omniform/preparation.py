"""From data and options to a network of a size: what comes before every training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from omniform.solver import solve_size
from omniform.task import Network, Size, Splits, Task
from omniform.training.config import Training

__all__ = ["Prepared", "prepare"]

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Generic[ConfigT]):
    """What a training starts from: `config` and `training` with everything inferred or defaulted written down."""

    config: ConfigT
    splits: Splits[Any]
    network: Network
    size: Size
    training: Training


def prepare(
    task: Task[ConfigT, Any],
    data: Any,
    config: ConfigT,
    *,
    mixer: str,
    params: int,
    depth: int,
    training: Training,
) -> Prepared[ConfigT]:
    """Resolve the options, split the data, and solve the network's size for `params` parameters.

    Raises:
        OmniformError: the data is too short, an option is refused, or the size cannot be met.
    """
    config = task.resolve(data, config)
    splits = task.split(data, config)
    network = task.network(splits, config, mixer)
    size = solve_size(network, params=params, depth=depth)
    return Prepared(config=config, splits=splits, network=network, size=size, training=training.for_network(network))
