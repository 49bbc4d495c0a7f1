"""Bits of added lines are those of their tokens, however the files are cut into windows."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from toy_project import make_history, make_language

from omniform_codegen.history import Change, Commit
from omniform_codegen.network import code_lengths, window_bits
from omniform_codegen.personalization.changes import draw_gaps, gather, whole
from omniform_codegen.personalization.scoring import AddedLines, gap_scores


def expected_bits(content: bytes, added: tuple[tuple[int, int], ...]) -> float:
    """Go through a file token by token, everything before in view."""
    language = make_language()
    ids = [language.tokenizer.special.end, *language.tokenizer.encode(content)]
    with torch.no_grad():
        logs = language.model(torch.tensor([ids])).double().log_softmax(-1)[0]
    lengths, reached, total = language.tokenizer.lengths(), 0, 0.0
    for place in range(1, len(ids)):
        size = int(lengths[ids[place]])
        inside = sum(max(0, min(stop, reached + size) - max(start, reached)) for start, stop in added)
        total += inside / size * -float(logs[place - 1, ids[place]]) / log(2)
        reached += size
    assert reached == len(content)
    return total


@pytest.mark.parametrize("shift", [0, 3])
def test_added_bytes_carry_their_share_of_their_tokens(shift: int) -> None:
    language = make_language()
    history = make_history()
    content = history.test[0].changes[0].content
    added = ((7 + shift, 40), (90, len(content) - shift))
    commits = [Commit("0" * 40, 1, "", (Change("a.py", content, added),)), history.test[1]]
    lines = AddedLines.of(gather(commits), language.tokenizer, context=512)
    told = lines.bits(language.model)
    other = history.test[1].changes[0]
    expected = [expected_bits(content, added), expected_bits(other.content, other.added)]
    np.testing.assert_allclose(told.total, expected, rtol=1e-4)
    np.testing.assert_allclose(told.weight, [sum(b - a for a, b in each) for each in (added, other.added)])


def test_whole_files_take_the_bits_that_the_task_counts() -> None:
    language = make_language()
    past = make_history().train
    additions = whole(past, 10**6)
    lines = AddedLines.of(additions, language.tokenizer, context=32)
    assert len(lines.ids) > 2 * len(past)
    told = lines.bits(language.model)
    expected = code_lengths(past, language.tokenizer, 32, lambda batch: window_bits(language.model, batch).detach())
    assert told.weight.sum() == past.size
    ends = expected.sum() - told.total.sum()  # a file's code length holds its end token, its lines do not
    assert 0 < ends < 0.1 * expected.sum()
    assert len(whole(past, past.size // 2).files) == len(past) // 2


def test_windows_without_added_lines_are_left_out() -> None:
    language = make_language()
    content = make_history().train.files[0].content * 4
    stop = len(content)
    commits = [Commit("0", 1, "", (Change("a.py", content, ((stop - 20, stop),)),))]
    lines = AddedLines.of(gather(commits), language.tokenizer, context=32)
    assert len(lines.ids) <= 2
    assert float((lines.shares * torch.from_numpy(_sizes(lines)).float()).sum()) == pytest.approx(20)


def test_gaps_are_scored_by_commit() -> None:
    language = make_language()
    additions = gather(make_history().test)
    gaps = draw_gaps(additions, count=9, seed=0)
    told = gap_scores(language, additions, gaps)
    for statistic in told.values():
        assert statistic.weight.sum() == 9
        assert statistic.weight.max() == 2
        assert 0 <= statistic.value() <= 1
    assert told["exact_match"].value() <= told["edit_similarity"].value() < 1


def _sizes(lines: AddedLines) -> np.ndarray:
    lengths = make_language().tokenizer.lengths()
    return np.where(lines.targets.numpy() >= 0, lengths[np.maximum(lines.targets.numpy(), 0)], 0)
