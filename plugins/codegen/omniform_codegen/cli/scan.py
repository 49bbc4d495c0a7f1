"""`omniform codegen scan`: find weaknesses in files, folders or standard input."""

from pathlib import Path
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr
from omniform.errors import ConfigError

__all__ = ["scan"]


def scan(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] INPUT...",
            help="a run folder that `train --task scan` wrote (none with --rules), then files, folders, or - for stdin",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="where to write the findings as SARIF 2.1.0: .sarif")
    ] = None,
    threshold: Annotated[float, typer.Option("--threshold", help="the least probability of a finding")] = 0.5,
    rules: Annotated[bool, typer.Option("--rules", help="scan by regular expressions, without a trained run")] = False,
    json: JsonOption = False,
) -> None:
    import time
    from collections import Counter

    from omniform_codegen.scanning.api import RuleScanner, Scanner, scan_files
    from omniform_codegen.scanning.output import write_sarif

    start = time.perf_counter()
    if not rules and len(names) < 2:
        raise ConfigError(
            f"expected a run folder and what to scan, got {names[0]} alone; name both, or scan without a run by --rules"
        )
    run, inputs = (None, names) if rules else (names[0], names[1:])
    with progress_on_stderr():
        judge = RuleScanner() if run is None else Scanner.load(run)
        files = list(scan_files(judge, inputs, threshold=threshold))
        found = [finding for _, findings in files for finding in findings]
        if out is not None:
            write_sarif(found, out)
    counts = dict(sorted(Counter(finding.cwe for finding in found).items(), key=lambda pair: int(pair[0][4:])))
    if json:
        emit_json(
            {
                "task": "scan",
                "run": run,
                "input": inputs,
                "output": None if out is None else str(out),
                "files": len(files),
                "types": counts,
                "findings": [
                    {
                        "file": finding.file,
                        "line": finding.line,
                        "column": finding.column,
                        "cwe": finding.cwe,
                        "name": finding.name,
                        "confidence": finding.confidence,
                        "message": finding.message,
                        "remedy": finding.remedy,
                    }
                    for finding in found
                ],
                "seconds": time.perf_counter() - start,
            }
        )
        return
    if found:
        from rich.markup import escape
        from rich.table import Table

        table = Table("where", "type", "weakness", "sure", "what to do")
        for finding in found:
            sure = "" if finding.confidence is None else f"{finding.confidence:.0%}"
            where = escape(f"{finding.file}:{finding.line}:{finding.column}")
            table.add_row(where, finding.cwe, finding.name, sure, finding.remedy)
        console().print(table)
    print(f"{len(found)} finding{'s' * (len(found) != 1)} in {len(files)} file{'s' * (len(files) != 1)}")
    if out is not None:
        print(out)
