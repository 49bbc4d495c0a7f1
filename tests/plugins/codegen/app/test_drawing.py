"""Code drawn as HTML: every character is text, confidence keeps to its token, marks keep to their lines."""

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform_codegen.app.drawing import code_html, completion_html, legend_html, split_characters
from omniform_codegen.generation import Completion


class _Reader(HTMLParser):
    """Collect text, elements and titles as a browser would see them."""

    def __init__(self):
        super().__init__()
        self.text, self.elements, self.titles = "", [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.titles += [value for name, value in attributes if name == "title"]

    def handle_data(self, data):
        self.text += data


class _Bytes:
    """A tokenizer whose ids stand for what it is given."""

    def __init__(self, *tokens):
        self.tokens = tokens

    def decode(self, ids):
        return b"".join(self.tokens[place] for place in ids)


def _read(markup):
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader


def _completion(tokens, probabilities, text=None):
    text = b"".join(tokens) if text is None else text
    return Completion(text, tuple(range(len(tokens))), tuple(probabilities), "length")


_CODE = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=60) | st.sampled_from(
    ["</pre><script>alert(1)</script>", "a = \"<b onclick='x'>\" & '&lt;'", "'><img src=x onerror=alert(1)>"]
)


@settings(deadline=None, max_examples=50)
@given(_CODE)
def test_no_code_becomes_markup(code):
    drawn = _read(code_html(code, {1: (code,)}))
    assert set(drawn.elements) <= {"pre", "div", "span"}
    assert drawn.titles == [code]
    numbers = len(str(len(code.split("\n"))))
    expected = "".join(f"  {number:>{numbers}}  {line or ' '}" for number, line in enumerate(code.split("\n"), start=1))
    assert drawn.text == expected


@settings(deadline=None, max_examples=50)
@given(_CODE, _CODE, _CODE)
def test_no_suggestion_becomes_markup(before, told, behind):
    drawn = _read(completion_html(before, [(told, 0.5)], behind))
    assert set(drawn.elements) <= {"pre", "span"}
    assert drawn.titles == ["probability 0.500"]
    shown = told.replace("\n", "↵\n")
    assert drawn.text == before.rpartition("\n")[2] + shown + behind.partition("\n")[0]


def test_tokens_that_share_a_character_are_as_sure_as_the_least():
    euro = "€".encode()
    tokens = [b"x", euro[:1], euro[1:], b"y"]
    pieces = split_characters(_completion(tokens, [0.9, 0.2, 0.8, 0.7]), _Bytes(*tokens))
    assert pieces == [("x", 0.9), ("€", 0.2), ("y", 0.7)]


def test_the_last_token_ends_where_the_completion_does():
    tokens = [b"ab", b"cd\nef"]
    pieces = split_characters(_completion(tokens, [0.9, 0.8], b"abcd"), _Bytes(*tokens))
    assert pieces == [("ab", 0.9), ("cd", 0.8)]


def test_half_a_character_at_the_end_is_replaced():
    tokens = [b"a", "€".encode()[:2]]
    assert split_characters(_completion(tokens, [0.9, 0.3]), _Bytes(*tokens)) == [("a", 0.9), ("\ufffd", 0.3)]


def test_an_empty_suggestion_says_so():
    assert "(nothing)" in _read(completion_html("x = ", [], "")).text


@pytest.mark.parametrize(("sure", "less"), [(0.95, 0.7), (0.7, 0.4), (0.4, 0.2), (0.2, 0.01)])
def test_the_less_probable_a_token_the_darker_and_every_text_can_be_read(sure, less):
    lighter, darker = (_luminance(_colour(completion_html("", [("x", chance)], ""))) for chance in (sure, less))
    assert darker < lighter
    ink = _luminance(re.search(r"color:(#\w{6});border", legend_html())[1])
    assert (darker + 0.05) / (ink + 0.05) > 5


def test_the_legend_tells_every_colour_once():
    text = _read(legend_html()).text
    assert [html.unescape(text).count(f"{low}–{high}") for low, high in ((90, 100), (60, 90), (10, 30))] == [1, 1, 1]  # noqa: RUF001


def _colour(markup):
    return re.findall(r"background:(#\w{6});border-radius:2px", markup)[-1]


def _luminance(colour):
    """Return the relative luminance of WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
