"""The command line."""

from omniform.cli.app import main

__all__ = ["main"]
