"""`omniform codegen serve`: completions for editors, over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from omniform.cli.output import progress_on_stderr

__all__ = ["serve"]


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="a run folder, a Hugging Face folder, or `owner/name` on the hub")
    ],
    host: Annotated[str, typer.Option("--host", help="the address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="the port to listen on")] = 8012,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="a folder that `personalize` wrote")] = None,
) -> None:
    import uvicorn

    from omniform_codegen.api import load_language
    from omniform_codegen.server import serve_language

    with progress_on_stderr():
        language = load_language(model, adapter=adapter)
    names = tuple({host, "127.0.0.1", "localhost"}) if host != "0.0.0.0" else ("*",)
    print(f"POST http://{host}:{port}/infill", flush=True)
    uvicorn.run(serve_language(language, hosts=names), host=host, port=port, log_level="warning")
