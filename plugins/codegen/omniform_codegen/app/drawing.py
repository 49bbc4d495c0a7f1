"""Code as HTML in which every character is text: confidence behind tokens, marks beside lines.

The colours run from white to orange in steps of lightness, so that they read the same to colour-blind people, and are
drawn on white whatever the theme: the text keeps a contrast of over 5 to 1 on each of them.
"""

from __future__ import annotations

import codecs
import html
from collections.abc import Mapping, Sequence

from omniform.plots import INK
from omniform_codegen.generation import Completion
from omniform_codegen.vocabulary import Tokenizer

__all__ = ["code_html", "completion_html", "legend_html", "split_characters"]

_SHADES = (  # from which probability, the colour behind it
    (0.9, "#ffffff"),
    (0.6, "#fff1cc"),
    (0.3, "#ffd98a"),
    (0.1, "#f9b74d"),
    (0.0, "#e58a1f"),
)
_MARK = "#fff1cc"
_FAINT = "#6e7781"
_PANEL = (
    f"background:#ffffff;color:{INK};border:1px solid #d0d7de;border-radius:6px;padding:0.6em 0.8em;margin:0;"
    "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:0.85rem;line-height:1.5;"
    "white-space:pre;overflow:auto;tab-size:4"
)


def split_characters(completion: Completion, tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """Return the text of each token with its probability; of tokens that share a character, the least.

    Bytes that are no UTF-8 become replacement characters, and the last token ends where the completion does.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces: list[tuple[str, float]] = []
    left, least = completion.text, 1.0
    for token, probability in zip(completion.tokens, completion.probabilities, strict=True):
        content = tokenizer.decode([token])[: len(left)]
        left = left[len(content) :]
        least = min(least, probability)
        if text := decoder.decode(content):
            pieces.append((text, least))
            least = 1.0
    if text := decoder.decode(b"", final=True):
        pieces.append((text, least))
    return pieces


def completion_html(before: str, pieces: Sequence[tuple[str, float]], behind: str) -> str:
    """Return a completion, each token on the colour of its probability, between the ends of its line."""
    told = "".join(_token(text, probability) for text, probability in pieces)
    told = told or f"<span style='color:{_FAINT}'>(nothing)</span>"
    wrapped = f"{_PANEL};white-space:pre-wrap;overflow-wrap:anywhere"
    return f"<pre style='{wrapped}'>{_faint(_last_line(before))}{told}{_faint(behind.partition(chr(10))[0])}</pre>"


def legend_html() -> str:
    """Return what the colours mean."""
    ends = (1.0, *(start for start, _ in _SHADES))
    keys = [
        f"<span style='background:{colour};color:{INK};border:1px solid #d0d7de;border-radius:3px;padding:0 0.5em'>"
        f"{round(100 * start)}&ndash;{round(100 * end)}&nbsp;%</span>"
        for end, (start, colour) in zip(ends, _SHADES, strict=False)
    ]
    return f"<div style='font-size:0.85rem;line-height:2'>Probability of each token: {' '.join(keys)}</div>"


def code_html(code: str, marks: Mapping[int, Sequence[str]], *, height: str = "24em") -> str:
    """Return code with numbered lines.

    Args:
        marks: what is to be said of lines, by their numbers from 1.
        height: beyond which the panel scrolls.
    """
    lines = code.split("\n")
    width = len(str(len(lines)))
    rows = [_line(f"{number:>{width}}", text, marks.get(number, ())) for number, text in enumerate(lines, start=1)]
    inside = "".join(rows)
    return f"<pre style='{_PANEL};max-height:{height}'><div style='min-width:max-content'>{inside}</div></pre>"


def _line(number: str, text: str, said: Sequence[str]) -> str:
    text = html.escape(text) or " "
    if not said:
        return f"<div>{_faint(f'  {number}  ')}{text}</div>"
    title = html.escape("\n".join(said), quote=True)
    return (
        f"<div style='background:{_MARK};box-shadow:inset 4px 0 0 #b35900' title='{title}'>"
        f"{_faint(f'  {number}  ')}{text}</div>"
    )


def _token(text: str, probability: float) -> str:
    colour = next((colour for start, colour in _SHADES if probability >= start), _SHADES[-1][1])
    shown = html.escape(text).replace("\n", f"<span style='color:{_FAINT}'>&crarr;</span>\n")
    title = f"probability {probability:.3f}"
    return f"<span style='background:{colour};border-radius:2px' title='{title}'>{shown}</span>"


def _faint(text: str) -> str:
    return f"<span style='color:{_FAINT}'>{html.escape(text)}</span>"


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]
