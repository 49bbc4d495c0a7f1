r"""How likely one of k samples passes.

n = samples of a problem, c = those that pass

The unbiased estimate for a problem, whose mean over problems is pass@k (Chen et al., arXiv 2107.03374):

.. math::
    \text{pass@}k = 1 - \binom{n - c}{k} \Big/ \binom{n}{k} = 1 - \prod_{i=n-c+1}^{n} \Bigl(1 - \frac{k}{i}\Bigr)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from omniform.errors import ConfigError
from omniform.task import Scores, Statistic, Units

__all__ = ["pass_at_k", "score"]


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the estimate for one problem, of which `passed` of `samples` passed.

    Raises:
        ConfigError: there are fewer than k samples, of which no unbiased estimate can be made.
    """
    if not 1 <= k <= samples:
        raise ConfigError(f"expected at least {k} samples of each problem for pass@{k}, got {samples}")
    if not 0 <= passed <= samples:
        raise ValueError(f"expected 0 to {samples} passed samples, got {passed}")
    if samples - passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))


def score(passed: Mapping[str, Sequence[bool]], ks: Sequence[int]) -> Scores:
    """Return pass@k of each k that every problem has samples for, a problem a unit.

    Args:
        passed: for each problem, which of its samples passed.

    Raises:
        ConfigError: there are no problems, or not enough samples of one for any k.
    """
    fewest = min(map(len, passed.values()), default=0)
    possible = [k for k in ks if 1 <= k <= fewest]
    if not possible:
        raise ConfigError(f"expected at least {min(ks, default=1)} samples of each problem, got {fewest}")
    ones = np.ones(len(passed))
    statistics = {
        f"pass@{k}": Statistic(np.array([pass_at_k(len(each), sum(each), k) for each in passed.values()]), ones)
        for k in possible
    }
    return Scores(statistics, Units(kind="group"))
