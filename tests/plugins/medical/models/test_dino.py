import pytest
import torch
from torch import nn

from omniform_medical.models.dino import AttentionViT, distill


def build(image: tuple[int, ...], patch: tuple[int, ...], channels: int = 1) -> AttentionViT:
    torch.manual_seed(0)
    return AttentionViT(channels, image=image, patch=patch, dim=16, depth=2, num_heads=2, hidden=24)


def copy_weights(vit: AttentionViT, peer: nn.Module) -> None:
    """Write the weights of ours into transformers' ViT; its biases that ours lacks become zero."""
    state = {name: torch.zeros_like(weight) for name, weight in peer.state_dict().items()}
    positions = vit.positions.flatten(2).mT
    state["embeddings.cls_token"] = vit.token
    state["embeddings.position_embeddings"] = torch.cat([torch.zeros_like(vit.token), positions], dim=1)
    state["embeddings.patch_embeddings.projection.weight"] = vit.embed.weight
    state["embeddings.patch_embeddings.projection.bias"] = vit.embed.bias
    state["layernorm.weight"], state["layernorm.bias"] = vit.norm.weight, vit.norm.bias
    names = {
        "branches.0.norm": "layernorm_before",
        "branches.0.op.query": "attention.q_proj",
        "branches.0.op.key": "attention.k_proj",
        "branches.0.op.value": "attention.v_proj",
        "branches.0.op.out": "attention.o_proj",
        "branches.1.norm": "layernorm_after",
        "branches.1.op.up": "mlp.fc1",
        "branches.1.op.down": "mlp.fc2",
    }
    for index, layer in enumerate(vit.layers):
        for name, weight in layer.state_dict().items():
            part, _, kind = name.rpartition(".")
            target = f"layers.{index}.{names[part]}.{kind}"
            assert target in state
            state[target] = weight
    peer.load_state_dict(state)


def test_attentions_equal_those_of_transformers_on_copied_weights():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=(24, 16),
        patch_size=8,
        num_channels=1,
        qkv_bias=False,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
    )
    config._attn_implementation = "sdpa"
    peer = ViTModel(config, add_pooling_layer=False).double().eval()
    vit = build((24, 16), (8, 8)).double()
    copy_weights(vit, peer)
    x = torch.randn(3, 1, 24, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(vit(x), peer(x).last_hidden_state, rtol=0, atol=1e-10)
        weights = vit.weights(x)
        peer.set_attn_implementation("eager")  # which returns weights, out of a softmax in float32
        theirs = peer(x, output_attentions=True).attentions[-1]
    torch.testing.assert_close(weights, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("image", "patch"), [((13, 10), (4, 4)), ((9, 7, 5), (4, 4, 4)), ((6, 1, 3), (4, 1, 2))])
def test_maps_have_the_size_of_the_image(image: tuple[int, ...], patch: tuple[int, ...]):
    vit = build(image, patch, channels=2)
    maps = vit.maps(torch.randn(2, 2, *image))
    assert maps.shape == (2, 2, *image)
    smaller = tuple(-(-n // 2) for n in image)  # as local views are
    assert vit(torch.randn(2, 2, *smaller)).shape[-1] == 16


def test_a_map_is_the_attention_of_the_class_token_where_tokens_are_voxels():
    vit = build((4, 3), (1, 1)).double()
    x = torch.randn(1, 1, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(vit.maps(x)[0].flatten(1), 12 * vit.weights(x)[0, :, 0, 1:], rtol=0, atol=1e-12)


def squares(count: int) -> torch.Tensor:
    """Return noise with a bright square each, `(count, 1, 24, 24)`."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(count, 1, 24, 24, generator=generator)
    for image, (x, y) in zip(images, torch.randint(0, 14, (count, 2), generator=generator).tolist(), strict=True):
        image[:, x : x + 8, y : y + 8] += 2
    return images


def test_distillation_moves_the_transformer_and_does_not_collapse():
    vit, images = build((24, 24), (8, 8)), squares(24)
    before = {name: weight.clone() for name, weight in vit.state_dict().items()}
    frozen = vit.requires_grad_(False)
    assert distill(frozen, images, steps=20, seconds=60.0) == 20
    assert all(not torch.equal(weight, before[name]) for name, weight in vit.state_dict().items())
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in vit.parameters())
    encoded = nn.functional.normalize(vit(images)[:, 0], dim=-1)
    assert float((encoded @ encoded.T).std()) > 1e-3  # images are told apart still


def test_distillation_stops_on_time():
    assert distill(build((24, 24), (8, 8)), squares(4), steps=10_000, seconds=0.3) < 10_000
