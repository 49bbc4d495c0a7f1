"""Read prompts of unequal lengths, a chunk at a time.

Shapes: B sequences, n tokens of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omniform.layers import LayerState
from omniform_codegen.model import CausalModel

__all__ = ["prefill"]

_CHUNK = 512  # the most tokens of a prompt that are read at once


def prefill(model: CausalModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, LayerState]:
    """Return the logits behind the last token of each prompt, `(B, V)`, and the state there.

    Behind an empty prompt there is a state, and logits that mean nothing.
    """
    device, lengths = model.stem.weight.device, torch.tensor([len(prompt) for prompt in prompts])
    longest, shortest = int(lengths.max()), int(lengths.min())
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=device)
    lengths, state = lengths.to(device), model.init_state(len(prompts))
    last = model.stem.weight.new_zeros(len(prompts), model.stem.embedding_dim)
    for start in range(0, longest, _CHUNK):
        stop = min(start + _CHUNK, longest)
        valid = torch.arange(start, stop, device=device) < lengths[:, None]  # (B, n)
        hidden, state = model.advance(ids[:, start:stop], state, None if shortest >= stop else valid)
        place = lengths - 1 - start
        here = (place >= 0) & (place < stop - start)
        ends = hidden[torch.arange(len(prompts), device=device), place.clamp(0, stop - start - 1)]  # (B, D)
        last = torch.where(here[:, None], ends, last)
    return model.logits(last), state
