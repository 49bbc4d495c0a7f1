"""The Streamlit page of medical images: a data set in; a trained network, its volumes and three planes to look at."""

from omniform_medical.app.page import page

__all__ = ["page"]
