"""The application `omniform`: its commands, and what leaves it as exit code.

0 done; 2 a user's mistake, one line; 1 a fault of ours, with its traceback; 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from omniform import __version__
from omniform.cli import launch, listing
from omniform.cli.bench import bench_app
from omniform.cli.domain import domain_app
from omniform.cli.options import markup_free
from omniform.errors import OmniformError
from omniform.plugins import host

__all__ = ["build", "main"]

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (`sys.argv` by default) names and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = get_command(build(arguments)).main(arguments, prog_name="omniform", standalone_mode=False) or 0
    except OmniformError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        return _complain(
            f"{error.format_message().rstrip('.')}; `omniform --help` and `omniform COMMAND --help` explain"
        )
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception:
        traceback.print_exc()
        print("this is a fault of omniform, not yours; please report it with the lines above", file=sys.stderr)
        return 1
    if code == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code


def build(arguments: Sequence[str]) -> typer.Typer:
    """Build the application for these arguments: only the domain that they name gets its whole command set."""
    app = typer.Typer(
        help="Any token mixer in any domain, compared at matched budget beside an honest baseline.",
        add_completion=False,
        rich_markup_mode="rich",
    )
    app.callback(invoke_without_command=True)(_root)
    app.command("demo", help="Run the main job of every domain on embedded data.")(launch.demo)
    app.command("doctor", help="Examine this machine and say what is missing.")(listing.doctor)
    app.command("plugins", help="List every plugin found, and what failed to load.")(listing.plugins)
    app.add_typer(listing.zoo_app, name="zoo", help="List every system, with its paper and traits.")
    app.add_typer(bench_app, name="bench", help="Time what computes here beside its peers.")
    app.command("app", help="Open the Streamlit app.")(launch.app)
    named = next((word for word in arguments if not word.startswith("-")), None)
    if named in {lack.domain.name for lack in host().missing}:
        host().domain(named or "")  # raises, with the remedy
    for domain in host().domains:
        behind = arguments[list(arguments).index(domain.name) + 1 :] if domain.name == named else ()
        app.add_typer(domain_app(domain, behind), name=domain.name, short_help=markup_free(domain.summary))
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"omniform {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        listing.print_overview()


def _complain(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
