"""Check and time every op beside its peers, with nothing but torch (Triton on a GPU): peers where they are installed.

python -m omniform_kernels.bench                          # this machine's GPU, else its CPU
python -m omniform_kernels.bench --op selective_scan --json result.json
python -m omniform_kernels.bench --tests tests/kernels    # run each op's tests first; needs pytest
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from omniform_kernels.bench import runner, table

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a block of lines for each case; return 1 if one was refused."""
    options = _parser().parse_args(argv)
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = options.op or runner.ops()
    broken = [name for name in names if options.tests and not runner.test(name, options.tests)]
    found = table.show(runner.rows(names, device, broken), device)
    if options.json:
        command = " ".join(["python -m omniform_kernels.bench", *(sys.argv[1:] if argv is None else argv)])
        options.json.write_text(json.dumps(runner.as_json(found, device, command), indent=2) + "\n", encoding="utf-8")
    return int(any(row.refused for row in found))


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m omniform_kernels.bench", description=summary)
    parser.add_argument("--op", action="append", choices=runner.ops(), metavar="OP", help="time this op alone")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--threads", type=int, help="torch's threads on a CPU")
    parser.add_argument("--tests", type=Path, metavar="FOLDER", help="refuse to time an op whose tests there fail")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
