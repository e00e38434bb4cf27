"""`opagate connections`: users' consents to agents acting for the user at other systems, and their end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.surfaces.cli.control_client import GatewayOption, open_control
from gateway.surfaces.cli.options import ConfigOption, JsonOption
from gateway.surfaces.cli.terminal import describe_count, emit, note, plain, show, table

app = typer.Typer(help="Users' connections to other systems: look at them, and end them.", no_args_is_help=True)


@app.command("list", epilog="Example: opagate connections list --json")
def list_connections(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the connections, the oldest first. A removed one stays until its server confirmed the end."""
    with open_control(at, config) as gateway:
        found: list[dict[str, Any]] = gateway.ask("connections/list")
    if as_json:
        emit(found)
        return
    if not found:
        note("no user has connected")
        return
    listed = table("id", "state", "user", "agent", "broker", "scopes", "made")
    for one in found:
        cells = (one["user"], one["agent"], one["broker"], " ".join(one["scopes"]))
        listed.add_row(one["id"], one["state"], *map(plain, cells), one["made"])
    show(listed)


@app.command("revoke", epilog="Example: opagate connections revoke --user alice")
def revoke(
    connection: Annotated[str | None, typer.Argument(metavar="ID", help="One connection.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="All connections of a user.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="All connections of an agent.")] = None,
    broker: Annotated[str | None, typer.Option("--broker", metavar="NAME", help="All connections of a broker.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All connections of this gateway.")] = False,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove connections at once, with the leases of their tokens. Users can connect again.

    A connection has to fit all given options.
    """
    chosen: dict[str, Any] = {"id": connection, "user": user, "agent": agent, "broker": broker}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if not chosen and not every:
        raise typer.BadParameter("give an id, --user, --agent, --broker or --all")
    with open_control(at, config) as gateway:
        found: dict[str, Any] = gateway.ask("connections/revoke", **chosen, all=every)
    if as_json:
        emit(found)
        return
    note(
        f"{describe_count(found['removed'], 'connection')} removed; `opagate connections list` shows those without a proof"
    )
