"""The root command, and the one place where a failure becomes a sentence and an exit status.

Exit status: 0, 1 for a negative answer (a refused call, a broken journal), 2 for wrong usage or a failure; as shells
have it, 130 after Ctrl-C and 141 when the reader of the output has gone.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli import catalogue, check, explain, init, journal, policy, replay, serve, token, up
from gateway.cli.terminal import ReaderGone, complain, err, sentence
from gateway.errors import GatewayError

app = typer.Typer(
    name="opagate",
    help="A Model Context Protocol tool gateway: Open Policy Agent decides on every tool call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)
_TRY: Final = "Try it"
_OPERATE: Final = "Run it"
_RECORD: Final = "Look into the record"

app.command("up", rich_help_panel=_TRY, epilog="Example: opagate up --once")(up.up)
app.command("token", rich_help_panel=_TRY, epilog="Example: opagate token --agent triage --user alice --ttl 8h")(
    token.token
)
app.command("init", rich_help_panel=_OPERATE, epilog="Example: opagate init --from ~/.cursor/mcp.json")(init.init)
app.command("check", rich_help_panel=_OPERATE, epilog="Example: opagate check --config gateway.yaml")(check.check)
app.command("serve", rich_help_panel=_OPERATE, epilog="Example: opagate serve --config gateway.yaml")(serve.serve)
app.add_typer(catalogue.app, name="catalogue", rich_help_panel=_OPERATE)
app.add_typer(policy.app, name="policy", rich_help_panel=_OPERATE)
app.command("replay", rich_help_panel=_OPERATE, epilog="Example: opagate replay sessions.jsonl --against rego-next/")(
    replay.replay
)
app.command("explain", rich_help_panel=_RECORD, epilog="Example: opagate explain 5f0c1d2e3a4b5c6d7e8f9a0b")(
    explain.explain
)
app.add_typer(journal.app, name="journal", rich_help_panel=_RECORD)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"opagate {version('opagate')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A Model Context Protocol tool gateway: Open Policy Agent decides on every tool call."""


def main() -> None:
    """Run the command line; never print a traceback."""
    sys.exit(_run())


def _run() -> int:
    try:
        status = int(app(prog_name="opagate", standalone_mode=False) or 0)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        _drop_output()
        return 141
    except GatewayError as error:
        complain(error)
    except typer.TyperException as error:
        _misused(error)
    except typer.Abort:
        sentence("nothing was done")
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        sentence(f"{where}{error.strerror or type(error).__name__}", "see that the file or address can be used")
    except Exception as error:  # noqa: BLE001 - a defect is told by type and place: its text may hold a secret
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        sentence(f"this is a defect in opagate: {type(error).__name__} at {place}", "please report it")
    else:
        return status
    return 2


def _drop_output() -> None:
    """What is still buffered would be written at exit, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misused(error: typer.TyperException) -> None:
    context = getattr(error, "ctx", None)
    message = str(getattr(error, "format_message", error.__str__)())
    if type(error).__name__ == "NoArgsIsHelpError":
        err.print(message, markup=False)
        return
    command = context.command_path if context else "opagate"
    sentence(message[:1].lower() + message[1:].rstrip("."), f"see `{command} --help`")
