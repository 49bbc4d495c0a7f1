from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from omniform.errors import ConfigError, DataError
from omniform_medical.prompting.sam import Sam, load_sam, shape_of
from omniform_medical.prompting.shape import SMALL, SamShape

SHAPE = SamShape(width=16, layers=4, heads=2, patch=4, window=3, decoder=32, hidden=24)
SIDE = 32


def peer(shape: SamShape = SHAPE, side: int = SIDE) -> nn.Module:
    """Return transformers' SAM of this shape with random weights, in float64."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    torch.manual_seed(0)
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=shape.width,
            output_channels=shape.decoder,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            image_size=side,
            patch_size=shape.patch,
            window_size=shape.window,
            global_attn_indexes=[layer for layer in range(shape.layers) if shape.is_global(layer)],
            num_pos_feats=shape.decoder // 2,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=shape.decoder, image_size=side, patch_size=shape.patch
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=shape.decoder, mlp_dim=shape.hidden, iou_head_hidden_dim=shape.decoder
        ),
    )
    model = SamModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def save(model: nn.Module, path: Path) -> Path:
    save_file(dict(model.named_parameters()), path)  # a tied matrix once, as transformers saves it
    return path


def ours(model: nn.Module, tmp_path: Path, shape: SamShape = SHAPE, side: int = SIDE) -> Sam:
    sam = Sam(shape, side).double().eval()
    load_sam(sam, save(model, tmp_path / "sam.safetensors"))
    return sam


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


BOXES = torch.tensor([[3.0, 5.0, 20.0, 17.0], [8.0, 2.5, 30.0, 9.0]], dtype=torch.float64)
POINTS = torch.tensor([[[3.0, 5.0], [9.0, 30.0]], [[8.0, 2.5], [0.0, 0.0]]], dtype=torch.float64)
LABELS = torch.tensor([[1, 0], [1, -1]])


@pytest.mark.parametrize("prompts", ["boxes", "points", "both"])
@pytest.mark.parametrize("window", [3, 4])
def test_sam_equals_transformers_on_copied_weights(prompts: str, window: int, images: torch.Tensor, tmp_path: Path):
    shape = SamShape(width=16, layers=4, heads=2, patch=4, window=window, decoder=32, hidden=24)
    shape = SamShape.of((*shape.numbers[:1], 8, *shape.numbers[2:]))  # windowed and global layers
    model = peer(shape)
    sam = ours(model, tmp_path, shape)
    boxes = BOXES if prompts != "points" else None
    points, labels = (POINTS, LABELS) if prompts != "boxes" else (None, None)
    with torch.no_grad():
        masks, quality = sam(images, boxes=boxes, points=points, labels=labels)
        for multimask, part in ((False, slice(0, 1)), (True, slice(1, None))):
            theirs = model(
                pixel_values=images,
                input_boxes=None if boxes is None else boxes[:, None],
                input_points=None if points is None else points[:, None],
                input_labels=None if labels is None else labels[:, None],
                multimask_output=multimask,
            )
            torch.testing.assert_close(masks[:, part], theirs.pred_masks[:, 0], rtol=0, atol=1e-5)
            torch.testing.assert_close(quality[:, part], theirs.iou_scores[:, 0], rtol=0, atol=1e-5)


def test_the_shape_of_a_checkpoint_is_read_from_its_weights(tmp_path: Path):
    shape = SamShape(width=16, layers=8, heads=2, patch=4, window=3, decoder=32, hidden=24)
    assert shape_of(save(peer(shape), tmp_path / "sam.safetensors")) == (shape, SIDE)


def test_positions_are_interpolated_to_another_side(tmp_path: Path):
    model = peer()
    sam = ours(model, tmp_path, side=48)
    weight = model.state_dict()["vision_encoder.pos_embed"]
    assert sam.vision_encoder.pos_embed.shape == (1, 12, 12, 16)
    assert abs(float(sam.vision_encoder.pos_embed.detach().mean() - weight.mean())) < 0.02


def test_what_is_no_checkpoint_is_refused_in_a_line(tmp_path: Path):
    broken = tmp_path / "sam.safetensors"
    broken.write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match="safetensors"):
        shape_of(broken)
    save_file({"weight": torch.zeros(3)}, broken)
    with pytest.raises(DataError, match="SamModel"):
        shape_of(broken)
    with pytest.raises(DataError, match="SamModel"):
        load_sam(Sam(SHAPE, SIDE), broken)
    save(peer(), broken)
    with pytest.raises(DataError, match="leave --vit empty"):
        load_sam(Sam(SamShape(width=32, layers=4, heads=2, patch=4, window=3, decoder=32, hidden=24), SIDE), broken)
    with pytest.raises(ConfigError, match="multiple of the patch"):
        Sam(SMALL, 60)
    with pytest.raises(ConfigError, match="expected vit as"):
        SamShape.of((1, 2))
