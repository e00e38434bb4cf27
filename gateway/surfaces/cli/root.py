"""The root command: twelve words, and the commands below them."""

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
    schemas,
    service,
    serving,
    state,
    stdio,
    tasks,
)
from gateway.surfaces.cli.running import run
from gateway.surfaces.cli.suggesting import SuggestingGroup

WORDS: Final = (
    *("up", "init", "connect", "check"),
    *("catalogue", "policy"),
    *("approvals", "credentials", "tasks", "stop", "journal", "console"),
)
"""The words of the command line, in the order of its help."""


class CommandLine(typer.Typer):
    """A command line with no types of Python in its help: typer would put types beside flags and arguments."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        command: Any = get_command(self)
        # Typer puts plain commands before groups.
        command.commands = {word: command.commands[word] for word in WORDS}
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


def _add_group(parent: typer.Typer, inner: typer.Typer, name: str, **shown: Any) -> None:
    """Add a group whose unknown words are answered with the nearest commands."""
    parent.add_typer(inner, name=name, cls=SuggestingGroup, **shown)


app = CommandLine(
    name="opagate",
    cls=SuggestingGroup,
    help="A Model Context Protocol tool gateway: Open Policy Agent decides on every tool call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)
_START: Final = "Start"
_DECIDE: Final = "Say what may pass"
_OPERATE: Final = "Operate it"

app.command("up", rich_help_panel=_START, epilog="Example: opagate up --from ~/.cursor/mcp.json")(serving.up)
_add_group(app, init.app, "init", rich_help_panel=_START, epilog="Example: opagate init --from ~/.cursor/mcp.json")
init.app.command("service", epilog="Example: opagate init service --config /etc/opagate/gateway.yaml")(service.service)
init.app.command("schema", epilog="Example: opagate init schema config > gateway.schema.json")(schemas.schema)
app.command("check", rich_help_panel=_START, epilog="Example: opagate check --config gateway.yaml")(serving.check)
_add_group(app, connect.app, "connect", rich_help_panel=_START)
connect.app.command("stdio", epilog="Example: opagate connect stdio --agent claude-desktop")(stdio.stdio)

_add_group(app, catalogue.app, "catalogue", rich_help_panel=_DECIDE)
catalogue.app.command("label", epilog="Example: opagate catalogue label files --write")(labelling.label)
_add_group(app, policy.app, "policy", rich_help_panel=_DECIDE)
policy.app.command("can", epilog='Example: opagate policy can triage github/comment \'{"ticket": "T-1"}\'')(can.can)
policy.app.command("replay", epilog="Example: opagate policy replay sessions.jsonl --against rego-next/")(replay.replay)
_add_group(policy.app, grants.app, "grants")

_add_group(app, approvals.app, "approvals", rich_help_panel=_OPERATE)
_add_group(app, credentials.app, "credentials", rich_help_panel=_OPERATE)
credentials.app.command("token", epilog="Example: opagate credentials token --agent triage --user alice --ttl 8h")(
    serving.token
)
_add_group(credentials.app, keys.app, "keys")
_add_group(credentials.app, operating.signals, "signals")
_add_group(app, tasks.app, "tasks", rich_help_panel=_OPERATE)
_add_group(
    app,
    operating.stops,
    "stop",
    rich_help_panel=_OPERATE,
    epilog="Example: opagate stop --agent triage --reason 'it mails strangers'",
)
_add_group(app, journal.app, "journal", rich_help_panel=_OPERATE)
journal.app.command("explain", epilog="Example: opagate journal explain 5f0c1d2e3a4b5c6d7e8f9a0b")(explain.explain)
journal.app.command("texts", epilog="Example: opagate journal texts --forget --tenant acme")(operating.texts)
_add_group(journal.app, state.app, "state")
app.command("console", rich_help_panel=_OPERATE, epilog="Example: opagate console")(operating.console)


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
