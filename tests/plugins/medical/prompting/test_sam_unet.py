import pytest
import torch

from omniform.mixers.attention import Attention
from omniform.mixers.mamba import Mamba
from omniform.solver import count_parameters
from omniform.task import Size
from omniform_medical.prompting.pretraining import pretrain
from omniform_medical.prompting.sam_unet import SamUNet
from omniform_medical.prompting.shape import SamShape

SHAPE = SamShape(width=16, layers=4, heads=2, patch=8, window=2, decoder=32, hidden=24)
SIDE = 32
SIZE = Size(dim=8, hidden=8, depth=1)
BOXES = torch.tensor([[3.0, 5.0, 20.0, 17.0], [8.0, 2.5, 30.0, 9.0]])
POINTS, LABELS = torch.tensor([[[3.0, 5.0]], [[8.0, 2.5]]]), torch.ones(2, 1, dtype=torch.int64)


def build(mixer=Attention, size: Size = SIZE, shape: SamShape = SHAPE) -> SamUNet:
    torch.manual_seed(0)
    return SamUNet(mixer, size, shape=shape, side=SIDE)


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def open_gates(model: SamUNet) -> None:
    for name, parameter in model.named_parameters():
        if name.startswith(("inject.", "fuse.")) and ".project." in name:
            torch.nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("prompt", [{"boxes": BOXES}, {"points": POINTS, "labels": LABELS}])
def test_with_closed_gates_it_is_sam_to_the_bit(prompt: dict[str, torch.Tensor]):
    model, x = build(), images()
    with torch.no_grad():  # with gradients torch takes another kernel for attention here than there
        masks, quality = model(x, **prompt)
        plain_masks, plain_quality = model.sam(x, **prompt)
        open_gates(model)
        opened = model(x, **prompt)[0]
    assert torch.equal(masks, plain_masks)
    assert torch.equal(quality, plain_quality)
    assert not torch.allclose(opened, plain_masks)
    assert masks.shape == (2, 4, 16, 16)


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_gradient_reaches_the_branch_the_fusions_and_the_decoder_alone(patch: int):
    model = build(shape=SamShape(width=16, layers=4, heads=2, patch=patch, window=2, decoder=32, hidden=24))
    open_gates(model)
    masks, quality = model(images(), boxes=BOXES)
    (masks.square().mean() + quality.square().mean()).backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("sam.vision_encoder", "sam.prompt_encoder"))
        assert (parameter.grad is None) == frozen, name
        assert frozen or (parameter.grad is not None and float(parameter.grad.abs().max()) > 0), name


def test_gates_are_the_first_of_the_branch_to_learn():
    model = build()
    model(images(), boxes=BOXES)[0].square().mean().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0}
    branch = {name for name in moved if not name.startswith("sam.")}
    assert branch == {
        name for name, _ in model.named_parameters() if ".project." in name and name[:4] in ("inje", "fuse")
    }


def test_the_module_builds_without_memory_and_grows_affinely_with_hidden():
    with torch.device("meta"):
        counts = [count_parameters(build(size=Size(dim=8, hidden=h, depth=2))) for h in (8, 12, 16)]
    assert counts[0] == count_parameters(build(size=Size(dim=8, hidden=8, depth=2)))
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


def test_bf16_and_another_mixer():
    model = build(Mamba)
    open_gates(model)
    with torch.no_grad():
        exact = model(images(), boxes=BOXES)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images(), boxes=BOXES)[0]
    assert float((rough - exact).abs().mean() / exact.abs().mean()) < 0.1


def test_pretraining_moves_the_layers_alone_and_leaves_them_frozen():
    model = build()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    pretrain(model.sam.vision_encoder, images(6), steps=2)
    moved = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    parts = ("patch_embed.", "pos_embed", "layers.")
    assert moved == {name for name in before if name.startswith(tuple(f"sam.vision_encoder.{part}" for part in parts))}
    assert not any(parameter.requires_grad for parameter in model.sam.vision_encoder.parameters())
