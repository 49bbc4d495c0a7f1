"""The residual encoder beside MONAI's ResNet with the same weights."""

import pytest
import torch

from omniform_medical.models.resnet import ResNet

DIMS = (8, 16, 24, 32)


def peer(depth: int):
    from monai.networks.nets.resnet import ResNet as Peer

    torch.manual_seed(depth)
    return Peer(
        "basic",
        [depth] * 4,
        list(DIMS),
        spatial_dims=3,
        n_input_channels=2,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    )


def up_to_the_last_layer(model, x: torch.Tensor) -> torch.Tensor:
    x = model.maxpool(model.act(model.bn1(model.conv1(x))))
    return model.layer4(model.layer3(model.layer2(model.layer1(x))))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("dilated", [False, True])
def test_equals_monai_with_its_weights(depth: int, dilated: bool):
    theirs = peer(depth)
    strides, dilations = [(2, 2, 2)] * 5, (1, 1, 1, 1)
    if dilated:  # MedicalNet's form, which MONAI's class lacks: set on its convolutions
        strides, dilations = [(2, 2, 2)] * 3 + [(1, 1, 1)] * 2, (1, 1, 2, 4)
        for layer, dilation in ((theirs.layer3, 2), (theirs.layer4, 4)):
            for module in layer.modules():
                if isinstance(module, torch.nn.Conv3d):
                    module.stride = (1, 1, 1)
                    if module.kernel_size == (3, 3, 3):
                        module.dilation = module.padding = (dilation,) * 3
    ours = ResNet(3, 2, dims=DIMS, hidden=DIMS, depth=depth, strides=strides, dilations=dilations)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 2, 33, 40, 29)
    torch.testing.assert_close(ours(x), up_to_the_last_layer(theirs, x), rtol=1e-5, atol=1e-5)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(ours.eval()(x), up_to_the_last_layer(theirs.eval(), x), rtol=1e-5, atol=1e-5)


def test_planes_and_uneven_strides():
    strides = [(2, 1), (2, 2), (1, 2), (1, 1), (1, 1)]
    model = ResNet(2, 1, dims=DIMS, hidden=(4, 5, 6, 7), depth=1, strides=strides)
    assert model(torch.randn(2, 1, 21, 13)).shape == (2, 32, 6, 4)
