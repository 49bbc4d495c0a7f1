"""What every network promises: shapes, a count that is affine in the hidden width, gradients, bfloat16."""

import pytest
import torch

from omniform.plugins import find_mixer
from omniform.solver import count_parameters
from omniform.task import Size
from omniform_medical.classification.models import MODELS, DCTHistoTransformer, PyramidClassifier
from omniform_medical.classification.models.classifier import PixelStem, stem_stride

ALL = {**MODELS, "dct-histotransformer": DCTHistoTransformer}


def build(name, mixer="attention", *, dim=16, hidden=24, depth=1, image=(24, 20), channels=2):
    torch.manual_seed(0)
    size = Size(dim=dim, hidden=hidden, depth=depth)
    return ALL[name](find_mixer(mixer), size, image=image, channels=channels, classes=3, dropout=0.1)


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_count_is_affine_in_the_hidden_width_without_memory(name):
    with torch.device("meta"):
        counts = [count_parameters(build(name, hidden=hidden, depth=2)) for hidden in (10, 17, 31)]
    assert counts[0] == count_parameters(build(name, hidden=10, depth=2))
    assert counts[0] < counts[1] < counts[2]
    assert (counts[1] - counts[0]) / 7 == (counts[2] - counts[1]) / 14


@pytest.mark.parametrize("name", sorted(ALL))
def test_company_does_not_matter_and_everything_learns(name):
    model = build(name)
    x = torch.randn(4, 2, 24, 20)
    model.train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ALL))
def test_bfloat16_says_nearly_the_same(name):
    model = build(name).eval()
    x = torch.randn(4, 2, 24, 20)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x).float()
    torch.testing.assert_close(half, model(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("mixer", ["gla", "mlp-mixer", "hyena-nd"])
def test_the_pyramid_takes_any_mixer(mixer):
    model = build("pyramid", mixer, image=(31, 16), depth=2).eval()
    x = torch.randn(2, 2, 31, 16)
    (last,) = model.features(x)
    assert tuple(last.shape) == (2, 32, 8, 4)
    torch.testing.assert_close(model(x), model.head(last.mean(dim=(2, 3))))


@pytest.mark.parametrize(("side", "most", "stride"), [(64, 16, 4), (28, 32, 1), (224, 56, 4), (65, 16, 5)])
def test_the_stem_leaves_no_more_places_than_it_should(side, most, stride):
    assert stem_stride((side, 9), most) == stride
    out = PixelStem(1, 4, stride)(torch.zeros(2, 1, side, 9))
    assert tuple(out.shape[2:]) == (-(-side // stride), -(-9 // stride))
    assert max(out.shape[2:]) <= most


def test_pyramid_stages_are_normalised_where_they_are_read():
    model = build("pyramid").eval()
    assert isinstance(model, PyramidClassifier)
    (last,) = model.features(torch.randn(2, 2, 24, 20))
    torch.testing.assert_close(last.mean(dim=1), torch.zeros_like(last[:, 0]), rtol=0, atol=1e-5)
