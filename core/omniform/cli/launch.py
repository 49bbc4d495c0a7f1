"""Commands that start something: the demonstration and the Streamlit app."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, emit_json, progress_on_stderr
from omniform.errors import PluginError
from omniform.plugins import host

__all__ = ["app", "demo"]


def demo(
    domain: Annotated[str | None, typer.Option("--domain", help="only this domain")] = None,
    out: Annotated[Path, typer.Option("--out", help="folder for the reports")] = Path("demo-report"),
    json: JsonOption = False,
) -> None:
    chosen = (host().domain(domain),) if domain is not None else host().domains
    demos = {one.name: one.demo for one in chosen if one.demo is not None}
    if not demos:
        lacks = "; ".join(f"{lack.domain.name}: {lack.remedy}" for lack in host().missing)
        raise PluginError(f"no installed domain has a demo; {lacks or 'install one'}")
    results = {}
    for name, reference in demos.items():
        with progress_on_stderr():
            results[name] = reference.load()(out / name)
        if not json:
            print(results[name].summary())
    if json:
        emit_json({name: result.as_json() for name, result in results.items()})


def app(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN", help="open this domain's page")] = None,
) -> None:
    # found, not imported: the apps stand above the core
    streamlit, hub = find_spec("streamlit"), find_spec("omniform_apps")
    if streamlit is None or hub is None or hub.origin is None:
        raise PluginError('the app needs streamlit, which is not installed; run: pip install "omniform[app]"')
    page = [host().domain(domain).name] if domain is not None else []
    script = str(Path(hub.origin).with_name("main.py"))
    private = ["--browser.gatherUsageStats", "false"]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", script, *private, "--", *page])
