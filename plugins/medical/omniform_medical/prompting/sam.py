"""The Segment Anything Model, of any size, and the weights of transformers' checkpoints for it.

Shapes: B batch, S side of the image, E width of the embedding, s = 4 S / patch side of the masks.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError, DataError
from omniform_medical.prompting.image_encoder import ImageEncoder
from omniform_medical.prompting.mask_decoder import MaskDecoder
from omniform_medical.prompting.prompt_encoder import PromptEncoder
from omniform_medical.prompting.shape import SamShape

__all__ = ["Sam", "load_sam", "shape_of"]

_POSITIONS = "shared_image_embedding.", "prompt_encoder.shared_embedding."  # one matrix, saved under either name
_UNUSED = "prompt_encoder.mask_embed."


class Sam(nn.Module):
    """Segment what prompts point at (SAM, arXiv 2304.02643), without mask prompts.

    Args:
        side: S, a multiple of the patch.
    """

    def __init__(self, shape: SamShape, side: int) -> None:
        super().__init__()
        if side % shape.patch:
            raise ConfigError(f"expected a side that is a multiple of the patch of {shape.patch} pixels, got {side}")
        self.vision_encoder = ImageEncoder(shape, side)
        self.prompt_encoder = PromptEncoder(shape.decoder, side)
        self.mask_decoder = MaskDecoder(shape)

    def forward(
        self,
        images: Tensor,
        *,
        boxes: Tensor | None = None,
        points: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits `(B, 4, s, s)` of one mask and of three alternatives, and their predicted IoU `(B, 4)`.

        Args:
            images: `(B, 3, S, S)`.
            boxes, points, labels: as in `PromptEncoder`.
        """
        prompt = self.prompt_encoder(boxes=boxes, points=points, labels=labels)
        image = self.prompted(self.vision_encoder(images))  # (B, E, h, w)
        return self.mask_decoder(image, prompt, self.prompt_encoder.dense(image.shape[-1]))

    def prompted(self, embedding: Tensor) -> Tensor:
        """Return the embedding with what stands for the absence of a mask prompt."""
        return embedding + self.prompt_encoder.no_mask_embed.weight[0, :, None, None]


def shape_of(path: Path) -> tuple[SamShape, int]:
    """Return the shape of a checkpoint and the side of the images it was trained on.

    Raises:
        DataError: it is no safetensors file of transformers' `SamModel`.
    """
    shapes = {name: tuple(weight.shape) for name, weight in _read(path).items()}
    try:
        _, tokens, _, width = shapes["vision_encoder.pos_embed"]
        patch = shapes["vision_encoder.patch_embed.projection.weight"][-1]
        layers = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("vision_encoder.layers."))
        lengths = [shapes[f"vision_encoder.layers.{layer}.attn.rel_pos_h"] for layer in range(layers)]
        shape = SamShape(
            width=width,
            layers=layers,
            heads=width // lengths[0][1],
            patch=patch,
            window=(lengths[0][0] + 1) // 2,
            decoder=shapes["prompt_encoder.no_mask_embed.weight"][1],
            hidden=shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError, ConfigError):
        raise DataError(_refusal(path)) from None
    return shape, tokens * patch


def load_sam(model: Sam, path: Path) -> None:
    """Copy the weights of a checkpoint into a model; positions of another side are interpolated.

    Raises:
        DataError: it is no safetensors file of transformers' `SamModel`, or one of another shape.
    """
    own = model.state_dict()
    given = {name.replace(*_POSITIONS): weight for name, weight in _read(path).items() if not name.startswith(_UNUSED)}
    if set(given) != set(own):
        raise DataError(_refusal(path))
    fitted = {name: _fitted(name, weight, tuple(own[name].shape)) for name, weight in given.items()}
    wrong = next((name for name, weight in fitted.items() if weight.shape != own[name].shape), None)
    if wrong is not None:
        raise DataError(
            f"{path.name}: expected {wrong} of the shape {tuple(own[wrong].shape)}, got {tuple(given[wrong].shape)}; "
            "leave --vit empty to take the shape of the file"
        )
    model.load_state_dict(fitted)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError):
        raise DataError(_refusal(path)) from None


def _refusal(path: Path) -> str:
    return f"{path.name}: expected a safetensors file of the weights of transformers' SamModel"


def _fitted(name: str, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Interpolate positions to another number of tokens; everything else is returned as it is."""
    if tuple(weight.shape) == shape:
        return weight
    if name.endswith("pos_embed"):
        grid = weight.movedim(-1, 1).float()
        return F.interpolate(grid, shape[1:3], mode="bicubic", antialias=True).movedim(1, -1)
    if "rel_pos" in name:
        return F.interpolate(weight.T[None].float(), shape[0], mode="linear")[0].T
    return weight
