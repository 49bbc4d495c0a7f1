"""The task through the contract that the shared commands rely on, and what the shared trainer is told."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from omniform.configuration import split_names
from omniform.errors import ConfigError
from omniform.estimator import NetworkPredictor
from omniform.task import Size
from omniform.testing import check_task
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.model import SnippetEncoder
from omniform_codegen.scanning.network import SnippetDataset, cross_entropy, scan_network
from omniform_codegen.scanning.rules import broken_rules
from omniform_codegen.scanning.task import Scan
from omniform_codegen.scanning.weaknesses import SAFE, WEAKNESSES

TASK = Scan()
SIZE = Size(dim=16, hidden=16, depth=1)


def test_the_task_keeps_its_contract():
    check_task(TASK, ScanConfig(snippets=400, context=24), mixer="gla", suffix=".sarif")


def test_resolving_writes_down_the_types(snippets, small):
    config = TASK.resolve(snippets, small)
    assert split_names(config.types) == tuple(WEAKNESSES)
    with pytest.raises(ConfigError, match="resolve"):
        scan_network(small, "attention")
    with pytest.raises(ConfigError):
        scan_network(config, "no-such-mixer")


def test_the_loss_is_the_log_probability_of_the_right_class(snippets, small):
    config = TASK.resolve(snippets, small)
    network = TASK.network(TASK.split(snippets, config), config, "attention")
    torch.manual_seed(0)
    module = network.build(SIZE).eval()
    batch = default_collate([network.dataset(snippets.take(range(8)), True)[i] for i in range(8)])
    chances = network.decode(module, batch).detach()
    assert chances.sum(1) == pytest.approx([1.0] * 8)
    expected = -chances.gather(1, batch[2][:, None]).log().mean()
    loss = cross_entropy(module, batch, generator=torch.Generator()).total
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert pickle.loads(pickle.dumps(network)).build(SIZE).head.out_features == 1 + len(WEAKNESSES)


def test_labels_that_are_unknown_do_not_stand_in_the_way(snippets, small):
    config = TASK.resolve(snippets, small)
    some = replace(snippets.items[0], label=None)
    assert SnippetDataset(replace(snippets, items=(some,)), config).targets.tolist() == [-1]
    assert TASK.resolve(snippets, config).types.startswith("CWE-22,")
    assert SAFE not in split_names(config.types)


@pytest.mark.parametrize("mixer", ["attention", "gla"])
def test_padding_says_nothing(mixer):
    """What stands before the first token, where there is none, changes no logit."""
    from omniform.plugins import find_mixer

    torch.manual_seed(0)
    options = {"context": 12, "buckets": 64, "classes": 3, "alarms": 2, "dropout": 0.0}
    model = SnippetEncoder(find_mixer(mixer), SIZE, **options).eval()
    codes, quiet = torch.randint(1, 64, (2, 12, 3)), torch.zeros(2, 2)
    codes[..., 2] = torch.tensor([0] * 8 + [1] * 4)
    codes[:, :5] = 0
    stained = codes.clone()
    stained[:, :5, 1:] = 1
    torch.testing.assert_close(model(codes, quiet), model(stained, quiet))
    empty = model(torch.zeros(1, 12, 3, dtype=torch.int64), quiet[:1])
    torch.testing.assert_close(empty[0], model.head.bias, check_stride=False)


def test_rules_are_seen_unless_they_are_not_wanted(snippets, small):
    config = TASK.resolve(snippets, small)
    weak = replace(snippets, items=(replace(snippets.items[0], code=b"x = eval(a"),))
    codes, alarms, _ = SnippetDataset(weak, config)[0]
    assert alarms.nonzero().flatten().tolist() == [list(WEAKNESSES).index("CWE-95")]
    blind = replace(config, rules=False)
    assert SnippetDataset(weak, blind)[0][1].shape == (0,)
    assert TASK.network(None, blind, "attention").build(SIZE).rules is None
    model = TASK.network(None, config, "attention").build(SIZE).eval()
    before = model(codes[None], alarms[None])
    with torch.no_grad():
        model.rules.weight[3] += 1.0
    assert (model(codes[None], alarms[None]) - before)[0].nonzero().flatten().tolist() == [3]


def test_a_network_begins_as_the_rules_do(snippets, small):
    config = TASK.resolve(snippets, small)
    splits = TASK.split(snippets, config)
    network = TASK.network(splits, config, "attention")
    model = network.build(SIZE).eval()
    network.initialize(model, splits)
    ours = NetworkPredictor(model, network, 64).predict(splits.test)
    theirs = TASK.floors(config)[0].estimator.fit(splits, seed=0).predict(splits.test)
    single = np.array([len(broken_rules(item.code)) == 1 for item in splits.test.items])
    assert single.sum() > 10
    types = ours.probabilities[single, 1:].argmax(1)
    np.testing.assert_array_equal(types, theirs.probabilities[single, 1:].argmax(1))
    odds = [np.log(p[:, 1:].max(1) / p[:, 0]) for p in (ours.probabilities[single], theirs.probabilities[single])]
    np.testing.assert_allclose(*odds, atol=1e-4)
