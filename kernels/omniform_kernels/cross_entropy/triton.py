"""Losses and the gradients of logits on a GPU: one program a token, the gradient written over the logits.

n tokens   V classes, in stretches of P
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["differentiate"]


@triton.jit
def _softmax_kernel(logits_ptr, targets_ptr, losses_ptr, V, ignore_index, GRADIENT: tl.constexpr, P: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets_ptr + row)
    start = logits_ptr + row * V
    lanes = tl.arange(0, P)
    if target == ignore_index:
        tl.store(losses_ptr + row, 0.0)
        if GRADIENT:
            for first in range(0, V, P):
                tl.store(start + first + lanes, tl.zeros((P,), tl.float32), mask=first + lanes < V)
        return
    maximum, total = float("-inf"), 0.0
    for first in range(0, V, P):
        logits = tl.load(start + first + lanes, mask=first + lanes < V, other=float("-inf")).to(tl.float32)
        new = tl.maximum(maximum, tl.max(logits, 0))
        total = total * tl.exp(maximum - new) + tl.sum(tl.exp(logits - new), 0)
        maximum = new
    log_sum = maximum + tl.log(total)
    tl.store(losses_ptr + row, log_sum - tl.load(start + target).to(tl.float32))
    if GRADIENT:
        tl.debug_barrier()  # the target's logit is read before it is overwritten
        for first in range(0, V, P):
            columns = first + lanes
            logits = tl.load(start + columns, mask=columns < V, other=float("-inf")).to(tl.float32)
            gradient = tl.exp(logits - log_sum) - tl.where(columns == target, 1.0, 0.0)
            tl.store(start + columns, gradient, mask=columns < V)


def differentiate(logits: Tensor, targets: Tensor, ignore_index: int, gradient: bool) -> tuple[Tensor, Tensor]:
    """Return the losses (n,) of logits (n, V), and the gradient of their sum (n, V), written over the logits."""
    n, V = logits.shape
    losses = logits.new_empty(n, dtype=torch.float32)
    P = min(triton.next_power_of_2(V), 4096)
    _softmax_kernel[(n,)](logits, targets, losses, V, ignore_index, GRADIENT=gradient, P=P, num_warps=8)
    return losses, logits
