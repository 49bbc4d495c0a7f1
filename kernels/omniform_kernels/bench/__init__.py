"""Times every op beside its peers, after checking it: `python -m omniform_kernels.bench`."""

from omniform_kernels.bench.case import Case, Target

__all__ = ["Case", "Target"]
