"""Forecasting networks: parity with independent implementations, and the properties that the papers claim."""

import pytest
import torch
from torch import nn

from omniform.mixers.attention import Attention
from omniform.mixers.mlp_mixer import MLPMixer
from omniform.plugins import find_mixer
from omniform.task import Size
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.models import build_model
from omniform_timeseries.models.itransformer import ITransformer
from omniform_timeseries.models.patch_encoder import PatchEncoder
from omniform_timeseries.models.patching import Patches, PatchStem
from omniform_timeseries.models.patchtsmixer import PatchTSMixer

SIZE = Size(dim=16, hidden=24, depth=2)
MODELS = ("patch", "itransformer", "patchtsmixer")
MIXERS = ("attention", "gla", "mamba", "hyena-nd", "mlp-mixer", "convmixer", "spectformer", "dinat")


def _history(batch=2, lookback=40, variates=3):
    return torch.randn(batch, lookback, variates, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _model(name, mixer="attention"):
    torch.manual_seed(0)
    config = ForecastConfig(model=name, lookback=40, horizon=8, patch=8, stride=4, dropout=0.0, season=8)
    return build_model(config, num_variates=3, mixer=find_mixer(mixer), size=SIZE).double().eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_model_takes_every_mixer(name, mixer):
    forecast = _model(name, mixer)(_history())
    assert forecast.shape == (2, 8, 3)
    assert forecast.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_a_forecast_moves_with_its_series(name):
    """An affine change a x + b of each series changes its forecast alike, up to the epsilon of the spread."""
    model, history = _model(name), _history()
    scale, shift = torch.tensor([2.0, 5.0, 0.5]).double(), torch.tensor([1.0, -30.0, 4.0]).double()
    torch.testing.assert_close(model(history * scale + shift), model(history) * scale + shift, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["patch", "patchtsmixer"])
def test_channel_independent_models_never_look_across(name):
    model, history = _model(name), _history()
    other = history.clone()
    other[..., 1] += torch.linspace(0, 3, 40).double()
    torch.testing.assert_close(model(other)[..., [0, 2]], model(history)[..., [0, 2]])


def test_itransformer_is_equivariant_to_variates():
    model, history = _model("itransformer"), _history()
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(model(history[..., order]), model(history)[..., order])


def test_itransformer_equals_torch_encoder_on_copied_weights():
    """The paper's encoder is torch's post-norm encoder over variate tokens, between two linear maps."""
    torch.manual_seed(0)
    ours = ITransformer(Attention, SIZE, num_variates=3, lookback=40, horizon=8).double().eval()
    history = _history()
    heads = ours.backbone.layers[0].branches[0].op.num_heads
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, heads, 24, 0.0, activation="gelu", batch_first=True),
        2,
        norm=nn.LayerNorm(16),
        enable_nested_tensor=False,
    ).double()
    for layer, other in zip(ours.backbone.layers, theirs.layers, strict=True):
        _copy_encoder_layer(layer, other)
    theirs.norm.load_state_dict(ours.backbone.norm.state_dict())
    mean, spread = history.mean(1, keepdim=True), (history.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    tokens = ours.stem[0](((history - mean) / spread).transpose(1, 2))
    expected = ours.head(theirs.eval()(tokens)).transpose(1, 2) * spread + mean
    torch.testing.assert_close(ours(history), expected)


def _copy_encoder_layer(ours, theirs):
    attention, mlp = ours.branches[0].op, ours.branches[1].op
    state = {
        "self_attn.in_proj_weight": torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]),
        "self_attn.in_proj_bias": torch.zeros(48, dtype=torch.float64),
        "self_attn.out_proj.weight": attention.out.weight,
        "self_attn.out_proj.bias": torch.zeros(16, dtype=torch.float64),
        "linear1.weight": mlp.up.weight,
        "linear1.bias": mlp.up.bias,
        "linear2.weight": mlp.down.weight,
        "linear2.bias": mlp.down.bias,
        "norm1.weight": ours.branches[0].norm.weight,
        "norm1.bias": ours.branches[0].norm.bias,
        "norm2.weight": ours.branches[1].norm.weight,
        "norm2.bias": ours.branches[1].norm.bias,
    }
    theirs.load_state_dict(state)


