"""The parameter solver: within 3 %, or one clear line."""

import pytest
from torch import nn

from omniform.backbones import Sequence
from omniform.channel import Mlp
from omniform.errors import SizeError
from omniform.layers import Branch, Layer
from omniform.mixers.adapt import adapt
from omniform.plugins import find_mixer
from omniform.solver import count_parameters, solve_size
from omniform.task import Network

MIXERS = ("attention", "gla", "mamba", "retention", "hyena-nd", "mlp-mixer", "convmixer", "spectformer")


def _network(mixer, *, width_of_head=8):
    def build(size):
        def make_layer(index, dim):
            mix = adapt(find_mixer(mixer), dim, grid=(21,))
            return Layer(Branch(mix, nn.LayerNorm(dim)), Branch(Mlp(dim, size.hidden), nn.LayerNorm(dim)))

        return nn.ModuleDict(
            {
                "stem": nn.Linear(16, size.dim),
                "backbone": Sequence(make_layer, dim=size.dim, depth=size.depth),
                "head": nn.Linear(size.dim, width_of_head),
            }
        )

    return Network(build=build, objective=None, dataset=None, decode=None, assemble=None, fixed=("stem", "head"))  # type: ignore[arg-type]


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize(("params", "depth"), [(50_000, 2), (200_000, 2), (200_000, 3), (1_000_000, 4)])
def test_every_mixer_meets_the_target(mixer, params, depth):
    network = _network(mixer)
    size = solve_size(network, params=params, depth=depth)
    assert abs(count_parameters(network.build(size)) - params) <= 0.03 * params
    assert 0.5 <= size.hidden / size.dim <= 4


def test_refuses_what_cannot_be_met():
    with pytest.raises(SizeError, match="no width gives 100 parameters"):
        solve_size(_network("attention"), params=100, depth=2)


def test_refuses_a_network_that_is_mostly_head():
    with pytest.raises(SizeError, match="stem and head alone hold"):
        solve_size(_network("attention", width_of_head=2000), params=200_000, depth=2)
