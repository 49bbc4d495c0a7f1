"""How the shared trainer sees a promptable network: squares with a prompt, masks and their quality.

Shapes: B batch, S side of the square, s side of masks, M = 4 masks, P points
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniform.errors import ConfigError
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size, Splits
from omniform_medical.prompting.config import PromptConfig
from omniform_medical.prompting.data import Ask, Prompts, box_of, enlarge
from omniform_medical.prompting.losses import mask_loss
from omniform_medical.prompting.masks import Masks
from omniform_medical.prompting.pretraining import pretrain
from omniform_medical.prompting.sam import load_sam
from omniform_medical.prompting.sam_unet import SamUNet
from omniform_medical.prompting.shape import SamShape
from omniform_medical.prompting.square import Square

__all__ = ["AskDataset", "prompt_network"]

Batch = Mapping[str, Tensor]
_PRETRAINED_ON = 2048  # planes: 0.4 GB at a side of 128
_BATCH, _RATE = 16, 2e-3


def prompt_network(config: PromptConfig, mixer: str) -> Network:
    """Describe the network of a resolved `config` over a mixer.

    Raises:
        ConfigError: there is no such mixer, or the config was never resolved.
    """
    find_mixer(mixer)  # refused now, not at the first build
    if not (config.side and config.vit):
        raise ConfigError("expected a config with side and vit; resolve it with data")
    return Network(
        build=_Build(config, mixer),
        objective=objective,
        dataset=_Asks(config),
        decode=decode,
        assemble=_Assemble(config.side),
        fixed=("stem", "sam.mask_decoder"),
        initialize=_Initialize(config),
        batch_size=_BATCH,
        learning_rate=_RATE,
    )


class AskDataset(Dataset[Batch]):
    """Images `(3, S, S)`, with `boxes` `(4,)` or `points` `(P, 2)` and `labels` `(P,)`.

    For training prompts are drawn anew from the truth each time, planes are mirrored along either axis and change in
    contrast and brightness, and the truth `(S, S)` comes along.
    """

    def __init__(self, items: Prompts, config: PromptConfig, *, train: bool) -> None:
        self.items = items
        self.config = config
        self.train = train

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        ask = self.items.asks[index]
        square = Square(ask.shape, self.config.side)
        if not self.train:
            return {"images": square.image(ask.image), **self._prompt(ask, square)}
        assert ask.truth is not None
        turns = tuple(slice(None, None, -1 if torch.rand(()) < 0.5 else 1) for _ in ask.shape)
        truth, image = ask.truth[turns].copy(), ask.image[(slice(None), *turns)].copy()
        contrast, brightness = 1 + 0.4 * (torch.rand(2) - 0.5)
        return {
            "images": square.image(image) * contrast + brightness - 1,
            "truth": square.truth(truth),
            **self._new_prompt(truth, square),
        }

    def _prompt(self, ask: Ask, square: Square) -> Batch:
        """Return the prompt of an ask.

        Raises:
            ConfigError: the network was trained with another kind of prompt.
        """
        kind = "click" if ask.box is None else "box"
        if kind != self.config.prompt:
            raise ConfigError(f"this network was trained with a {self.config.prompt} as the prompt, got a {kind}")
        if ask.box is not None:
            return {"boxes": square.box(ask.box)}
        assert ask.points is not None
        assert ask.marks is not None
        return {"points": square.points(ask.points), "labels": torch.from_numpy(ask.marks)}

    def _new_prompt(self, truth: np.ndarray, square: Square) -> Batch:
        if self.config.prompt == "box":
            shares = (self.config.jitter * torch.rand(4)).numpy()
            return {"boxes": square.box(enlarge(box_of(truth), shares))}
        places = np.argwhere(truth)
        place = places[int(torch.randint(len(places), ()))][None]
        return {"points": square.points(place), "labels": torch.ones(1, dtype=torch.int64)}


def objective(model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
    """Return the losses of the masks and of their predicted quality, at the resolution of the square."""
    logits, quality = _answer(model, batch)
    truth = batch["truth"]
    logits = F.interpolate(logits.float(), truth.shape[1:], mode="bilinear")
    masks, told = mask_loss(logits, quality.float(), truth)
    return Losses(masks + told, {"masks": masks, "quality": told})


def decode(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return logits `(B, s, s)` and expected quality `(B,)`.

    A box, or several points, mean one thing: the first mask. One click may mean several: the mask of the other three
    that the network thinks best of.
    """
    logits, quality = _answer(model, batch)
    if "points" in batch and batch["points"].shape[1] == 1:
        chosen = 1 + quality[:, 1:].argmax(1)
    else:
        chosen = torch.zeros(len(quality), dtype=torch.int64, device=quality.device)
    rows = torch.arange(len(quality), device=quality.device)
    return {"logits": logits[rows, chosen].float(), "quality": quality[rows, chosen].float().clamp(0, 1)}


def _answer(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    return model(batch["images"], **{name: batch[name] for name in ("boxes", "points", "labels") if name in batch})


@dataclass(frozen=True, slots=True)
class _Assemble:
    side: int

    def __call__(self, batches: Sequence[dict[str, Tensor]], items: Prompts) -> Masks:
        logits = torch.cat([batch["logits"].cpu() for batch in batches])
        quality = torch.cat([batch["quality"].cpu() for batch in batches]).numpy()
        squares = (Square(ask.shape, self.side) for ask in items.asks)
        return Masks([square.mask(each) for square, each in zip(squares, logits, strict=True)], quality, items)


@dataclass(frozen=True, slots=True)
class _Asks:
    config: PromptConfig

    def __call__(self, items: Prompts, train: bool) -> AskDataset:
        return AskDataset(items, self.config, train=train)


@dataclass(frozen=True, slots=True)
class _Initialize:
    """Fill the frozen SAM before anything else is trained: from a file, or on the training planes."""

    config: PromptConfig

    def __call__(self, model: nn.Module, splits: Splits[Prompts]) -> None:
        assert isinstance(model, SamUNet)
        if self.config.sam is not None:
            load_sam(model.sam, self.config.sam)
        elif self.config.pretrain:
            asks = splits.train.asks
            chosen = asks[:: -(-len(asks) // _PRETRAINED_ON)]
            images = torch.stack([Square(ask.shape, self.config.side).image(ask.image) for ask in chosen])
            pretrain(model.sam.vision_encoder, images, steps=self.config.pretrain)


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: PromptConfig
    mixer: str

    def __call__(self, size: Size) -> SamUNet:
        shape = SamShape.of(self.config.vit)
        return SamUNet(find_mixer(self.mixer), size, shape=shape, side=self.config.side)
