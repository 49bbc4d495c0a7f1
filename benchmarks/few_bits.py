"""Put the weights of a trained code model into 8 and 4 bits: what is lost, and what a token then takes; write beside.

    python benchmarks/few_bits.py        # three minutes of one core, after completion.py

The network is the first of completion.py: attention, two million parameters. Every linear layer inside is replaced; the
embedding, which is the output too, stays as it is. Calibrated forms see 1,024 tokens of validation. Steps of all forms
take turns; a row has the median.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from completion import CONTEXT, MIXERS, WEIGHTS, prepared
from torch import nn

from omniform.linear import replace_linear
from omniform.quantized import llm_fp4, llm_int8, record_inputs
from omniform.training.checkpoint import load_tensors
from omniform.training.sampler import read_items
from omniform.versions import versions
from omniform_codegen.network import code_lengths, window_bits
from omniform_codegen.tokenizer import BytePair
from omniform_codegen.windows import ScoringWindows

RESULT = Path(__file__).parent / "results" / "few_bits.json"
STEPS, PAST, BATCH = 48, 256, 16


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    _, ready = prepared(MIXERS[0])
    model: Any = ready.network.build(ready.size)
    model.load_state_dict(load_tensors(WEIGHTS))
    model.eval()
    tokenizer = BytePair.from_text(ready.config.tokenizer)
    windows: Any = ScoringWindows(ready.splits.validation, tokenizer, context=CONTEXT)
    ids = read_items(windows, list(range(min(BATCH, len(windows)))))[0]
    models = {name: form(model, ids) for name, form in FORMS.items()}
    times = measure(models, ids)
    items = ready.splits.test
    rows = []
    for name, each in models.items():
        bits = code_lengths(items, tokenizer, CONTEXT, lambda batch, each=each: window_bits(each, batch))
        row = {"form": name, "bits_per_byte": bits.sum() / items.size, "linear_mb": linear_bytes(each) / 1e6}
        rows.append(row | times[name])
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python benchmarks/few_bits.py",
        "versions": versions(),
        "threads": 1,
        "setting": {"step_behind": PAST, "batch": [BATCH, CONTEXT], "steps": STEPS},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def in_bits(make: Callable[..., nn.Module], *, calibrated: bool = False) -> Callable[[nn.Module, Any], nn.Module]:
    """Return what replaces all linear layers of a copy."""

    def change(model: nn.Module, ids: Any) -> nn.Module:
        copy = deepcopy(model)
        seen = record_inputs(copy, lambda: copy(ids)) if calibrated else {}
        replace_linear(copy, lambda linear: make(linear, seen[linear]) if calibrated else make(linear))
        return copy

    return change


FORMS: dict[str, Callable[[nn.Module, Any], nn.Module]] = {
    "float32": lambda model, ids: deepcopy(model),
    "bfloat16": lambda model, ids: deepcopy(model).bfloat16(),
    "int8 (LLM.int8)": in_bits(llm_int8),
    "int4, blocks of 32": in_bits(
        lambda linear, seen: llm_fp4(linear, seen, block_size=32, weight_formats=("int4",)), calibrated=True
    ),
    "fp4, blocks of 32 (LLM-FP4)": in_bits(lambda linear, seen: llm_fp4(linear, seen, block_size=32), calibrated=True),
    "fp4, one scale an output (LLM-FP4)": in_bits(llm_fp4, calibrated=True),
}


def measure(models: dict[str, Any], ids: Any) -> dict[str, dict[str, float]]:
    """Return the median time of a step of one token, and of a batch of windows, in milliseconds."""
    states = {name: model.extend(ids[:1, :PAST], model.init_state(1))[1] for name, model in models.items()}
    steps: dict[str, list[float]] = {name: [] for name in models}
    batches: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(STEPS):
        for name, model in models.items():
            start = time.perf_counter()
            model.extend(ids[:1, :1], states[name])
            steps[name].append(time.perf_counter() - start)
            if turn % 8 == 0:
                start = time.perf_counter()
                model(ids)
                batches[name].append(time.perf_counter() - start)
    return {
        name: {"step_ms": 1000 * statistics.median(steps[name]), "batch_ms": 1000 * statistics.median(batches[name])}
        for name in models
    }


def linear_bytes(model: nn.Module) -> int:
    """Return the bytes of all weights but the embedding's."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    tensors.pop(id(model.get_submodule("stem").weight), None)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


if __name__ == "__main__":
    main()