def test_patches_cover_the_newest_value():
    for lookback, patch, stride in [(40, 8, 4), (41, 8, 4), (40, 16, 16), (7, 7, 3)]:
        cut = Patches(lookback=lookback, length=patch, stride=stride)
        stem = PatchStem(cut, 3)
        stem.project = nn.Identity()
        patches = stem(torch.arange(lookback, dtype=torch.float32)[None])
        assert patches.shape[1] == cut.count
        assert patches[0, -1].tolist() == list(range(lookback - patch, lookback))
        assert set(patches.flatten().tolist()) == set(range(lookback))


def test_patch_encoder_equals_a_straight_line_of_its_parts():
    torch.manual_seed(0)
    model = PatchEncoder(Attention, SIZE, patches=Patches(lookback=40, length=8, stride=8), horizon=8).double().eval()
    history = _history(batch=1, variates=1)
    last, spread = history[:, -1:], (history.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    patches = ((history - last) / spread)[0, :, 0].reshape(5, 8)
    tokens = model.stem["position"](model.stem["embed"].project(patches)[None], _layout(5))
    encoded = model.backbone(tokens, _layout(5)).last
    flat = (encoded @ model.head.reduce.weight.T).reshape(-1)
    expected = (model.head.project.weight @ flat + model.head.project.bias) * spread[0, 0] + last[0, 0]
    torch.testing.assert_close(model(history)[0, :, 0], expected)


def _layout(length):
    from omniform.layout import Layout

    return Layout((length,))


def test_patchtsmixer_equals_transformers_on_copied_weights():
    """The channel-independent mode with the paper's own mixer, head and normalisation (patches that divide)."""
    transformers = pytest.importorskip("transformers")
    config = transformers.PatchTSMixerConfig(
        context_length=40, prediction_length=8, patch_length=8, patch_stride=8, num_input_channels=3, d_model=16,
        expansion_factor=2, num_layers=2, dropout=0.0, head_dropout=0.0, mode="common_channel", gated_attn=True,
        norm_mlp="LayerNorm", self_attn=False, scaling="std", loss="mse", use_positional_encoding=False,
    )  # fmt: skip
    theirs = transformers.PatchTSMixerForPrediction(config).double().eval()
    torch.manual_seed(0)
    ours = PatchTSMixer(
        MLPMixer,
        Size(dim=16, hidden=32, depth=2),
        patches=Patches(lookback=40, length=8, stride=8),
        horizon=8,
        head_rank=None,
    )
    for layer in ours.backbone.layers:  # the paper's expansion factor for the patch perceptron is two
        layer.branches[0].op.mixer = MLPMixer(16, grid=(5,), hidden=10)
    ours = ours.double().eval()
    _copy_patchtsmixer(theirs, ours)
    history = _history()
    forecast = theirs(past_values=history).prediction_outputs
    torch.testing.assert_close(ours(history), forecast, rtol=1e-4, atol=1e-4)


def _copy_patchtsmixer(theirs, ours):
    ours.stem.project.load_state_dict(theirs.model.encoder.patcher.state_dict())
    ours.head.project.load_state_dict(theirs.head.base_forecast_block.state_dict())
    for layer, other in zip(ours.backbone.layers, theirs.model.encoder.mlp_mixer_encoder.mixers, strict=True):
        patches, features = other.patch_mixer, other.feature_mixer
        mix, channels = layer.branches
        mix.norm.load_state_dict(patches.norm.norm.state_dict())
        mix.op.mixer.up.load_state_dict(patches.mlp.fc1.state_dict())
        mix.op.mixer.down.load_state_dict(patches.mlp.fc2.state_dict())
        mix.op.gate.load_state_dict(patches.gating_block.attn_layer.state_dict())
        channels.norm.load_state_dict(features.norm.norm.state_dict())
        channels.op.mlp.up.load_state_dict(features.mlp.fc1.state_dict())
        channels.op.mlp.down.load_state_dict(features.mlp.fc2.state_dict())
        channels.op.gate.load_state_dict(features.gating_block.attn_layer.state_dict())
