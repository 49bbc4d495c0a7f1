"""Rows as lines of text."""

from collections.abc import Iterable

import torch

from omniform_kernels.bench.runner import Row, limits

__all__ = ["duration", "lines", "show"]


def show(rows: Iterable[Row], device: torch.device) -> list[Row]:
    """Print each row as it is found, and return all."""
    chip, shown = limits(device), []
    for row in rows:
        shown.append(row)
        print("\n".join(lines(row, chip)), flush=True)
    return shown


def lines(row: Row, chip: tuple[float, float] | None) -> list[str]:
    """Return a heading, a line for each form with its ratio to every peer, and a line for each target."""
    head = f"{row.op}: {row.name}"
    if row.refused:
        return [head, f"  not timed: {row.refused}"]
    out = [f"{head}  (off by {row.error:.1e} of at most {row.bound:.0e})"]
    for form, seconds in row.seconds.items():
        ratios = [f"{peer / seconds:.3g}x {name}" for name, peer in row.peers.items() if peer is not None]
        parts = [f"{duration(seconds):>9}", *_rates(row, seconds, chip), ", ".join(ratios)]
        out.append(f"  {form:<10}" + "  ".join(part for part in parts if part))
    for name, seconds in row.peers.items():
        out.append(f"    {name:<30}" + ("not installed" if seconds is None else f"{duration(seconds):>9}"))
    for target, reached in row.targets:
        verdict = "reached" if reached >= target.ratio else "MISSED"
        out.append(f"    target: {target.form} at {target.ratio:.3g}x {target.peer}: {verdict} ({reached:.3g}x)")
    return out


def duration(seconds: float) -> str:
    """Return seconds with three digits in the unit that suits them."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale or unit == "us":
            return f"{seconds / scale:.3g} {unit}"
    raise AssertionError


def _rates(row: Row, seconds: float, chip: tuple[float, float] | None) -> list[str]:
    """Return operations and bytes a second, as shares of the chip's where that is known."""
    found = []
    for work, unit, scale, limit in (
        (row.flops, "GFLOP/s", 1e9, chip and chip[0]),
        (row.bytes, "GB/s", 1e9, chip and chip[1]),
    ):
        if work is not None:
            rate = work / seconds
            found.append(f"{rate / scale:.3g} {unit}" + (f" ({rate / limit:.0%})" if limit else ""))
    return found
