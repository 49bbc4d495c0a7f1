"""Commands that only tell: what is installed, what the zoo holds, what the machine has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, console, emit_json
from omniform.plugins import Host, host

__all__ = ["doctor", "plugins", "print_overview", "zoo_app"]


def print_overview() -> None:
    """Say what is installed, a line each, and where to start."""
    from omniform import __version__

    found = host()
    print(f"omniform {__version__}: any token mixer in any domain, beside an honest baseline\n")
    width = max((len(d.name) for d in (*found.domains, *(lack.domain for lack in found.missing))), default=0)
    for domain in found.domains:
        print(f"  {domain.name:<{width}}  {domain.summary}")
    for lack in found.missing:
        print(f"  {lack.domain.name:<{width}}  lacks {', '.join(lack.modules)}; run: {lack.remedy}")
    for failure in found.failed:
        print(f"  {failure.name} failed to load: {failure.error}; `omniform plugins` shows why")
    mixers = sum(system.mixer for system in found.systems)
    print(f"  zoo: {len(found.systems)} systems, {mixers} of them mixers\n")
    first = [
        (f"omniform {domain.name} compare sample", "which mixer is best, on embedded data") for domain in found.domains
    ]
    starts = [
        ("omniform demo", "the main job on embedded data, with a report"),
        *first[:1],
        ("omniform zoo", "every system, with its paper"),
        ("omniform --help", "all commands"),
    ]
    width = max(len(command) for command, _ in starts)
    print("Start with")
    for command, what in starts:
        print(f"  {command:<{width}}  {what}")


def plugins(json: JsonOption = False) -> None:
    found = host()
    if json:
        emit_json(_plugins_json(found))
        return
    titles = {domain.name: domain for domain in found.domains}
    for plugin in found.loaded:
        print(f"{plugin.name} ({plugin.distribution} {plugin.version})")
        for name in plugin.domains:
            if name in titles:
                print(f"  domain {name}: {', '.join(task.name for task in titles[name].tasks)}")
        for lack in found.missing:
            if lack.domain.name in plugin.domains:
                print(f"  domain {lack.domain.name} lacks {', '.join(lack.modules)}; run: {lack.remedy}")
        if plugin.systems:
            print(f"  systems: {', '.join(plugin.systems)}")
    for failure in found.failed:
        print(f"{failure.name} ({failure.module}) FAILED: {failure.error}\n{failure.traceback}")


def doctor(json: JsonOption = False) -> None:
    from omniform import doctor as clinic

    findings = clinic.examine()
    report = clinic.as_json(findings)
    if json:
        emit_json(report)
    else:
        marks = {"ok": "ok", "absent": "-", "fault": "FAULT"}
        for name, finding in findings.items():
            print(f"{marks[finding.status]:<5}  {name:<11}  {finding.detail}")
            if finding.remedy:
                print(f"{'':<20}{finding.remedy}")
    if not report["healthy"]:
        raise typer.Exit(2)


zoo_app = typer.Typer(add_completion=False)


@zoo_app.callback(invoke_without_command=True)
def _zoo(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option("--kind", help="only this kind, such as token-mixer")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="only this domain; core is one")] = None,
    json: JsonOption = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from omniform import zoo

    systems = zoo.select(host().systems, kind=kind, domain=domain)
    if json:
        emit_json([zoo.as_json(system) for system in systems])
    else:
        console().print(zoo.as_table(systems))


@zoo_app.command("show", help="Print everything on one system.")
def _show(name: Annotated[str, typer.Argument(metavar="ID", help="a system's id")], json: JsonOption = False) -> None:
    from omniform import zoo

    system = zoo.find(name)
    if json:
        emit_json(zoo.as_json(system))
    else:
        print(zoo.describe(system))


def _plugins_json(found: Host) -> dict[str, list[dict[str, object]]]:
    tasks = {
        d.name: [task.name for task in d.tasks] for d in (*found.domains, *(lack.domain for lack in found.missing))
    }
    return {
        "loaded": [{**asdict(plugin), "tasks": {n: tasks[n] for n in plugin.domains}} for plugin in found.loaded],
        "failed": [asdict(failure) for failure in found.failed],
        "missing": [
            {"domain": lack.domain.name, "modules": lack.modules, "remedy": lack.remedy} for lack in found.missing
        ],
    }
