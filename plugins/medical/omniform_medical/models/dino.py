"""A small vision transformer that learns what belongs together from images alone, and shows where it looks.

Shapes: B batch, N images, C channels, `*S` an image of rank R (2 or 3), `*grid` its L tokens, D width, H heads, K
prototypes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.attention import Attention

__all__ = ["AttentionViT", "distill"]

_BATCH = 8
_LOCAL = 4
_PROTOTYPES = 256
_STUDENT, _TEACHER = 0.1, 0.04  # temperatures: the teacher's sharpens
_CENTRE = 0.9
_MOMENTUM = 0.98
_RATE = 1e-3
_GLOBAL_SHARE, _LOCAL_SHARE = (0.7, 1.0), (0.35, 0.6)  # of an image's extent along each axis


class AttentionViT(nn.Module):
    """Encode patches of an image with a class token in front: `(B, C, *S) -> (B, 1 + L, D)` (ViT, arXiv 2010.11929).

    Images that patches do not divide are filled up with zeros; learned positions are interpolated to other sizes.

    Args:
        image: the size `*S` whose tokens have positions of their own.
        patch: voxels of a token along each axis.
    """

    def __init__(
        self,
        channels: int,
        *,
        image: Sequence[int],
        patch: Sequence[int],
        dim: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.patch = tuple(patch)
        self.num_heads = num_heads
        grid = [-(-n // p) for n, p in zip(image, patch, strict=True)]
        convolution: Any = nn.Conv3d if len(grid) == 3 else nn.Conv2d
        self.embed = convolution(channels, dim, self.patch, stride=self.patch)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)  # with its position
        self.positions = nn.Parameter(torch.randn(1, dim, *grid) * 0.02)
        layers = (
            Layer(
                Branch(Attention(dim, num_heads=num_heads), nn.LayerNorm(dim)),
                Branch(Mlp(dim, hidden), nn.LayerNorm(dim)),
            )
            for _ in range(depth)
        )
        self.layers = cast("list[Layer]", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens, layout, _ = self._tokens(x)
        for layer in self.layers:
            tokens = layer(tokens, layout)
        return self.norm(tokens)

    def weights(self, x: Tensor) -> Tensor:
        """Return the attention weights of the last layer, `(B, H, 1 + L, 1 + L)`; rows sum to one."""
        return self._last_weights(x)[0]

    def maps(self, x: Tensor) -> Tensor:
        """Return how much the class token attends to each place in the last layer, `(B, H, *S)`.

        In units of an even attention to all, interpolated linearly to the image.
        """
        weights, grid = self._last_weights(x)
        towards = weights[:, :, 0, 1:].unflatten(-1, grid) * math.prod(grid)  # (B, H, *grid)
        size = [n * p for n, p in zip(grid, self.patch, strict=True)]
        full = F.interpolate(towards, size, mode="trilinear" if len(grid) == 3 else "bilinear")
        return full[(..., *(slice(n) for n in x.shape[2:]))]

    def _last_weights(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        tokens, layout, grid = self._tokens(x)
        *earlier, last = self.layers
        for layer in earlier:
            tokens = layer(tokens, layout)
        branch = last.branches[0]
        return cast("Attention", branch.op).weights(branch.norm(tokens), layout), grid

    def _tokens(self, x: Tensor) -> tuple[Tensor, Layout, tuple[int, ...]]:
        ends = [end for n, p in zip(x.shape[:1:-1], self.patch[::-1], strict=True) for end in (0, -n % p)]
        tokens = self.embed(F.pad(x, ends))  # (B, D, *grid)
        grid = tuple(tokens.shape[2:])
        positions = self.positions
        if grid != tuple(positions.shape[2:]):
            positions = F.interpolate(positions, grid, mode="trilinear" if len(grid) == 3 else "bilinear")
        tokens = (tokens + positions).flatten(2).mT  # (B, L, D)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1)
        return tokens, Layout((tokens.shape[1],), num_global=1), grid


class Projector(nn.Module):
    """Map an encoding to logits of prototypes: a perceptron, then cosines with K unit vectors."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.prototypes = nn.Parameter(torch.randn(_PROTOTYPES, dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.body(x), dim=-1), F.normalize(self.prototypes, dim=-1))


