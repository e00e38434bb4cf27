"""The root command."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Final

import typer

from gateway.surfaces.cli import (
    add,
    approvals,
    can,
    catalogue,
    check,
    connections,
    console,
    endorsements,
    explain,
    init,
    journal,
    keys,
    leases,
    policy,
    replay,
    schema,
    serve,
    service,
    signals,
    state,
    stop,
    token,
    up,
)
from gateway.surfaces.cli.help import CommandLine
from gateway.surfaces.cli.running import run

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

app.command("up", rich_help_panel=_TRY, epilog="Example: opagate up --once")(up.up)
app.command("token", rich_help_panel=_TRY, epilog="Example: opagate token --agent triage --user alice --ttl 8h")(
    token.token
)
app.command("init", rich_help_panel=_OPERATE, epilog="Example: opagate init --from ~/.cursor/mcp.json")(init.init)
app.command("add", rich_help_panel=_OPERATE, epilog="Example: opagate add --from ~/.claude.json")(add.add)
app.command("check", rich_help_panel=_OPERATE, epilog="Example: opagate check --config gateway.yaml")(check.check)
app.command("schema", rich_help_panel=_OPERATE, epilog="Example: opagate schema config > gateway.schema.json")(
    schema.schema
)
app.add_typer(service.app, name="service", rich_help_panel=_OPERATE)
app.command("serve", rich_help_panel=_OPERATE, epilog="Example: opagate serve --config gateway.yaml")(serve.serve)
app.add_typer(catalogue.app, name="catalogue", rich_help_panel=_OPERATE)
app.add_typer(policy.app, name="policy", rich_help_panel=_OPERATE)
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
app.add_typer(endorsements.app, name="endorsements", rich_help_panel=_OPERATE)
app.add_typer(leases.app, name="leases", rich_help_panel=_OPERATE)
app.add_typer(keys.app, name="keys", rich_help_panel=_OPERATE)
app.add_typer(console.app, name="console", rich_help_panel=_OPERATE)
app.add_typer(connections.app, name="connections", rich_help_panel=_OPERATE)
app.add_typer(signals.app, name="signals", rich_help_panel=_OPERATE)
app.add_typer(state.app, name="state", rich_help_panel=_OPERATE)
app.command(
    "stop", rich_help_panel=_OPERATE, epilog="Example: opagate stop --agent triage --reason 'it mails strangers'"
)(stop.stop)
app.command(
    "resume", rich_help_panel=_OPERATE, epilog="Example: opagate resume --agent triage --reason 'it is mended'"
)(stop.resume)
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
    sys.exit(run(partial(app, args=sys.argv[1:], prog_name="opagate", standalone_mode=False)))
