"""A model that has never seen a project gains by its past; the base stays; what is declared is what changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from toy_project import make_history, make_language

from omniform.adaptation.selection import begin
from omniform.adaptation.settings import Adaptation, Method
from omniform.errors import ConfigError, DataError
from omniform.mixers import Attention, GatedLinearAttention, Mixer
from omniform.task import Budget
from omniform.training.config import Training
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.generation import Sampling, generate
from omniform_codegen.history import History
from omniform_codegen.language import LanguageModel
from omniform_codegen.personalization.tuning import Personalization, personalize, prompt_state

SMALL = Training(precision="32", batch_size=4, device="cpu")


def tune(method: Method, *, steps: int = 4, language: LanguageModel | None = None, **options: Any) -> Personalization:
    return personalize(
        language or make_language(),
        make_history(),
        settings=Adaptation(method=method, rank=2, prefix_length=4),
        budget=Budget(steps=steps),
        training=options.pop("training", SMALL),
        gaps=0,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("method", get_args(Method))
def test_only_what_is_declared_changes(method: Method) -> None:
    language = make_language()
    before = {name: value.clone() for name, value in language.model.state_dict().items()}
    told = tune(method, language=language)
    after = told.language.model.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in language.model.state_dict().items())
    plain = {name.replace(".base.", ".").replace(".op.mixer.", ".op."): name for name in after}
    same = {name for name in before if torch.equal(after[plain[name]], before[name])}
    assert {plain[name] for name in before.keys() - same} <= set(told.trained)
    assert told.cost.trained == sum(after[name].numel() for name in told.trained)
    assert told.cost.flops > 0


def test_a_project_that_repeats_itself_is_a_gain_and_others_are_forgotten() -> None:
    other = Corpus(tuple(SourceFile(f"{i}.c", b"int main(void) { return %d; }\n" % i * 4, str(i)) for i in range(5)))
    told = tune("full", steps=40, training=replace(SMALL, learning_rate=3e-3), other=other)
    lines, forgotten = told.comparisons
    assert lines.outcome == "better"
    assert lines.after < lines.before - 1
    assert lines.units == 6
    assert told.verdict.startswith("Gain:")
    assert forgotten.metric.name == "other_bits_per_byte"
    assert ("got worse" in told.verdict) == (forgotten.outcome == "worse")


def test_training_that_only_harms_is_not_kept() -> None:
    told = tune("full", training=replace(SMALL, learning_rate=30.0, warmup=0.0))
    assert told.comparisons[0].before == told.comparisons[0].after
    assert told.verdict.startswith("No gain shown")


def test_lines_are_filled_before_and_after() -> None:
    told = personalize(
        make_language(),
        make_history(),
        settings=Adaptation(method="full"),
        budget=Budget(steps=2),
        training=SMALL,
        gaps=3,
        progress=False,
    )
    assert [each.metric.name for each in told.comparisons] == ["bits_per_byte", "exact_match", "edit_similarity"]


def test_a_seed_gives_the_same_again() -> None:
    first, second = tune("adapter", seed=3), tune("adapter", seed=3)
    assert first.comparisons == second.comparisons
    assert tune("adapter", seed=4).comparisons != first.comparisons


def test_other_mixers_train_a_start_state() -> None:
    told = tune("prefix", language=make_language(GatedLinearAttention))
    assert {name.rpartition(".")[2] for name in told.trained} == {"start_memory"}


def test_a_prefix_begins_as_the_first_tokens_of_the_past() -> None:
    language, history = make_language(), make_history()
    state = prompt_state(language, history.train, 5)
    tokenizer = language.tokenizer
    ids = [tokenizer.special.end, *tokenizer.encode(history.train.files[0].content)][:5]
    _, expected = language.model.extend(torch.tensor([ids]), language.model.init_state(1))
    x = torch.tensor([[1, 2, 3]])
    assert torch.equal(language.model.extend(x, state)[0], language.model.extend(x, expected)[0])
    short = Corpus((SourceFile("a.py", b"x", "a"),))
    assert prompt_state(language, short, 7) is not None


@pytest.mark.parametrize("method", ["adapter", "prefix", "bias"])
@pytest.mark.parametrize("mixer", [Attention, GatedLinearAttention])
@torch.no_grad()
def test_what_is_tuned_writes_as_its_forward_says(method: Method, mixer: type[Mixer]) -> None:
    language = make_language(mixer)
    model = copy.deepcopy(language.model)
    start = prompt_state(language, make_history().train, 3) if method == "prefix" else None
    names = begin(model, Adaptation(method=method, rank=2), start=start)
    generator = torch.Generator().manual_seed(0)
    for name in names:
        parameter = model.get_parameter(name)
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    special = torch.arange(language.tokenizer.special.end + 1, len(language.tokenizer))  # never written
    prompts = [[5, 6, 7], [9], [1, 2, 3, 4, 5]]
    told = generate(replace(language, model=model), prompts, Sampling(max_tokens=6))
    for prompt, completion in zip(prompts, told, strict=True):
        ids = list(prompt)
        for token in completion.tokens:
            logits = model(torch.tensor([ids]))[0, -1]
            logits[special] = -torch.inf
            assert logits.argmax() == token
            ids.append(token)
        assert completion.tokens


def test_refuses_a_history_without_a_future() -> None:
    history = make_history()
    with pytest.raises(DataError, match="test commits"):
        personalize(make_language(), History(history.train, history.validation, ()))
    with pytest.raises(DataError, match="validation commits"):
        personalize(make_language(), History(history.train, (), history.test))
    with pytest.raises(ConfigError, match="longer prefix"):
        personalize(make_language(), history, settings=Adaptation(method="prefix", prefix_length=0), gaps=0)
