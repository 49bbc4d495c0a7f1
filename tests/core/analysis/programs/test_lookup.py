"""Perceptrons over two variables against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omniform.analysis.programs.lookup import Lookups
from omniform.analysis.programs.relaxation import Relaxed, hardest


@pytest.mark.parametrize("width", [4, 1])
def test_follows_its_formula_softly_and_hard(width: int) -> None:
    torch.manual_seed(0)
    lookups = Lookups(2, 3, width, hidden=8, categories=4)
    torch.nn.init.normal_(lookups.bias_in)
    torch.nn.init.normal_(lookups.bias_out)
    x = torch.rand(5, 3, width)
    for choose in (hardest, Relaxed(0.5)):
        got = lookups(x, choose)
        for index in range(2):
            read = choose(lookups.read[index]).detach().numpy()
            inputs = np.concatenate([np.tensordot(x.numpy(), share, axes=(1, 0)) for share in read], -1)
            weights = [tensor[index].detach().numpy() for tensor in (lookups.weight_in, lookups.weight_out)]
            biases = [tensor[index].detach().numpy() for tensor in (lookups.bias_in, lookups.bias_out)]
            scores = np.maximum(0, inputs @ weights[0] + biases[0]) @ weights[1] + biases[1]
            torch.testing.assert_close(got[:, index], choose(torch.from_numpy(scores)), rtol=1e-4, atol=1e-5)
