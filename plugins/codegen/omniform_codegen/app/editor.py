"""The pane that code is written in, with a mark for the cursor."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from omniform.workbench import Workbench

__all__ = ["Draft", "edit", "insert"]

_CURSOR = "<CURSOR>"
_EXAMPLE = f'''\
import sqlite3


class Users:
    """People who may log in."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path)

    def find(self, name):
        """Return the row of a user."""
        cursor = self.connection.cursor()
        cursor.execute(f"SELECT * FROM users WHERE name = '{{name}}'")
        return {_CURSOR}

    def close(self):
        self.connection.close()
'''
_HELP = f"Suggestions are written where it says {_CURSOR}, or at the end."
_STYLE = "<style>[class*='-write-text'] textarea {font-family: monospace; white-space: pre}</style>"
_TYPING = """<script>
if (!window.omniformTyping) {
  window.omniformTyping = true;
  let waiting;
  document.addEventListener("input", (event) => {
    if (event.isComposing || !event.target.closest("[class*='-write-text']")) return;
    const enter = new KeyboardEvent("keydown", {key: "Enter", ctrlKey: true, bubbles: true, cancelable: true});
    clearTimeout(waiting);
    waiting = setTimeout(() => event.target.dispatchEvent(enter), 400);
  });
}
</script>"""  # the pane is read at Ctrl+Enter or when it is left: at a pause in typing this presses it


@dataclass(frozen=True, slots=True)
class Draft:
    """Code with a cursor in it."""

    before: str
    behind: str

    @property
    def text(self) -> str:
        """The code without the mark."""
        return self.before + self.behind


def edit(bench: Workbench) -> Draft:
    """Show the pane; return what stands in it."""
    st.html(_STYLE)
    text = st.text_area("Code", _EXAMPLE, height=400, key=_key(bench), help=_HELP)
    st.html(_TYPING, unsafe_allow_javascript=True)
    before, _, behind = text.partition(_CURSOR)
    return Draft(before, behind)


def insert(bench: Workbench, draft: Draft, text: str) -> None:
    """Put text at the cursor, and the cursor behind it; called before the page is drawn again."""
    st.session_state[_key(bench)] = f"{draft.before}{text}{_CURSOR}{draft.behind}"


def _key(bench: Workbench) -> str:
    return f"{bench.domain}.write.text"
