"""The tab to write in: suggestions at a cursor, how sure the model is of each token, and marks beside weak lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import streamlit as st

from omniform.errors import OmniformError
from omniform.workbench import Workbench
from omniform_codegen.app.drawing import completion_html, legend_html, split_characters
from omniform_codegen.app.editor import Draft, edit, insert
from omniform_codegen.app.marks import explain, show_code
from omniform_codegen.app.models import Model, choose_judge
from omniform_codegen.filling import gap_prompt
from omniform_codegen.generation import Completion, Sampling, generate
from omniform_codegen.language import LanguageModel
from omniform_codegen.scanning.api import Judge
from omniform_codegen.scanning.filter import introduced
from omniform_codegen.scanning.findings import Finding, distinct
from omniform_codegen.scanning.metrics import THRESHOLD

__all__ = ["writing"]

_NO_MODEL = "For suggestions, train a small model above (about a minute), or open one from a folder."
_WEAK = "Put last: the scanner finds it weak."


@dataclass(frozen=True, slots=True, eq=False)
class _Suggestion:
    """What a model would write, and whether the scanner finds that weak."""

    text: str
    pieces: Sequence[tuple[str, float]]
    weak: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """How many suggestions of which kind."""

    count: int
    tokens: int
    one_line: bool
    temperature: float


@st.fragment
def writing(bench: Workbench, model: Model | None, tuned: LanguageModel | None) -> None:
    """Write code: a part of the page that is run alone while one types.

    Args:
        tuned: the model after a personalisation, whose suggestions stand beside.
    """
    left, right = st.columns(2, gap="large")
    with left:
        draft = edit(bench)
    with right:
        judge = _scan(bench, draft)
    st.subheader("Suggestions")
    if model is None:
        st.info(_NO_MODEL)
        return
    asked = _ask(bench)
    languages = {"": model.language} if tuned is None else {"Before": model.language, "Personalised": tuned}
    told = bench.outcome(
        "Suggest",
        (draft, asked, tuple(languages.values()), judge),
        lambda: {name: _suggest(language, draft, asked, judge) for name, language in languages.items()},
        slot="write",
    )
    if told is None:
        return
    if draft.behind.strip() and not model.language.infills:
        st.caption("This model was not trained to fill in: it did not see what stands behind the cursor.")
    st.html(legend_html())
    for column, (name, suggestions) in zip(st.columns(len(told)), told.items(), strict=True):
        with column:
            if name:
                st.markdown(f"**{name}**")
            _show(bench, draft, suggestions, name)


def _scan(bench: Workbench, draft: Draft) -> Judge | None:
    """Mark the lines that are weak, the one that is being written included."""
    judge = choose_judge(bench, slot="write")
    if judge is None:
        return None
    try:
        findings = bench.recall("write.findings", (draft, judge), lambda: _found(judge, draft))
    except OmniformError as error:
        bench.refuse(error)
        return judge
    show_code(draft.text, findings, height="27em")
    if findings:
        explain(findings)
    else:
        st.caption("The scanner finds nothing weak here; that proves nothing.")
    return judge


def _found(judge: Judge, draft: Draft) -> tuple[Finding, ...]:
    """Return what is weak in the code as a whole, and in what stands before the cursor as if nothing came behind."""
    found = distinct((*judge.scan(draft.before), *judge.scan(draft.text)))
    return tuple(sorted(found, key=lambda each: each.line))


def _ask(bench: Workbench) -> _Asked:
    columns = st.columns(4)
    key = f"{bench.domain}.write"
    count = columns[0].number_input("How many", 1, 5, 3, key=f"{key}.count")
    tokens = columns[1].number_input("Tokens at most", 4, 128, 24, key=f"{key}.tokens")
    temperature = columns[2].slider(
        "Temperature", 0.1, 1.5, 0.8, 0.1, key=f"{key}.temperature",
        help="of all suggestions but the first, which takes the likeliest token each time",
    )  # fmt: skip
    one_line = columns[3].checkbox("To the end of the line only", True, key=f"{key}.line")
    return _Asked(int(count), int(tokens), one_line, temperature)


def _suggest(language: LanguageModel, draft: Draft, asked: _Asked, judge: Judge | None) -> list[_Suggestion]:
    """Return different suggestions, the weak ones last."""
    before = draft.before.encode()
    behind = draft.behind.encode() if language.infills and draft.behind.strip() else b""
    tokens = min(asked.tokens, language.context // 2)
    prompt = gap_prompt(language, before, behind, room=tokens)
    stop = (b"\n",) if asked.one_line else ()
    completions = generate(language, [prompt], Sampling(max_tokens=tokens, stop=stop))
    if asked.count > 1:
        sampling = Sampling(max_tokens=tokens, stop=stop, temperature=asked.temperature)
        completions += generate(language, [prompt] * (asked.count - 1), sampling)
    different = list({completion.text: completion for completion in reversed(completions)}.values())[::-1]
    chances = [0.0] * len(different) if judge is None else introduced(before, different, judge)
    told = [
        _suggestion(language, completion, chance >= THRESHOLD)
        for completion, chance in zip(different, chances, strict=True)
    ]
    return sorted(told, key=lambda each: each.weak)


def _suggestion(language: LanguageModel, completion: Completion, weak: bool) -> _Suggestion:
    text = completion.text.decode(errors="replace")
    return _Suggestion(text, split_characters(completion, language.tokenizer), weak)


def _show(bench: Workbench, draft: Draft, suggestions: Sequence[_Suggestion], name: str) -> None:
    for number, each in enumerate(suggestions):
        panel, button = st.columns([6, 1], vertical_alignment="top")
        panel.html(completion_html(draft.before, each.pieces, draft.behind))
        chances = [probability for _, probability in each.pieces]
        if chances:
            mean = f"A mean of {prod(chances) ** (1 / len(chances)):.2g} per token."
            panel.caption(f"{mean} {_WEAK}" if each.weak else mean)
        button.button(
            "Insert", key=f"{bench.domain}.write.insert.{name}.{number}", on_click=insert,
            args=(bench, draft, each.text), disabled=not each.text,
        )  # fmt: skip
