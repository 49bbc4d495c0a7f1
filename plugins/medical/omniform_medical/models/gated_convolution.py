"""High-order gated convolution, and the block of MambaClinix around it.

Shapes: B batch, C channels, `*S` two or three spatial axes, n order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform_medical.models.blocks import ChannelNorm, DepthwiseConvolution, convolution

__all__ = ["GatedBlock", "GatedConvolution"]

_LAYER_SCALE = 1e-6


class GatedConvolution(nn.Module):
    r"""Gate voxels n times over, recursively (gnConv of HorNet, arXiv 2207.14284): `(B, C, *S) -> (B, C, *S)`.

    .. math::
        (p_0, q_0, \dots, q_{n-1}) = W_{in} x, \qquad p_1 = p_0 \odot f(q)_0, \qquad
        p_{k+1} = W_k p_k \odot f(q)_k, \qquad y = W_{out} p_n

    with f a depthwise convolution of all q together. p_0 and q_0 have about :math:`C / 2^{n-1}` channels, and these
    double with every order up to C. MambaClinix (arXiv 2409.12533) takes the same recursion with kernels of 3; its
    public code adds where its paper and HorNet multiply. Here they are multiplied.

    Args:
        order: n, at least 1; lowered where the channels cannot be halved so often.
    """

    def __init__(self, rank: int, channels: int, *, order: int, kernel: int = 3) -> None:
        super().__init__()
        order = min(order, channels.bit_length())
        self.widths = [channels // 2 ** (order - 1 - k) for k in range(order)]  # of q_0 .. q_{n-1}
        self.project_in = convolution(rank, channels, self.widths[0] + sum(self.widths), 1)
        self.depthwise = DepthwiseConvolution(rank, sum(self.widths), kernel, bias=True)
        self.widen = nn.ModuleList(
            convolution(rank, a, b, 1) for a, b in zip(self.widths, self.widths[1:], strict=False)
        )
        self.project_out = convolution(rank, channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        p, q = self.project_in(x).split((self.widths[0], sum(self.widths)), dim=1)
        gate, *gates = self.depthwise(q).split(self.widths, dim=1)
        p = p * gate
        for widen, gate in zip(self.widen, gates, strict=True):
            p = widen(p) * gate
        return self.project_out(p)  # (B, C, *S)


class GatedBlock(nn.Module):
    r"""Gate at half of the channels, then convolve twice (the HGCN block of MambaClinix): `(B, C, *S) -> (B, C, *S)`.

    .. math:: u = W x, \qquad u \leftarrow u + \gamma \odot g(\operatorname{LN}(u)), \qquad
        y = x + V_2 f(V_1 \operatorname{LN}(u))

    with W of one voxel, V of 3, g the gated convolution, f a leaky rectifier, and a layer scale gamma that begins at
    1e-6. The public code's stochastic depth is left out.

    Args:
        hidden: channels between the two convolutions; the paper's are C.
    """

    def __init__(self, rank: int, channels: int, hidden: int, *, order: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.reduce = convolution(rank, channels, half, 1)
        self.norm1 = ChannelNorm(half)
        self.gated = GatedConvolution(rank, half, order=order)
        self.scale = nn.Parameter(torch.full((half, *(1,) * rank), _LAYER_SCALE))
        self.norm2 = ChannelNorm(half)
        self.conv1 = convolution(rank, half, hidden)
        self.conv2 = convolution(rank, hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        u = self.reduce(x)  # (B, C / 2, *S)
        u = u + self.scale * self.gated(self.norm1(u))
        return x + self.conv2(F.leaky_relu(self.conv1(self.norm2(u)), 0.01))
