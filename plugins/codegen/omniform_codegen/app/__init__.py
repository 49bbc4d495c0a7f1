"""The Streamlit page of source code: an editor with completions and warnings, and what trains the models behind it."""

from omniform_codegen.app.page import page

__all__ = ["page"]
