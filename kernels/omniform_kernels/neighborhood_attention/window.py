"""Whom a token sees along one axis."""

from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """The K tokens, `dilation` apart, around the leader of a token's group along one axis, or up to it if `causal`.

    Attributes:
        size: K.
        dilation: steps between neighbours; tokens see those of their own residue class.
        stride: neighbours in a residue class that make up a group, at most K.
        causal: whether later tokens are left out.
    """

    size: int
    dilation: int = 1
    stride: int = 1
    causal: bool = False

    def seen(self, i: int, n: int) -> range:
        """Return the tokens that token i of n sees."""
        members = range(i % self.dilation, n, self.dilation)
        place, last = i // self.dilation, len(members) - 1
        group = place // self.stride * self.stride
        if self.causal:
            leader = min(group + self.stride - 1, last)
            return members[max(0, leader - self.size + 1) : place + 1]
        leader = min(group + self.stride // 2, last)
        start = max(0, min(leader - self.size // 2, len(members) - self.size))
        return members[start : start + self.size]
