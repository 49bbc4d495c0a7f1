"""Grad-CAM against hooks, against its closed form behind a mean, and on a planted spot."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omniform.mixers.attention import Attention
from omniform.task import Size
from omniform_medical.classification.gradcam import grad_cam
from omniform_medical.classification.models import MODELS, Classifier, DCTHistoTransformer, PyramidClassifier

SIZE = Size(dim=16, hidden=16, depth=1)
ALL = {**MODELS, "dct-histotransformer": DCTHistoTransformer}


class Tiny(Classifier):
    """Two convolutions, a map, and a perceptron behind its mean and maximum."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.out = nn.Linear(12, 3)

    def features(self, x):
        fine = self.fine(x).tanh()
        return fine, self.coarse(fine).relu()

    def classify(self, maps):
        return self.out(torch.cat([maps[-1].mean(dim=(2, 3)), maps[-1].amax(dim=(2, 3))], dim=1))


def by_hooks(model, layer, pictures, classes):
    """Compute Grad-CAM as the paper says, on the output of a module, from a plain backward pass."""
    kept = {}

    def keep(module, inputs, output):
        output.retain_grad()
        kept["map"] = output

    handle = layer.register_forward_hook(keep)
    model(pictures)[torch.arange(len(pictures)), classes].sum().backward()
    handle.remove()
    heat = []
    for value, gradient in zip(kept["map"], kept["map"].grad, strict=True):
        one = sum(gradient[d].mean() * value[d] for d in range(len(value))).clamp(min=0)
        heat.append(one / one.max() if one.max() > 0 else one)
    return torch.stack(heat).detach()


def test_it_equals_hooks_on_a_tiny_network():
    torch.manual_seed(0)
    model = nn.Module.double(Tiny()).eval()
    x, classes = torch.randn(4, 1, 8, 8).double(), torch.tensor([0, 2, 1, 1])
    layer = nn.ReLU()
    model.features = lambda x: (x, layer(model.coarse(model.fine(x).tanh())))
    expected = by_hooks(model, layer, x, classes)
    ours = grad_cam(model, x, classes)
    expected = F.interpolate(expected[:, None].float(), (8, 8), mode="bilinear")[:, 0]
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(ours, expected.nan_to_num(0.0), rtol=1e-5, atol=1e-6)


def test_behind_a_mean_and_a_linear_head_it_is_the_class_activation_map():
    torch.manual_seed(0)
    model = PyramidClassifier(Attention, SIZE, image=(32, 32), channels=1, classes=3).eval()
    x = torch.randn(2, 1, 32, 32)
    (last,) = model.features(x)
    heat = torch.einsum("d,bdhw->bhw", model.head.weight[1], last).relu()
    heat = F.interpolate(heat[:, None], (32, 32), mode="bilinear")[:, 0].detach()
    expected = heat / heat.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(grad_cam(model, x, torch.tensor([1, 1])), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_network_has_one_of_the_pictures_size(name):
    torch.manual_seed(0)
    model = ALL[name](Attention, SIZE, image=(40, 33), channels=1, classes=3).eval()
    heat = grad_cam(model, torch.randn(3, 1, 40, 33), torch.tensor([0, 1, 2]))
    assert heat.shape == (3, 40, 33)
    assert heat.min() >= 0
    assert torch.isin(heat.amax(dim=(1, 2)), torch.tensor([0.0, 1.0])).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_bright_spot_is_found():
    torch.manual_seed(0)
    model = nn.Module()
    model = Tiny().eval()
    with torch.no_grad():
        model.fine.weight.fill_(0.1)
        model.coarse.weight.fill_(0.1)
        model.out.weight.copy_(torch.eye(3)[:, :1].expand(3, 12))
        for layer in (model.fine, model.coarse, model.out):
            layer.bias.zero_()
    picture = torch.zeros(1, 1, 16, 16)
    picture[..., 10:13, 3:6] = 1
    heat = grad_cam(model, picture, torch.tensor([0]))[0]
    row, column = divmod(int(heat.argmax()), 16)
    assert 9 <= row <= 13
    assert 2 <= column <= 6
    assert grad_cam(model, picture, torch.tensor([1])).max() == 0
