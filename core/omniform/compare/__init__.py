"""Comparison of token mixers at matched size and budget. Importing it brings no torch: that comes with the work."""

from omniform.compare.progress import Progress
from omniform.compare.result import CompareResult, Protocol, Row
from omniform.compare.runner import compare

__all__ = ["CompareResult", "Progress", "Protocol", "Row", "compare"]
