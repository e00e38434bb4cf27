"""The command line: `opagate`. One module for each command."""

from gateway.cli.root import app, main

__all__ = ["app", "main"]
