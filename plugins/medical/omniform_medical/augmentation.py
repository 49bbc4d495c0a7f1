"""Vary training patches: what scanners and people differ in, and segmentation should not.

Shapes: C channels, `*P` a patch, `*R` the region around it that it is cut from; planes have a last axis of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = ["Augmentation", "crop", "vary_intensities", "warp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much patches are varied, in the manner of nnU-Net (doi 10.1038/s41592-020-01008-z).

    Attributes:
        angle: greatest rotation about every axis, radians.
        scale: greatest change of size, as a share.
        shift: greatest shift, as a share of the patch; together with where the patch is cut.
        contrast, brightness, gamma: greatest changes: of the standard deviation as a share, of the mean in standard
            deviations, and of the logarithm of the exponent.
        noise: greatest standard deviation of added noise.
        mirror: canonical axes (0, 1, 2) along which half of the patches are mirrored.
    """

    angle: float = 0.35
    scale: float = 0.2
    shift: float = 0.04
    contrast: float = 0.25
    brightness: float = 0.2
    gamma: float = 0.4
    noise: float = 0.15
    mirror: tuple[int, ...] = ()


def warp(
    image: Tensor, label: Tensor, patch: tuple[int, int, int], how: Augmentation, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Turn, scale, shift and mirror what is seen through a patch in the middle of a region.

    Args:
        image: `(C, *R)`; beyond its borders lies zero.
        label: `(*R)` classes; beyond lies the background.

    Returns:
        image `(C, *P)` by linear interpolation and label `(*P)` by the nearest voxel.
    """
    planar = patch[2] == 1
    matrix = _rotation(how.angle, planar, generator) * (1 + _between(how.scale, generator))
    shift = torch.tensor([_between(how.shift, generator) for _ in range(3)])
    if planar:
        shift[2] = 0.0
    for axis in how.mirror:
        if torch.rand((), generator=generator) < 0.5:
            matrix[axis] = -matrix[axis]
    size, region = torch.tensor(patch), torch.tensor(image.shape[1:])
    theta = torch.empty(3, 4)
    theta[:, :3] = matrix * size[None, :] / region[:, None]
    theta[:, 3] = 2 * shift * size / region
    theta = theta.flip(0)  # torch names the last axis first
    theta[:, :3] = theta[:, :3].flip(1)
    grid = F.affine_grid(theta[None], [1, 1, *patch], align_corners=False)
    seen = F.grid_sample(image[None], grid, align_corners=False)[0]
    classes = F.grid_sample(label[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0]
    return seen, classes.to(label.dtype)


def crop(
    image: Tensor, label: Tensor, patch: tuple[int, int, int], how: Augmentation, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return the middle of a region, mirrored as `how` says and otherwise as it is; shapes as in `warp`."""
    starts = [(side - wanted) // 2 for side, wanted in zip(image.shape[1:], patch, strict=True)]
    inner = tuple(slice(start, start + wanted) for start, wanted in zip(starts, patch, strict=True))
    image, label = image[(slice(None), *inner)], label[inner]
    flips = [axis for axis in how.mirror if torch.rand((), generator=generator) < 0.5]
    return image.flip([axis + 1 for axis in flips]), label.flip(flips)


def vary_intensities(image: Tensor, how: Augmentation, generator: Generator) -> Tensor:
    """Change contrast and brightness of every channel, and by halves add noise and bend the scale of intensities."""
    shape = (len(image), 1, 1, 1)
    image = image * (1 + _spread(shape, how.contrast, generator)) + _spread(shape, how.brightness, generator)
    if torch.rand((), generator=generator) < 0.5:
        noise = torch.randn(image.shape, generator=generator)
        image = image + noise * how.noise * torch.rand((), generator=generator)
    if torch.rand((), generator=generator) < 0.5:
        low = image.amin(dim=(1, 2, 3), keepdim=True)
        width = (image.amax(dim=(1, 2, 3), keepdim=True) - low).clamp(min=1e-3)
        image = ((image - low) / width).pow(_spread(shape, how.gamma, generator).exp()) * width + low
    return image


def _rotation(angle: float, planar: bool, generator: Generator) -> Tensor:
    """Return a rotation matrix `(3, 3)`; of planes, about the last axis alone."""
    matrix = torch.eye(3)
    for first, second in ((0, 1),) if planar else ((0, 1), (0, 2), (1, 2)):
        turned = torch.tensor(_between(angle, generator))
        about = torch.eye(3)
        about[first, first] = about[second, second] = turned.cos()
        about[first, second], about[second, first] = -turned.sin(), turned.sin()
        matrix = matrix @ about
    return matrix


def _between(most: float, generator: Generator) -> float:
    return float(most * (2 * torch.rand((), generator=generator) - 1))


def _spread(shape: tuple[int, ...], most: float, generator: Generator) -> Tensor:
    return most * (2 * torch.rand(shape, generator=generator) - 1)
