"""Linear attention whose state is corrected, not only added to: the delta rule, with and without decay."""

from omniform_kernels.delta_rule.op import delta_rule

__all__ = ["delta_rule"]
