"""Settings are checked where they are made, and light to import."""

import subprocess
import sys
from dataclasses import fields

import pytest
from torch import nn

from omniform.errors import ConfigError
from omniform.task import Network
from omniform.training.config import DEFAULT_BATCH_SIZE, DEFAULT_LEARNING_RATE, Training


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"batch_size": 0},
        {"weight_decay": -1.0},
        {"warmup": 1.0},
        {"clip": float("inf")},
        {"patience": -1},
        {"validate_every": 0.0},
        {"precision": "16"},
        {"device": "tpu"},
        {"devices": 0},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Training(**wrong)


def test_a_batch_that_devices_cannot_share_is_refused_with_one_they_can() -> None:
    with pytest.raises(ConfigError, match="try 12"):
        Training(batch_size=10, devices=4)


def test_every_field_has_help() -> None:
    assert all(field.metadata["help"] for field in fields(Training))


def test_the_default_rate_is_filled_in() -> None:
    assert Training().peak_rate == DEFAULT_LEARNING_RATE
    assert Training(learning_rate=0.5).peak_rate == 0.5


def test_importing_the_settings_imports_no_torch() -> None:
    code = "import omniform.training.config, sys; print(*({'torch', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_is_left_open_is_the_tasks_to_say() -> None:
    def network(**own: float) -> Network:
        return Network(build=nn.Linear, objective=None, dataset=None, decode=None, assemble=None, **own)  # type: ignore[arg-type]

    assert Training().for_network(network()) == Training()
    assert Training().for_network(network(batch_size=4, learning_rate=0.5)) == Training(batch_size=4, learning_rate=0.5)
    said = Training(batch_size=7, learning_rate=0.1)
    assert said.for_network(network(batch_size=4, learning_rate=0.5)) == said
    assert Training().batch_items == DEFAULT_BATCH_SIZE
