import numpy as np
import pytest
import torch
from torch import nn

from omniform.errors import ConfigError
from omniform_medical.prompting.config import PromptConfig
from omniform_medical.prompting.losses import mask_loss
from omniform_medical.prompting.network import decode, objective, prompt_network


def test_the_loss_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    logits, quality = rng.normal(size=(2, 4, 5, 5)), rng.uniform(size=(2, 4))
    truth = (rng.uniform(size=(2, 5, 5)) > 0.6).astype(float)
    masks, told = mask_loss(*(torch.from_numpy(array) for array in (logits, quality, truth)))
    p = 1 / (1 + np.exp(-logits))
    t = truth[:, None]
    focal = -(0.25 * t * (1 - p) ** 2 * np.log(p) + 0.75 * (1 - t) * p**2 * np.log(1 - p)).mean((2, 3))
    dice = 1 - (2 * (p * t).sum((2, 3)) + 1) / (p.sum((2, 3)) + t.sum((2, 3)) + 1)
    each = 20 * focal + dice
    iou = ((logits > 0) & (t > 0)).sum((2, 3)) / ((logits > 0) | (t > 0)).sum((2, 3))
    assert float(masks) == pytest.approx((each[:, 0] + each[:, 1:].min(1)).mean())
    assert float(told) == pytest.approx(((quality - iou) ** 2).mean())


class Canned(nn.Module):
    """Answer the four masks 0 to 3 everywhere, with these qualities."""

    def forward(self, images: torch.Tensor, **prompt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.arange(4.0)[None, :, None, None].expand(len(images), 4, 8, 8)
        return logits, torch.tensor([[0.9, 0.1, 0.7, 0.3]]).expand(len(images), -1)


def test_a_box_and_several_points_mean_the_first_mask_and_one_click_the_best_of_the_others():
    images = torch.zeros(2, 3, 16, 16)
    points, labels = torch.zeros(2, 1, 2), torch.ones(2, 1)
    box = decode(Canned(), {"images": images, "boxes": torch.zeros(2, 4)})
    one = decode(Canned(), {"images": images, "points": points, "labels": labels})
    two = decode(Canned(), {"images": images, "points": points.expand(-1, 2, -1), "labels": labels.expand(-1, 2)})
    assert [float(answer["logits"].mean()) for answer in (box, one, two)] == [0, 2, 0]
    assert one["quality"].tolist() == pytest.approx([0.7, 0.7])


def test_the_objective_compares_at_the_resolution_of_the_square():
    batch = {"images": torch.zeros(1, 3, 16, 16), "boxes": torch.zeros(1, 4), "truth": torch.ones(1, 16, 16)}
    losses = objective(Canned(), batch, generator=torch.Generator())
    logits = torch.arange(4.0)[None, :, None, None].expand(1, 4, 16, 16)
    masks, quality = mask_loss(logits, torch.tensor([[0.9, 0.1, 0.7, 0.3]]), batch["truth"])
    assert float(losses.total) == pytest.approx(float(masks + quality))


def test_a_config_that_was_never_resolved_is_refused():
    with pytest.raises(ConfigError, match="resolve it with data"):
        prompt_network(PromptConfig(), "attention")
