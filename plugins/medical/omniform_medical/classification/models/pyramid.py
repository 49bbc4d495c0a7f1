"""A pyramid of any mixer with a pooled head.

Shapes: B batch, C channels, H x W pixels, D width, h x w tokens, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from omniform.backbones import Pyramid
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.positions import Learned
from omniform.task import Size
from omniform_medical.classification.models.classifier import Classifier, PixelStem, stem_stride

__all__ = ["PyramidClassifier"]

_MOST = 16  # tokens each way at the first stage


class PyramidClassifier(Classifier):
    """Classify a picture by the mean of its coarsest tokens.

    `(B, C, H, W) -> (B, K)`: overlapping patches become at most 16 x 16 tokens with learned positions; two stages of
    `size.depth` pre-norm layers of mixer and perceptron, of widths D and 2 D, with patch merging between them (as in
    Swin, arXiv 2103.14030); the mean over the tokens of the second stage; a linear head.
    """

    def __init__(
        self,
        mixer: type[Mixer],
        size: Size,
        *,
        image: tuple[int, int],
        channels: int,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        stride = stem_stride(image, _MOST)
        fine = (-(-image[0] // stride), -(-image[1] // stride))
        grids = fine, (-(-fine[0] // 2), -(-fine[1] // 2))

        def make_layer(index: int, dim: int) -> Layer:
            grid = grids[index // size.depth]
            return Layer(
                Branch(adapt(mixer, dim, grid=grid), nn.LayerNorm(dim), dropout=dropout),
                Branch(Mlp(dim, size.hidden * dim // size.dim), nn.LayerNorm(dim), dropout=dropout),
            )

        self.stem = nn.ModuleDict(
            {"pixels": PixelStem(channels, size.dim, stride), "position": Learned(size.dim, fine)}
        )
        self.backbone = Pyramid(make_layer, dims=(size.dim, 2 * size.dim), depths=(size.depth, size.depth), rank=2)
        self.backbone.norms[0] = nn.Identity()  # of a level that is not looked at
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * size.dim, classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = self.stem["pixels"](x).permute(0, 2, 3, 1)  # (B, h, w, D)
        layout = Layout.of(tokens)
        return (self.backbone(self.stem["position"](tokens, layout), layout).last.permute(0, 3, 1, 2),)

    def classify(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.head(self.dropout(maps[-1].mean(dim=(2, 3))))
