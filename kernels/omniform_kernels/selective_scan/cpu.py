"""The selective scan in blocks of steps, with a backward pass that recomputes the states.

    Bt batch   L tokens   Di channels   N states a channel   T tokens in a block

All that does not depend on the previous state is computed for a block at once, so that a step is one multiply-add. Time
leads inside a block, so that a step is contiguous. Only the states between blocks are kept for the backward pass.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["blocked"]

_BLOCK = 16


def blocked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, block: int = _BLOCK
) -> tuple[Tensor, Tensor]:
    """Run the recurrence block by block, without the skip term."""
    x, dt, B, C = (tensor.transpose(0, 1).contiguous() for tensor in (x, dt, B, C))  # (L, Bt, .)
    y, final = _BlockedScan.apply(x, dt, A, B, C, state, block)
    return y.transpose(0, 1), final


class _BlockedScan(torch.autograd.Function):
    """The recurrence on time-first tensors; once differentiable."""

    @staticmethod
    def forward(
        ctx, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, block: int
    ) -> tuple[Tensor, Tensor]:
        ys, starts = [], []
        for part in _blocks(x.shape[0], block):
            starts.append(state)
            _, states = _states(x[part], dt[part], A, B[part], state)
            ys.append((states @ C[part].unsqueeze(-1)).squeeze(-1))  # (T, Bt, Di)
            state = states[-1].clone()  # a view would keep the whole block alive
        ctx.block = block
        ctx.save_for_backward(x, dt, A, B, C, torch.stack(starts))
        return torch.cat(ys), state

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator is untyped)
        ctx, dy: Tensor, dstate: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, dt, A, B, C, starts = ctx.saved_tensors
        dx, ddt, dB, dC = (torch.empty_like(tensor) for tensor in (x, dt, B, C))
        dA = torch.zeros_like(A)
        parts = _blocks(x.shape[0], ctx.block)
        for part, start in zip(reversed(parts), starts.flip(0), strict=True):
            decays, states = _states(x[part], dt[part], A, B[part], start)
            dC[part] = (dy[part].unsqueeze(-2) @ states).squeeze(-2)
            dstates = dy[part].unsqueeze(-1) * C[part].unsqueeze(-2)  # (T, Bt, Di, N)
            dstates[-1] += dstate
            for t in range(len(dstates) - 1, 0, -1):
                dstates[t - 1].addcmul_(decays[t], dstates[t])
            dstate = decays[0] * dstates[0]
            dB[part] = ((dt[part] * x[part]).unsqueeze(-2) @ dstates).squeeze(-2)
            dinput = (dstates @ B[part].unsqueeze(-1)).squeeze(-1)  # (T, Bt, Di), the gradient of dt x
            # From here on dstates is the gradient of the exponents dt A.
            dstates.mul_(decays)
            dstates[1:].mul_(states[:-1])
            dstates[0].mul_(start)
            dx[part] = dinput * dt[part]
            ddt[part] = dinput * x[part] + (dstates * A).sum(-1)
            dA += torch.einsum("tbd,tbdn->dn", dt[part], dstates)
        return dx, ddt, dA, dB, dC, dstate, None


def _blocks(L: int, block: int) -> list[slice]:
    """Cut L tokens into blocks, the last one shorter if need be."""
    return [slice(start, min(start + block, L)) for start in range(0, L, block)]


def _states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decays and the states of one block, each (T, Bt, Di, N)."""
    decays = (dt.unsqueeze(-1) * A).exp_()
    states = (dt * x).unsqueeze(-1) * B.unsqueeze(-2)
    for t in range(len(states)):
        state = states[t].addcmul_(decays[t], state)
    return decays, states
