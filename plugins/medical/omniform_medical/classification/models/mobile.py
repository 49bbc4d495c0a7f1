"""EfficientNet's block: expand, convolve each channel, squeeze and excite, project.

Shapes: B batch, D width, H x W places.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MBConv", "SqueezeExcite"]

_EPS = 1e-3  # EfficientNet's; its running means are those of weeks of training, here they are torch's own


class SqueezeExcite(nn.Module):
    """Scale channels by `sigmoid(W2 silu(W1 mean(x)))` (arXiv 1709.01507)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(dim, hidden, 1)
        self.expand = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(F.silu(self.reduce(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class MBConv(nn.Module):
    """An inverted bottleneck with squeeze and excitation (arXiv 1905.11946).

    `(B, D, H, W) -> (B, D', ceil(H / s), ceil(W / s))`, added to its input where shapes agree.

    Args:
        expanded: channels of the depthwise 3 x 3 convolution; a quarter of `in_dim` is what they are squeezed to.
    """

    def __init__(self, in_dim: int, dim: int, expanded: int, *, stride: int = 1) -> None:
        super().__init__()
        self.residual = stride == 1 and in_dim == dim
        self.expand = nn.Conv2d(in_dim, expanded, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(expanded, eps=_EPS)
        self.depthwise = nn.Conv2d(expanded, expanded, 3, stride=stride, padding=1, groups=expanded, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(expanded, eps=_EPS)
        self.excite = SqueezeExcite(expanded, max(1, in_dim // 4))
        self.project = nn.Conv2d(expanded, dim, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(dim, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.expand_norm(self.expand(x)))
        y = F.silu(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(self.excite(y)))
        return x + y if self.residual else y
