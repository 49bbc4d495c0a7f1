"""Time writing token by token behind long texts, and weigh what is remembered; write beside this file.

    python benchmarks/decoding.py        # five minutes of one core

Networks of two million parameters, untrained: time and memory do not depend on the weights. A text of random tokens is
read in chunks of 512; then 48 steps of one token are timed. Mixers take turns; a row has the median of its steps.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniform.mixers.base import State
from omniform.plugins import find_mixer
from omniform.solver import solve_size
from omniform.task import Network, Size
from omniform.versions import versions
from omniform_codegen.model import CausalModel, causal_model

RESULT = Path(__file__).parent / "results" / "decoding.json"
MIXERS = ("attention", "gla", "mamba", "gated-deltanet")
LENGTHS = (1024, 8192, 32768)
PARAMS, DEPTH, VOCABULARY = 2_000_000, 6, 2048
CHUNK, STEPS = 512, 48


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [row for length in LENGTHS for row in measure({name: build(name) for name in MIXERS}, length)]
    result = {
        "command": "python benchmarks/decoding.py",
        "versions": versions(),
        "threads": 1,
        "setting": {"parameters": PARAMS, "depth": DEPTH, "vocabulary": VOCABULARY, "steps": STEPS, "chunk": CHUNK},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def build(mixer: str) -> CausalModel:
    """Return an untrained network of the size that the solver finds."""

    def make(size: Size) -> CausalModel:
        return causal_model(find_mixer(mixer), size, vocabulary=VOCABULARY, context=256)

    nothing: Any = None
    network = Network(build=make, objective=nothing, dataset=nothing, decode=nothing, assemble=nothing)
    return make(solve_size(network, params=PARAMS, depth=DEPTH)).eval()


def measure(models: dict[str, CausalModel], length: int) -> list[dict[str, Any]]:
    """Read a text of this length with each model, then time steps of all in turn."""
    text = torch.randint(VOCABULARY, (1, length))
    states, reading = {}, {}
    for name, model in models.items():
        start = time.perf_counter()
        state = model.init_state(1)
        for chunk in text.split(CHUNK, dim=1):
            _, state = model.extend(chunk, state)
        states[name], reading[name] = state, time.perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(STEPS):
        for name, model in models.items():
            start = time.perf_counter()
            _, states[name] = model.extend(text[:, :1], states[name])
            seconds[name].append(time.perf_counter() - start)
    return [
        {
            "mixer": name,
            "context": length,
            "reading_tokens_per_second": length / reading[name],
            "tokens_per_second": 1 / statistics.median(seconds[name]),
            "step_ms": 1000 * statistics.median(seconds[name]),
            "state_mb": size_of(states[name]) / 1e6,
        }
        for name in models
    ]


def size_of(value: Any) -> int:
    """Return the bytes of the memory that a state keeps alive, spare room included; what is shared counts once."""
    memory = {storage.data_ptr(): storage.nbytes() for storage in storages(value)}
    return sum(memory.values())


def storages(value: Any) -> list[torch.UntypedStorage]:
    if isinstance(value, Tensor):
        return [value.untyped_storage()]
    if isinstance(value, State):
        return [each for name in value.__dataclass_fields__ for each in storages(getattr(value, name))]
    return [each for item in value for each in storages(item)] if isinstance(value, tuple) else []


if __name__ == "__main__":
    main()
