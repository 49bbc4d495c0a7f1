"""How large a Segment Anything Model is. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from omniform.errors import ConfigError

__all__ = ["SMALL", "SamShape"]


@dataclass(frozen=True, slots=True)
class SamShape:
    """The numbers that a SAM is built from (arXiv 2304.02643), in the order in which a config writes them.

    Attributes:
        width, layers, heads: of the image encoder; every `layers / 4`-th layer looks at the whole image.
        patch: pixels of a token along both axes.
        window: tokens along both axes that the other layers look at.
        decoder: width of prompts and mask decoder, a multiple of its 8 heads, of 2 each.
        hidden: of the mask decoder's perceptrons.
    """

    width: int
    layers: int
    heads: int
    patch: int
    window: int
    decoder: int
    hidden: int

    def __post_init__(self) -> None:
        if min(astuple(self)) < 1 or self.width % self.heads or self.layers % 4 or self.patch % 4 or self.decoder % 16:
            raise ConfigError(
                "expected a ViT of positive sizes whose heads divide its width, of layers and patch that are multiples "
                f"of 4 and a decoder's width that is one of 16; got {self}"
            )

    @classmethod
    def of(cls, numbers: tuple[int, ...]) -> SamShape:
        """Read what a config holds.

        Raises:
            ConfigError: these are not seven numbers that fit together.
        """
        if len(numbers) != 7:
            raise ConfigError(
                f"expected vit as width,layers,heads,patch,window,decoder,hidden; got {','.join(map(str, numbers))}"
            )
        return cls(*numbers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """What `of` reads."""
        return astuple(self)

    def is_global(self, layer: int) -> bool:
        """Say whether a layer of the image encoder looks at the whole image."""
        return (layer + 1) % (self.layers // 4) == 0


SMALL = SamShape(width=64, layers=8, heads=4, patch=8, window=8, decoder=48, hidden=96)
