"""Med3D: one residual encoder, trained together on several data sets, each with a decoder of its own.

Shapes: B batch, C channels, `*S` two or three spatial axes, D width of the encoder's output, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from omniform.errors import ConfigError
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.losses import SegmentationLoss, dice_cross_entropy
from omniform_medical.models.blocks import convolution, grids, strides, upsample, widths
from omniform_medical.models.resnet import ResNet
from omniform_medical.plan import Plan

__all__ = ["Batch", "Branch", "CoTraining", "Med3D", "co_training_loss", "encoder_weights", "transfer"]

Batch = tuple[Tensor, Tensor]
"""Patches `(B, C, *S)` of one data set and their labels `(B, *S)`."""

_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Branch(nn.Module):
    """Decode one data set's classes: `(B, D, *coarse) -> (B, K, *patch)`.

    As in MedicalNet: a transposed convolution undoes the last halving, one more follows, and logits are interpolated to
    the patch.
    """

    def __init__(self, dim: int, width: int, *, plan: Plan, classes: int) -> None:
        super().__init__()
        rank, stride = plan.rank, _strides(plan)[2]
        self.size = plan.patch[:rank]
        self.middle = grids(plan)[min(2, len(plan.strides))]
        self.grow = _TRANSPOSED[rank](dim, width, stride, stride)
        self.refine = nn.Sequential(
            _NORMS[rank](width),
            nn.ReLU(),
            convolution(rank, width, width, bias=False),
            _NORMS[rank](width),
            nn.ReLU(),
            convolution(rank, width, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.grow(x)
        for axis, size in enumerate(self.middle, start=2):
            x = x.narrow(axis, 0, size)  # an odd size was rounded up when it was halved
        return upsample(self.refine(x), self.size)


class Med3D(nn.Module):
    """Segment with MedicalNet's residual encoder and one branch (arXiv 1904.00625): `(B, C, *S) -> ((B, K, *S),)`.

    The first three strides of the plan shrink the grid (in the first convolution, the pooling and the second layer),
    deeper layers are dilated. `dim` is the width of the third layer (the first has a quarter), `hidden` that between
    the two convolutions of its blocks, `depth` the blocks of a layer: 1 is ResNet-10, 2 is ResNet-18. The network is
    convolutional throughout, and so has no slot for the mixer.

    Args:
        encoder: size of the encoder, if it is to take one that was trained before; `size` is then of the branch alone.
    """

    def __init__(
        self,
        mixer: type[Mixer],
        size: Size,
        *,
        plan: Plan,
        channels: int,
        classes: int,
        encoder: Size | None = None,
    ) -> None:
        super().__init__()
        self.encoder = _make_encoder(encoder or size, plan=plan, channels=channels)
        self.head = _make_branch(size, plan=plan, classes=classes, encoder=encoder or size)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.head(self.encoder(x)),)


class CoTraining(nn.Module):
    """The encoder of `Med3D` with a branch for each data set; classes differ, patch and channels are common.

    Args:
        plan: whose patch and strides all data sets take; their spacings and normalisation stay their own.
        classes: of each data set, the background included.
    """

    def __init__(self, size: Size, *, plan: Plan, channels: int, classes: Sequence[int]) -> None:
        super().__init__()
        self.encoder = _make_encoder(size, plan=plan, channels=channels)
        self.branches = nn.ModuleList(_make_branch(size, plan=plan, classes=count, encoder=size) for count in classes)

    def forward(self, x: Tensor, branch: int) -> Tensor:
        """Return the logits `(B, K, *S)` of one data set's patches."""
        return self.branches[branch](self.encoder(x))


def co_training_loss(
    model: CoTraining, batches: Sequence[Batch | None], *, loss: SegmentationLoss = dice_cross_entropy
) -> Tensor:
    """Average the losses of the data sets, each through its own branch.

    All patches pass the encoder together, so that its batch norms see in training the mixture that their running
    statistics describe. A sample's gradient reaches the encoder and its own branch, no other.

    Args:
        batches: one for each data set, in the order of the branches; `None` where a step has none of it.

    Raises:
        ConfigError: there is not one entry for each branch, or no patches at all.
    """
    present = [(branch, *batch) for branch, batch in zip(model.branches, batches, strict=False) if batch is not None]
    if len(batches) != len(model.branches) or not present:
        raise ConfigError(
            f"expected a batch for each of {len(model.branches)} data sets, got {len(present)} in {len(batches)} places"
        )
    features = model.encoder(torch.cat([x for _, x, _ in present])).split([len(x) for _, x, _ in present])
    losses = [loss(branch(f), labels) for f, (branch, _, labels) in zip(features, present, strict=True)]
    return torch.stack(losses).mean()


def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's part of the weights of a `Med3D` or `CoTraining`, by the encoder's own names.

    Raises:
        ConfigError: there is none.
    """
    found = {name.split("encoder.", 1)[1]: value for name, value in state.items() if "encoder." in name}
    if "conv1.weight" not in found:
        raise ConfigError("expected the weights of the model med3d, which has an encoder; got those of another model")
    return found


def transfer(weights: Mapping[str, Tensor], model: Med3D) -> None:
    """Start a network from an encoder that was trained before; its branch stays as it is.

    Args:
        weights: of an encoder, as `encoder_weights` returns them.

    Raises:
        ConfigError: the encoder has another size, depth or number of channels.
    """
    own = model.encoder.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        here, there = (tuple(state[name].shape) if name in state else None for state in (own, weights))
        if here != there:
            raise ConfigError(
                f"expected an encoder of this network's size, but {name} is {there or 'absent'} there and "
                f"{here or 'absent'} here: take the size, depth and channels of the run that the encoder comes from"
            )
    model.encoder.load_state_dict(dict(weights))


def _make_encoder(size: Size, *, plan: Plan, channels: int) -> ResNet:
    return ResNet(
        plan.rank,
        channels,
        dims=widths(size.dim, 4, at=2),
        hidden=widths(size.hidden, 4, at=2),
        depth=size.depth,
        strides=_strides(plan),
    )


def _make_branch(size: Size, *, plan: Plan, classes: int, encoder: Size) -> Branch:
    width = widths(size.dim, 4, at=2)[1]
    return Branch(widths(encoder.dim, 4, at=2)[3], width, plan=plan, classes=classes)


def _strides(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """Return the strides of first convolution, pooling, and layers 2 to 4: the plan's first three, then none."""
    one = (1,) * plan.rank
    return (*strides(plan)[:3], one, one, one, one, one)[:5]
