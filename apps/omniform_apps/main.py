"""The hub: one page for every installed domain. Run by `omniform app`, which passes the domain to open."""

from __future__ import annotations

import sys

import streamlit as st

from omniform.plugins import host
from omniform.specs import Domain
from omniform.workbench import Workbench

__all__ = ["main"]


def main(opened: str | None) -> None:
    """Draw the page that was chosen, `opened` at first."""
    st.set_page_config(page_title="omniform", layout="wide")
    found = host()
    pages = [_page(domain, default=domain.name == opened) for domain in found.domains if domain.app is not None]
    if not pages:
        st.title("omniform")
        st.write("No installed domain has a page.")
        for missing in found.missing:
            st.code(missing.remedy)
        return
    st.navigation(pages).run()


def _page(domain: Domain, *, default: bool) -> st.Page:  # pyright: ignore[reportInvalidTypeForm]
    def draw() -> None:
        st.title(domain.title)
        st.caption(domain.summary)
        assert domain.app is not None
        domain.app.load()(Workbench(domain=domain.name))

    return st.Page(draw, title=domain.title, url_path=domain.name, default=default)


main(sys.argv[1] if len(sys.argv) > 1 else None)
