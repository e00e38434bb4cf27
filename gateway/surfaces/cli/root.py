"""The root command, and the names for option values in `--help`."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Any, Final

import typer
from typer.main import get_command

from gateway.record.telemetry import logs
from gateway.surfaces.cli import (
    approvals,
    can,
    catalogue,
    connect,
    credentials,
    explain,
    grants,
    init,
    journal,
    keys,
    labelling,
    operating,
    policy,
    replay,
    service,
    serving,
    state,
    stdio,
)
from gateway.surfaces.cli.running import run


class CommandLine(typer.Typer):
    """A command line with no types of Python in its help: typer would put types beside flags and arguments."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        command = get_command(self)
        _without_types(command)
        return command(*args, **kwargs)


def _without_types(command: Any, parent: typer.Context | None = None) -> None:
    context = typer.Context(command, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument" or parameter.is_flag:
            parameter.display_type_rich = _nothing
    for inner in getattr(command, "commands", {}).values():
        _without_types(inner, context)


def _nothing(**_: object) -> None:
    """Return an empty column for the type."""


app = CommandLine(
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

app.command("up", rich_help_panel=_TRY, epilog="Example: opagate up --once")(serving.up)
app.command("connect", rich_help_panel=_TRY, epilog="Example: opagate connect cursor")(connect.connect)
app.command("stdio", rich_help_panel=_TRY, epilog="Example: opagate stdio --agent claude-desktop")(stdio.stdio)
app.command("token", rich_help_panel=_TRY, epilog="Example: opagate token --agent triage --user alice --ttl 8h")(
    serving.token
)
app.command("init", rich_help_panel=_OPERATE, epilog="Example: opagate init --from ~/.cursor/mcp.json")(init.init)
app.command("check", rich_help_panel=_OPERATE, epilog="Example: opagate check --config gateway.yaml")(serving.check)
app.command("schema", rich_help_panel=_OPERATE, epilog="Example: opagate schema config > gateway.schema.json")(
    serving.schema
)
app.add_typer(service.app, name="service", rich_help_panel=_OPERATE)
app.command("serve", rich_help_panel=_OPERATE, epilog="Example: opagate serve --config gateway.yaml")(serving.serve)
catalogue.app.command("label", epilog="Example: opagate catalogue label files --write")(labelling.label)
app.add_typer(catalogue.app, name="catalogue", rich_help_panel=_OPERATE)
app.add_typer(policy.app, name="policy", rich_help_panel=_OPERATE)
app.add_typer(grants.app, name="grants", rich_help_panel=_OPERATE)
app.command("can", rich_help_panel=_OPERATE, epilog='Example: opagate can triage github/comment \'{"ticket": "T-1"}\'')(
    can.can
)
app.command("replay", rich_help_panel=_OPERATE, epilog="Example: opagate replay sessions.jsonl --against rego-next/")(
    replay.replay
)
app.command("explain", rich_help_panel=_RECORD, epilog="Example: opagate explain 5f0c1d2e3a4b5c6d7e8f9a0b")(
    explain.explain
)
app.add_typer(approvals.app, name="approvals", rich_help_panel=_OPERATE)
app.add_typer(credentials.app, name="credentials", rich_help_panel=_OPERATE)
app.add_typer(keys.app, name="keys", rich_help_panel=_OPERATE)
app.command("console", rich_help_panel=_OPERATE, epilog="Example: opagate console")(operating.console)
app.add_typer(operating.signals, name="signals", rich_help_panel=_OPERATE)
app.add_typer(state.app, name="state", rich_help_panel=_OPERATE)
app.command(
    "stop", rich_help_panel=_OPERATE, epilog="Example: opagate stop --agent triage --reason 'it mails strangers'"
)(operating.stop)
app.command(
    "resume", rich_help_panel=_OPERATE, epilog="Example: opagate resume --agent triage --reason 'it is mended'"
)(operating.resume)
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
    """Run the command line; never print a traceback. Standard output has the answer of a command alone."""
    logs.configure("console", "warning")
    sys.exit(run(partial(app, args=sys.argv[1:], prog_name="opagate", standalone_mode=False)))
