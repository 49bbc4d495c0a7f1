"""A small corpus with something to learn in it."""

import numpy as np
import pytest

from omniform_codegen.corpus import Corpus, SourceFile

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


def module(number: int, seed: int) -> bytes:
    """Return a module of functions that are alike."""
    rng = np.random.default_rng(seed)
    lines = ["import os", ""]
    for place in range(number):
        name, other = rng.choice(NAMES, 2, replace=False)
        lines += [
            f"def {name}_{place}({other}, count={rng.integers(10)}):",
            f'    """Return the {name} of {other}."""',
            f"    if {other} is None:",
            f"        return os.path.join({other}, {name!r})",
            f"    return count + {rng.integers(100)}",
            "",
        ]
    return "\n".join(lines).encode()


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Twelve packages of two modules."""
    return Corpus(
        tuple(
            SourceFile(f"package{p}/module{m}.py", module(12, 10 * p + m), f"package{p}")
            for p in range(12)
            for m in range(2)
        )
    )


@pytest.fixture
def folder(corpus, tmp_path):
    """The same as files."""
    for file in corpus.files:
        path = tmp_path / "sources" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    return tmp_path / "sources"
