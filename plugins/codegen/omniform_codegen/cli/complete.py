"""`omniform codegen complete`: continue a file, or fill the gap at a cursor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr
from omniform.errors import ConfigError, DataError

if TYPE_CHECKING:
    from omniform_codegen.generation import Completion

__all__ = ["complete"]

_MARK = b"<CURSOR>"


def complete(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="a run folder, a Hugging Face folder, or `owner/name` on the hub")
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="a file, or - for what comes in; continued at its end, or where it says <CURSOR>"
        ),
    ] = "-",
    line: Annotated[
        int | None, typer.Option("--line", min=1, help="fill in behind this line, instead of at <CURSOR>")
    ] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="a folder that `personalize` wrote")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="completions to write")] = 1,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="the most tokens of each")] = 64,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 for the likeliest token; 0 if unsaid, 0.8 for many samples")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="draw among so many likeliest tokens; 0 for all")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", help="draw among the likeliest tokens of this total")] = 1.0,
    repetition: Annotated[float, typer.Option("--repetition", help="above 1: shun tokens that stand before")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="end before this text; may be repeated")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the draws")] = 0,
    draft: Annotated[
        float | None, typer.Option("--draft", help="let this share of a matformer model propose tokens, such as 0.25")
    ] = None,
    json: JsonOption = False,
) -> None:
    import time

    from omniform.channel import extract
    from omniform_codegen.api import load_language
    from omniform_codegen.filling import gap_prompt
    from omniform_codegen.generation import Sampling, generate

    start = time.perf_counter()
    before, behind = _parts(_read(source), line)
    sampling = Sampling(
        temperature=(0.0 if samples == 1 else 0.8) if temperature is None else temperature,
        top_k=top_k,
        top_p=top_p,
        repetition=repetition,
        max_tokens=max_tokens,
        stop=tuple(text.encode() for text in stop or ()),
        seed=seed,
    )
    with progress_on_stderr():
        language = load_language(model, adapter=adapter)
        prompt = gap_prompt(language, before, behind, room=max_tokens)
        proposer = None if draft is None else extract(language.model, draft)
        told = generate(language, [prompt] * samples, sampling, draft=proposer)
    if json:
        emit_json(
            {
                "task": "complete",
                "mixer": language.name,
                "run": model,
                "input": source,
                "completions": [_as_json(completion) for completion in told],
                "seconds": time.perf_counter() - start,
            }
        )
        return
    for number, completion in enumerate(told, start=1):
        if samples > 1:
            console().print(f"[bold]{number}[/bold]")
        print(completion.text.decode(errors="replace"))


def _read(source: str) -> bytes:
    import sys

    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"expected a file to complete, but {source} cannot be read ({error.strerror})") from None


def _parts(text: bytes, line: int | None) -> tuple[bytes, bytes]:
    """Return what stands before and behind the cursor."""
    if line is not None:
        lines = text.splitlines(keepends=True)
        if line > len(lines):
            raise ConfigError(f"expected --line from 1 to {len(lines)}, got {line}")
        return b"".join(lines[:line]), b"".join(lines[line:])
    before, mark, behind = text.partition(_MARK)
    return (before, behind) if mark else (text, b"")


def _as_json(completion: "Completion") -> dict[str, object]:
    return {
        "text": completion.text.decode(errors="replace"),
        "tokens": len(completion.tokens),
        "probability": completion.probabilities,
        "ended": completion.ended,
    }
