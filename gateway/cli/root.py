"""The root command, and the one place where a failure becomes a sentence and an exit status.

Exit status: 0, 1 for a negative answer (a refused policy, a broken journal), 2 for wrong usage or a failure.
"""

from __future__ import annotations

import sys

import typer

from gateway.cli import serve
from gateway.cli.terminal import complain
from gateway.errors import GatewayError

app = typer.Typer(
    name="opagate",
    help="A Model Context Protocol tool gateway: Open Policy Agent decides on every tool call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("serve")(serve.serve)


@app.callback()
def root() -> None:
    """Without this, typer would take a single command for the program itself."""


def main() -> None:
    """Run the command line; never print a traceback for what a user, a file or a network did."""
    try:
        app()
    except GatewayError as error:
        complain(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
