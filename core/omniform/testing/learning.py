"""Checks of a mixer as a part of training: gradients, determinism, compilation, files."""

from __future__ import annotations

import torch
from safetensors.torch import load, save
from torch import Tensor

from omniform.layout import Layout
from omniform.mixers.base import Mixer
from omniform.testing.subject import build, close, expect, gradients, identical, plain, seeded, settings, tokens

__all__ = ["check_compilation", "check_determinism", "check_gradients", "check_round_trip"]


def check_gradients(cls: type[Mixer], dim: int) -> None:
    """Every parameter and the input receive a gradient, finite even for inputs of zero and a hundred times as large."""
    for grid, causal in settings(cls.traits):
        layout = plain(cls.traits, grid)
        for dtype, scale in ((torch.float64, 1.0), (torch.float32, 100.0), (torch.float32, 0.0)):
            mixer = build(cls, dim, grid, causal=causal, dtype=dtype)
            x = (scale * tokens(2, *grid, dim, dtype=dtype)).requires_grad_()
            what = f"grid {grid}, causal={causal}, {dtype} input times {scale:g}"
            y = mixer(x, layout)
            expect(y.isfinite().all(), f"outputs are not finite, {what}")
            for name, grad in gradients(mixer, [x], [y]).items():
                expect(grad.isfinite().all(), f"the gradient of {name} is not finite, {what}")
                expect(scale != 1 or grad.any(), f"the gradient of {name} is zero, {what}")


def check_determinism(cls: type[Mixer], dim: int) -> None:
    """In eval mode two calls are equal bit by bit and change nothing; under one seed so are two training passes."""
    for grid, causal in settings(cls.traits):
        layout, x = plain(cls.traits, grid), tokens(2, *grid, dim)
        mixer = build(cls, dim, grid, causal=causal)
        before = {name: tensor.clone() for name, tensor in mixer.state_dict().items()}
        first = mixer(x, layout)
        identical(mixer(x, layout), first, f"two calls in eval mode, grid {grid}, causal={causal}")
        identical(build(cls, dim, grid, causal=causal)(x, layout), first, "two instances built under one seed")
        for name, tensor in mixer.state_dict().items():
            identical(tensor, before[name], f"{name} before and after a call in eval mode")
        trained: list[Tensor] = []
        for _ in range(2):
            with seeded(3):
                trained.append(build(cls, dim, grid, causal=causal).train()(x, layout))
        identical(trained[1], trained[0], f"two passes in training mode under one seed, grid {grid}, causal={causal}")


def check_compilation(cls: type[Mixer], dim: int) -> None:
    """`torch.compile` takes it without a graph break, sequences with a mask too, and changes nothing."""
    for grid, causal in settings(cls.traits):
        mixer, layout, x = build(cls, dim, grid, causal=causal), plain(cls.traits, grid), tokens(2, *grid, dim)
        mask = torch.ones(2, *grid, dtype=torch.bool)
        mask[1, ..., -1] = False
        for given in (None, mask) if cls.traits.padding == "native" and len(grid) == 1 else (None,):
            torch.compiler.reset()
            compiled = torch.compile(_call, fullgraph=True, backend="eager")
            what = f"compiled, grid {grid}, causal={causal}, {'no mask' if given is None else 'a mask'}"
            with torch.no_grad():
                close(compiled(mixer, x, layout, given), _call(mixer, x, layout, given), what)


def _call(mixer: Mixer, x: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    return mixer(x, Layout(layout.grid, layout.axes, mask=mask))  # a network makes its layouts inside of the graph


def check_round_trip(cls: type[Mixer], dim: int) -> None:
    """Parameters written as safetensors and read into a new instance give the same outputs, bit by bit."""
    for grid, causal in settings(cls.traits):
        layout, x = plain(cls.traits, grid), tokens(2, *grid, dim)
        old, new = (build(cls, dim, grid, causal=causal, seed=seed) for seed in (0, 1))
        new.load_state_dict(load(save({name: t.contiguous() for name, t in old.state_dict().items()})))
        identical(new(x, layout), old(x, layout), f"after saving and loading, grid {grid}, causal={causal}")
