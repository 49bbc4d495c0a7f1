"""The tokens of a grid as several sequences, and these summed back onto the grid."""

from omniform_kernels.cross_scan.op import cross_merge, cross_scan, merge_rows, rows
from omniform_kernels.cross_scan.order import Order, cross_orders

__all__ = ["Order", "cross_merge", "cross_orders", "cross_scan", "merge_rows", "rows"]
