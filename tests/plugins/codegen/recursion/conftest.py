"""Small data of recursion."""

from __future__ import annotations

import pytest

from omniform_codegen.recursion.config import RecursionConfig
from omniform_codegen.recursion.task import Recursion


@pytest.fixture(scope="session")
def make_data():
    """Return a function that makes data, resolved config and splits of few examples."""

    def make(source="sample", **options):
        few = {"train_depth": 3, "tail": 3, "examples": 60, "test_examples": 6}
        task, config = Recursion(), RecursionConfig(**few | options)
        data = task.read(source, config)
        config = task.resolve(data, config)
        return data, config, task.split(data, config)

    return make
