"""The selective state-space recurrence of Mamba."""

from omniform_kernels.selective_scan.op import selective_scan

__all__ = ["selective_scan"]
