"""`opagate credentials`: credentials lent to calls, users' consents to agents acting for the user, and the end of both."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.model.caller import describe_person
from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.options import ConfigOption, JsonOption, select_given
from gateway.surfaces.cli.terminal import describe_count, emit, note, pairs, plain, show, table, write_time

app = typer.Typer(
    help="Tokens for callers, credentials lent to calls, users' connections, the gateway's keys, signals.",
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The lease.")]
_TIMES = ("requested", "expires")


@app.command("list", epilog="Example: opagate credentials list --stuck")
def list_leases(
    stuck: Annotated[bool, typer.Option("--stuck", help="Only leases whose issuer has not confirmed the end.")] = False,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the open leases, the oldest first. A lease is open until its end is proven."""
    found: list[dict[str, Any]] = ask_gateway(at, config, "leases/list", stuck=stuck)
    if as_json:
        emit(found)
        return
    if not found:
        note("no lease is stuck" if stuck else "no lease is open")
        return
    listed = table("id", "state", "upstream", "broker", "agent", "user", "scope", "task", "expires")
    for one in found:
        cells = (
            one["upstream"],
            one["broker"],
            one["agent"],
            describe_person(one.get("user", "-"), one.get("known_as")),
            " ".join(one["scope"]),
            one["task"],
        )
        listed.add_row(one["id"], one["state"], *map(plain, cells), write_time(one["expires"]))
    show(listed)


@app.command("show", epilog="Example: opagate credentials show lease-0c1d2e3f")
def show_lease(
    lease: IdArgument, at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show all of one lease. Its value is never shown."""
    found: dict[str, Any] = ask_gateway(at, config, "leases/show", id=lease)
    if as_json:
        emit(found)
        return
    grid = pairs()
    for name, value in found.items():
        grid.add_row(name, plain(_write_value(name, value)))
    show(grid)


@app.command("revoke", epilog="Example: opagate credentials revoke --user alice")
def revoke(
    lease: Annotated[str | None, typer.Argument(metavar="ID", help="One lease.")] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="ID", help="All leases of a task.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="All leases for a user.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="All leases of an agent.")] = None,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="NAME", help="All leases for an upstream.")
    ] = None,
    broker: Annotated[str | None, typer.Option("--broker", metavar="NAME", help="All leases of a broker.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All leases of this gateway.")] = False,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End leases at once. No later call carries their credentials, and a later permitted call gets new ones.

    A lease has to fit all given options.
    """
    chosen = select_given(id=lease, task=task, user=user, agent=agent, upstream=upstream, broker=broker)
    if not chosen and not every:
        raise typer.BadParameter("give an id, --task, --user, --agent, --upstream, --broker or --all")
    found: dict[str, Any] = ask_gateway(at, config, "leases/revoke", **chosen, all=every)
    if as_json:
        emit(found)
        return
    note(
        f"the end of {describe_count(found['ended'], 'lease')} began; `opagate credentials list` shows those without proof"
    )


@app.command("abandon", epilog="Example: opagate credentials abandon lease-0c1d2e3f --reason 'the database is gone'")
def abandon(
    lease: IdArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the journal.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up the end of a lease that its issuer does not confirm. Its credential may still work."""
    found: dict[str, Any] = ask_gateway(at, config, "leases/abandon", id=lease, reason=reason)
    if as_json:
        emit(found)
        return
    note(f"{lease} is abandoned: end its credential at {found['broker']} by hand")


def _write_value(name: str, value: Any) -> str:
    if name in _TIMES:
        return write_time(value)
    if name == "proof":
        return f"{value['kind']}, {write_time(value['at'])}: {value['detail']}"
    return " ".join(value) if name == "scope" else str(value)


@app.command("connections", epilog="Example: opagate credentials connections --json")
def list_connections(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the connections, the oldest first. A removed one stays until its server confirmed the end."""
    found: list[dict[str, Any]] = ask_gateway(at, config, "connections/list")
    if as_json:
        emit(found)
        return
    if not found:
        note("no user has connected")
        return
    listed = table("id", "state", "user", "agent", "broker", "scopes", "made")
    for one in found:
        cells = (describe_person(one["user"], one["known_as"]), one["agent"], one["broker"], " ".join(one["scopes"]))
        listed.add_row(one["id"], one["state"], *map(plain, cells), one["made"])
    show(listed)


@app.command("disconnect", epilog="Example: opagate credentials disconnect --user alice")
def disconnect(
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
    chosen = select_given(id=connection, user=user, agent=agent, broker=broker)
    if not chosen and not every:
        raise typer.BadParameter("give an id, --user, --agent, --broker or --all")
    found: dict[str, Any] = ask_gateway(at, config, "connections/revoke", **chosen, all=every)
    if as_json:
        emit(found)
        return
    note(
        f"{describe_count(found['removed'], 'connection')} removed; `opagate credentials connections` shows those without a proof"
    )
