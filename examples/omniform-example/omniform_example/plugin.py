"""What this plugin hands to omniform. Imports nothing heavy: the rest is named by reference."""

from __future__ import annotations

from collections.abc import Sequence

from omniform.hookspecs import hookimpl
from omniform.specs import Domain, Ref, System, TaskEntry

__all__ = ["ECHO", "SYSTEMS"]

ECHO = Domain(
    name="echo",
    title="Echo",
    summary="Say again the bit that came some steps ago: a toy domain to copy.",
    tasks=(
        TaskEntry(
            name="recall", summary="Recall the bit of `delay` steps ago.", task=Ref("omniform_example.task:Recall")
        ),
    ),
)
SYSTEMS = (
    System(
        id="shift-mixer",
        kind="token-mixer",
        title="Channel groups shifted by one, two, ... tokens",
        paper="2106.07477",
        code=Ref("omniform_example.shift_mixer:ShiftMixer"),
        domain="echo",
        mixer=True,
        ranks=(1,),
        causal="always",
        stateful=True,
        cost="linear",
    ),
    System(
        id="majority-bit",
        kind="floor",
        title="The more frequent bit, always",
        paper="Holte 1993, doi:10.1023/A:1022631118932",
        code=Ref("omniform_example.floors:MajorityBit"),
        domain="echo",
    ),
)


@hookimpl
def omniform_domains() -> Sequence[Domain]:
    return (ECHO,)


@hookimpl
def omniform_systems() -> Sequence[System]:
    return SYSTEMS
