"""The network against code lengths written out, its training, and what it refuses."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniform.channel import MatFormer
from omniform.errors import ConfigError
from omniform.mixers import Attention, Mamba
from omniform.task import Size
from omniform_codegen.config import CompleteConfig
from omniform_codegen.model import causal_model
from omniform_codegen.network import code_lengths, complete_network, next_token_loss, window_bits
from omniform_codegen.tokenizer import BytePair, train_tokenizer
from omniform_codegen.windows import UNCOUNTED

SIZE = Size(dim=32, hidden=48, depth=2)


@pytest.fixture(scope="module")
def config(corpus):
    return replace(CompleteConfig(context=32, vocabulary=300), tokenizer=train_tokenizer(corpus, 300).to_text())


@pytest.mark.parametrize("mixer", [Attention, Mamba])
def test_a_model_never_looks_ahead_and_runs_as_a_recurrence(mixer):
    torch.manual_seed(0)
    model = causal_model(mixer, SIZE, vocabulary=50, context=32).double().eval()
    ids = torch.randint(50, (2, 20))
    logits = model(ids)
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 50
    torch.testing.assert_close(model(changed)[:, :12], logits[:, :12], rtol=0, atol=1e-12)
    state, parts = model.init_state(2), []
    for chunk in ids.split([7, 1, 12], dim=1):
        part, state = model.extend(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), logits, rtol=0, atol=1e-10)


def test_code_lengths_are_sums_of_logarithms(corpus, config):
    """With a context that holds a whole file, the bits are those of one pass over it."""
    torch.manual_seed(0)
    tokenizer = BytePair.from_text(config.tokenizer)
    model = causal_model(Attention, SIZE, vocabulary=len(tokenizer), context=2048).eval()
    items = corpus.take([0, 5])
    with torch.no_grad():
        bits = code_lengths(items, tokenizer, 2048, lambda batch: window_bits(model, batch))
        for file, told in zip(items.files, bits, strict=True):
            end = tokenizer.special.end
            ids = torch.tensor([[end, *tokenizer.encode(file.content), end]])
            chances = F.log_softmax(model(ids[:, :-1]).double(), dim=-1).gather(-1, ids[:, 1:, None])
            assert told == pytest.approx(-chances.sum().item() / log(2), rel=1e-5)


def test_the_loss_is_the_mean_over_targets_that_count():
    torch.manual_seed(0)
    model = causal_model(Attention, SIZE, vocabulary=50, context=8)
    ids, targets = torch.randint(50, (2, 8)), torch.randint(50, (2, 8))
    targets[0, 3:] = UNCOUNTED
    expected = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=UNCOUNTED)
    torch.testing.assert_close(next_token_loss(model, (ids, targets)), expected, rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss(corpus, config):
    torch.manual_seed(0)
    network = complete_network(config, "gla")
    model = network.build(SIZE)
    dataset = network.dataset(corpus, True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        items = [dataset[(16 * step + i) % len(dataset)] for i in range(16)]
        batch = tuple(torch.stack(part) for part in zip(*items, strict=True))
        loss = network.objective(model, batch, generator=torch.Generator()).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_a_nested_model_is_trained_at_one_granularity_a_step(corpus, config):
    network = complete_network(replace(config, channel="matformer"), "attention")
    model = network.build(SIZE)
    dataset = network.dataset(corpus, True)
    batch = tuple(part[None] for part in dataset[0])
    generator = torch.Generator().manual_seed(0)
    used = set()
    for _ in range(12):
        model.zero_grad()
        network.objective(model, batch, generator=generator).total.backward()
        for module in model.modules():
            if isinstance(module, MatFormer):
                used.add(int((module.down.weight.grad.abs().sum(0) > 0).sum()))
    assert len(used) > 2
    assert max(used) == SIZE.hidden


@pytest.mark.parametrize(
    ("mixer", "message"),
    [("mlp-mixer", "cannot write from left to right"), ("no-such", "no mixer 'no-such'")],
)
def test_a_mixer_without_a_causal_state_is_refused(config, mixer, message):
    with pytest.raises(ConfigError, match=message):
        complete_network(config, mixer)


def test_a_config_without_a_tokenizer_is_refused():
    with pytest.raises(ConfigError, match="resolve it with data"):
        complete_network(CompleteConfig(), "gla")
