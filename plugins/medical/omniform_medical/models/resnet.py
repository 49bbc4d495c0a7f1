"""The residual encoder of MedicalNet, for planes and volumes.

Shapes: B batch, C channels, `*S` two or three spatial axes. Names of parameters are those of MedicalNet and MONAI, so
that weights can be carried over by name.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BasicBlock", "ResNet"]

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class BasicBlock(nn.Module):
    """Add two convolutions of 3 to the input or its projection (arXiv 1512.03385): `(B, C, *S) -> (B, C', *S')`.

    Args:
        hidden: channels between the two convolutions; C' in the paper.
        dilation: of both convolutions.
    """

    def __init__(
        self, rank: int, channels: int, hidden: int, out: int, *, stride: tuple[int, ...], dilation: int
    ) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTIONS[rank], _NORMS[rank]
        around = {"padding": dilation, "dilation": dilation, "bias": False}
        self.conv1 = convolution(channels, hidden, 3, stride=stride, **around)
        self.bn1 = norm(hidden)
        self.conv2 = convolution(hidden, out, 3, **around)
        self.bn2 = norm(out)
        self.downsample = nn.Sequential()
        if channels != out or set(stride) != {1}:
            self.downsample = nn.Sequential(convolution(channels, out, 1, stride=stride, bias=False), norm(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))  # (B, hidden, *S')
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Encode by four layers of basic blocks: `(B, C, *S) -> (B, dims[3], *S')`.

    A convolution of 7, max-pooling over 3, then the layers. As in MedicalNet (arXiv 1904.00625) the last two layers are
    dilated by 2 and 4 rather than shrinking the grid; one block a layer is its ResNet-10, two are its ResNet-18.

    Args:
        channels: of the input.
        dims, hidden: widths of the four layers, and between the convolutions of their blocks; 64, 128, 256, 512 there.
        depth: blocks of each layer.
        strides: of the first convolution, the pooling, and layers 2 to 4, each along every axis.
        dilations: of the four layers.
    """

    def __init__(
        self,
        rank: int,
        channels: int,
        *,
        dims: Sequence[int],
        hidden: Sequence[int],
        depth: int,
        strides: Sequence[tuple[int, ...]],
        dilations: Sequence[int] = (1, 1, 2, 4),
    ) -> None:
        super().__init__()
        first, self.pool, *others = strides
        one = (1,) * rank
        before = (dims[0], *dims[:3])

        def make_layer(i: int, stride: tuple[int, ...]) -> nn.Sequential:
            blocks = [BasicBlock(rank, before[i], hidden[i], dims[i], stride=stride, dilation=dilations[i])]
            for _ in range(depth - 1):
                blocks.append(BasicBlock(rank, dims[i], hidden[i], dims[i], stride=one, dilation=dilations[i]))
            return nn.Sequential(*blocks)

        self.conv1 = _CONVOLUTIONS[rank](channels, dims[0], 7, stride=first, padding=3, bias=False)
        self.bn1 = _NORMS[rank](dims[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = map(make_layer, range(4), (one, *others))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if set(self.pool) != {1}:
            pool = F.max_pool2d if len(self.pool) == 2 else F.max_pool3d
            x = pool(x, 3, self.pool, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
