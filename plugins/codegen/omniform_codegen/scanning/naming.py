"""Names for what templates leave open; training, validation and test draw from words of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Words", "deal"]

_NOUNS = (
    "account address album amount answer archive article asset author badge balance banner basket batch billing "
    "board booking bundle button calendar campaign candidate card cart catalog category channel chapter city "
    "client comment company contact contract country coupon course customer delivery depot device diary document "
    "domain draft driver employee entry episode event exam expense feed field film folder forum friend gallery "
    "garden gate grade guest guide history holiday hotel house image incident inventory invoice island item "
    "journal journey label lamp language layout leaflet lecture lesson letter library license listing location "
    "machine manual market meal measure meeting member menu merchant message meter mission module movie museum "
    "network note notice offer office option order owner package page painting parcel partner patient payment "
    "person photo picture place plan planet player playlist pocket poem policy poll portal position post printer "
    "product profile project property quarter question quote receipt recipe record region rental report "
    "reservation resource result review reward river room route sample schedule school score season seat section "
    "sensor series service session shelf shipment shop signal site slide song source speaker sport staff station "
    "statement stock store story street student subject summary supplier survey task teacher team tenant theme "
    "ticket topic tour track trade train transfer treatment trip unit update user vehicle vendor video village "
    "visit volume voucher wallet warehouse weather week window winner word worker zone"
)
_VERBS = (
    "accept add apply archive assign begin browse build change check choose clean close collect complete confirm "
    "convert copy count create deliver describe detect display draw edit enter export fetch fill filter find "
    "finish follow gather generate get give handle inspect invite join keep list load lookup make mark measure "
    "merge move notify obtain offer open pack parse pick place plan prepare present print process publish pull "
    "push query read rebuild receive refresh register remove render replace report request reset resolve restore "
    "resume save search select send serve set share show sort start store submit switch sync take test track "
    "transform update upload validate verify view visit wrap write"
)
_COMMON = (
    "data",
    "result",
    "value",
    "text",
    "name",
    "path",
    "query",
    "cmd",
    "target",
    "content",
    "body",
    "info",
    "row",
    "res",
    "out",
    "tmp",
    "buf",
    "key",
    "line",
    "arg",
)
_LETTERS = np.array(list("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!#_-"))


def deal(count: int, shares: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Deal `count` things into parts of about these shares, at least one in each; return the part of each.

    With fewer things than parts the first part gets them all.
    """
    if count < len(shares):
        return [0] * count
    sizes = [max(1, round(share * count)) for share in shares]
    while sum(sizes[1:]) >= count:
        sizes[int(np.argmax(sizes[1:])) + 1] -= 1
    sizes[0] = count - sum(sizes[1:])
    parts = np.repeat(np.arange(len(shares)), sizes)
    return rng.permutation(parts).tolist()


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one part."""

    nouns: tuple[str, ...]
    verbs: tuple[str, ...]

    @classmethod
    def of_parts(cls, shares: Sequence[float], seed: int) -> list[Words]:
        """Deal all words into parts, so that no two share one."""
        rng = np.random.default_rng((seed, 1))
        dealt = [
            list(zip(text.split(), deal(len(text.split()), shares, rng), strict=True)) for text in (_NOUNS, _VERBS)
        ]
        return [
            cls(*(tuple(word for word, own in words if own == part) for words in dealt)) for part in range(len(shares))
        ]

    def draw(self, slots: Sequence[str], rng: np.random.Generator) -> Mapping[str, str]:
        """Return a name for each slot; those of variables differ from each other."""
        taken: set[str] = set()
        return {slot: self._name(slot, taken, rng) for slot in slots}

    def _name(self, slot: str, taken: set[str], rng: np.random.Generator) -> str:
        one, two = (_draw(self.nouns, rng) for _ in range(2))
        match slot:
            case "f":
                verb = _draw(self.verbs, rng)
                return f"{verb}_{one}" if rng.random() < 0.8 else verb
            case "C":
                return one.capitalize() + (two.capitalize() if rng.random() < 0.4 else "")
            case "K":
                return f"{one}_{two}".upper()
            case "s":
                return "".join(rng.choice(_LETTERS, int(rng.integers(6, 24))))
            case "h":
                return f"{one}.{two}.example"
            case "t":
                return one + "s"
            case "p":
                return one if rng.random() < 0.6 else f"{one}-{two}"
            case "c":
                return one
        common = slot in "qvwu" and rng.random() < 0.3
        name = _draw(_COMMON, rng) if common else one if rng.random() < 0.5 else f"{one}_{two}"
        while name in taken:
            name = f"{_draw(self.nouns, rng)}_{name}"
        taken.add(name)
        return name


def _draw(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
