"""The task through the contract of the shared commands, what it trains on, and the paper's finding."""

import json
import pickle

import pytest
import torch
from torch.utils.data import default_collate

from omniform.commands import train
from omniform.errors import ConfigError, DataError
from omniform.task import Budget, Size
from omniform.testing import check_task
from omniform.training.config import Training
from omniform_codegen.recursion.config import RecursionConfig
from omniform_codegen.recursion.network import PairDataset, generate, output_loss, recursion_network, vocabulary_of
from omniform_codegen.recursion.task import Recursion

TASK = Recursion()
SIZE = Size(dim=16, hidden=16, depth=2)
SMALL = {"train_depth": 2, "tail": 2, "examples": 60, "test_examples": 4}


@pytest.mark.parametrize(
    ("source", "mode", "mixer"),
    [
        ("sample", "whole", "attention"),
        ("sample", "stepwise", "attention"),
        ("inorder", "whole", "gla"),
        ("preorder", "stepwise", "mamba"),
        ("postorder", "whole", "deltanet"),
    ],
)
def test_the_task_keeps_its_contract(source, mode, mixer):
    check_task(TASK, RecursionConfig(mode=mode, **SMALL), source=source, mixer=mixer)


def test_what_is_written_is_read_back(make_data, tmp_path):
    _, config, splits = make_data("inorder", function="inorder")
    said = TASK.floors(config)[1].estimator.fit(splits, seed=0).predict(splits.test)
    TASK.write(said, tmp_path / "said.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [tuple(row["output"].split()) for row in rows] == list(said.outputs)
    (tmp_path / "inputs.jsonl").write_text("\n".join(json.dumps({"input": row["input"]}) for row in rows))
    assert TASK.predictor_items(tmp_path / "inputs.jsonl", config).examples == splits.test.examples


def batch_of(items, config):
    dataset = PairDataset(items, vocabulary_of(config.function), config.context)
    return default_collate([dataset[i] for i in range(len(dataset))])


def test_the_loss_is_that_of_outputs_alone(make_data):
    _, config, splits = make_data(mode="stepwise")
    network = recursion_network(config, "attention")
    torch.manual_seed(0)
    model = network.build(SIZE)
    batch = batch_of(splits.test, config)
    loss = output_loss(model, batch, generator=torch.Generator()).total
    words = {word: place for place, word in enumerate(vocabulary_of("successor"))}
    total, count = 0.0, 0
    for example in splits.test.examples:
        prefix = [*(words[token] for token in example.input), words["="]]
        rest = [*(words[token] for token in example.output), words["<end>"]]
        logits = model(torch.tensor([prefix + rest]))[0].double().log_softmax(-1)
        total -= sum(logits[len(prefix) - 1 + i, word].item() for i, word in enumerate(rest))
        count += len(rest)
    assert loss.item() == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("mixer", ["attention", "gated-deltanet", "retention"])
def test_generation_with_a_state_is_that_without(make_data, mixer):
    _, config, splits = make_data()
    torch.manual_seed(1)
    model = recursion_network(config, mixer).build(SIZE).eval()
    ids, prefix, _ = batch_of(splits.test, config)
    with torch.no_grad():
        said = generate(model, ids, prefix, 6)
        poisoned = ids.masked_fill(torch.arange(ids.shape[1]) >= prefix[:, None], 5)
        assert torch.equal(generate(model, poisoned, prefix, 6), said)  # the output is not looked at
        for row in range(0, len(ids), 5):
            known = ids[row : row + 1, : prefix[row]]
            for token in said[row].tolist():
                assert model(known)[0, -1].argmax().item() == token
                if token == 1:  # the end
                    break
                known = torch.cat([known, torch.tensor([[token]])], dim=1)


def test_the_network_can_be_sent_to_another_process(make_data):
    _, config, splits = make_data()
    network = pickle.loads(pickle.dumps(TASK.network(splits, config, "attention")))
    assert network.build(SIZE).stem.num_embeddings == len(vocabulary_of("successor"))


def test_what_a_network_cannot_do_is_refused(make_data):
    _, config, splits = make_data()
    with pytest.raises(ConfigError, match="resolve"):
        recursion_network(RecursionConfig(), "attention")
    with pytest.raises(ConfigError, match="state"):
        recursion_network(config, "mlp-mixer")
    with pytest.raises(DataError, match="at most 3 tokens"):
        PairDataset(splits.test, vocabulary_of("successor"), 5)


def learn(folder, steps, learning_rate, **options):
    """Return the test scores of a small attention model of two layers."""
    return train(
        TASK,
        "successor",
        RecursionConfig(**options),
        domain="codegen",
        mixer="attention",
        budget=Budget(steps=steps),
        training=Training(learning_rate=learning_rate, precision="32", validate_every=0.25),
        params=60_000,
        depth=2,
        seed=0,
        out=folder,
        progress=False,
    ).metrics


@pytest.mark.slow
def test_deep_carries_are_missed_where_training_has_few(tmp_path):
    skewed = learn(tmp_path / "skewed", 1500, 4e-3)
    level = learn(tmp_path / "level", 1500, 4e-3, reweight=True)
    assert skewed["accuracy_shallow"] > 0.95  # what training has much of
    assert skewed["accuracy_deep"] < skewed["accuracy_shallow"] - 0.2
    assert level["accuracy_deep"] > skewed["accuracy_deep"] + 0.2


@pytest.mark.slow
def test_steps_agree_with_the_interpreters(tmp_path):
    options = {"mode": "stepwise", "train_depth": 3, "tail": 6, "test_examples": 20, "skew": 0.8}
    assert learn(tmp_path / "run", 900, 5e-3, **options)["accuracy"] > 0.8  # every step of the trace