def distill(vit: AttentionViT, images: Tensor, *, steps: int, seconds: float) -> int:
    """Train a ViT on images `(N, C, *S)` by self-distillation without labels; return the steps taken.

    A student predicts, from every view of an image, what a teacher says of its two large views: cross-entropy between
    softmaxes over prototypes, the teacher's centred and sharpened. The teacher, which the ViT becomes in the end, is a
    moving average of the student (DINO, arXiv 2104.14294). Views are crops, two of 0.7 to 1 of the image's extent and
    four of 0.35 to 0.6 at half the size, mirrored and changed in contrast at random.

    Args:
        steps, seconds: what ends it, whichever comes first.
    """
    width = vit.norm.normalized_shape[0]
    student = nn.Sequential(copy.deepcopy(vit), _First(), Projector(width).to(images.device)).requires_grad_(True)
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimiser = torch.optim.AdamW(student.parameters(), _RATE, weight_decay=0.04)
    centre = torch.zeros(_PROTOTYPES, device=images.device)
    start, done = time.monotonic(), 0
    while done < steps and time.monotonic() - start < seconds:
        progress = done / steps
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, 10 * progress + 0.1) * 0.5 * (1 + math.cos(math.pi * progress))
        batch = images[torch.randint(len(images), (min(_BATCH, len(images)),), device=images.device)]
        with torch.enable_grad():
            loss, seen = _step_loss(student, teacher, batch.float(), centre)
            optimiser.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 3.0)
        optimiser.step()
        centre = _CENTRE * centre + (1 - _CENTRE) * seen
        _follow(teacher, student, 1 - (1 - _MOMENTUM) * 0.5 * (1 + math.cos(math.pi * progress)))
        done += 1
    vit.load_state_dict(teacher[0].state_dict())
    return done


class _First(nn.Module):
    """Take the class token."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def _step_loss(student: nn.Module, teacher: nn.Module, images: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and the mean of the teacher's logits, `(K,)`."""
    size = images.shape[2:]
    half = [-(-n // 2) for n in size]
    large = torch.cat([_view(images, size, _GLOBAL_SHARE) for _ in range(2)])
    small = torch.cat([_view(images, half, _LOCAL_SHARE) for _ in range(_LOCAL)])
    with torch.no_grad():
        told = teacher(large)
        targets = ((told - centre) / _TEACHER).softmax(-1).chunk(2)
    answers = [*student(large).chunk(2), *student(small).chunk(_LOCAL)]
    logs = [(answer / _STUDENT).log_softmax(-1) for answer in answers]
    losses = [
        -(target * log).sum(-1).mean()
        for t, target in enumerate(targets)
        for view, log in enumerate(logs)
        if view != t  # a view says nothing of itself
    ]
    return torch.stack(losses).mean(), told.mean(0)


def _view(images: Tensor, size: Sequence[int], shares: tuple[float, float]) -> Tensor:
    """Return a random crop of each image, scaled to `size`, mirrored, and changed in contrast, brightness and noise."""
    batch, rank = len(images), images.ndim - 2

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, device=images.device)

    share = shares[0] + (shares[1] - shares[0]) * draw(rank)
    middle = (2 * draw(rank) - 1) * (1 - share)
    sign = torch.where(draw(rank) < 0.5, -1.0, 1.0)
    affine = torch.cat([torch.diag_embed(share * sign), middle[..., None]], dim=-1)  # (B, R, R + 1)
    grid = F.affine_grid(affine, [batch, images.shape[1], *size], align_corners=False)
    view = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    shape = (1,) * (rank + 1)
    view = view * (0.7 + 0.6 * draw(*shape)) + 0.4 * (draw(*shape) - 0.5)
    return view + 0.1 * draw(*shape) * torch.randn_like(view)


def _follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    with torch.no_grad():
        for mean, parameter in zip(teacher.parameters(), student.parameters(), strict=True):
            mean.lerp_(parameter, 1 - momentum)
