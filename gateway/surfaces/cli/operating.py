"""Commands of operators: `opagate stop`, `console`, `credentials signals` and `journal texts`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, later, refuse_lost_options
from gateway.surfaces.cli.terminal import describe_count, emit, line, note, out, plain, show, table, write_time

if TYPE_CHECKING:
    from gateway.config import Configuration


AgentOption = Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="The calls of an agent.")]
UserOption = Annotated[str | None, typer.Option("--user", metavar="USER", help="The calls for a user.")]
TaskOption = Annotated[str | None, typer.Option("--task", metavar="ID", help="The calls of a task.")]
UpstreamOption = Annotated[str | None, typer.Option("--upstream", metavar="NAME", help="The calls to an upstream.")]
AllOption = Annotated[bool, typer.Option("--all", help="All calls.")]
IssuerOption = Annotated[
    str | None,
    typer.Option(
        "--issuer", metavar="URL", help="The agent or user of this issuer alone. Without it: of every issuer."
    ),
]
_ONE = "give one of --agent, --user, --task, --upstream or --all"


stops = typer.Typer(invoke_without_command=True)


@stops.callback()
def stop(
    context: typer.Context,
    agent: AgentOption = None,
    user: UserOption = None,
    task: TaskOption = None,
    upstream: UpstreamOption = None,
    every: AllOption = False,
    issuer: IssuerOption = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Resume by itself: at a time, or after 30m or 8h.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the journal.")] = "",
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse calls at once, cut open answers, and end lent credentials.

    The stop lasts until `opagate stop resume`, also over a restart. Names count as they stand in tokens.
    """
    if context.invoked_subcommand is not None:
        refuse_lost_options(context)
        return
    chosen = _selection(issuer, agent=agent, user=user, task=task, upstream=upstream, every=every)
    if chosen is None:
        raise typer.BadParameter(_ONE)
    if not reason.strip():
        raise typer.BadParameter("give a --reason, for the journal")
    ends = None if until is None else later(until, now=time.time())
    found: dict[str, Any] = ask_gateway(at, config, "stops/stop", chosen=chosen, reason=reason, until=ends)
    if as_json:
        emit(found)
        return
    ended = found["ended"]
    parts = [
        describe_count(ended["leases"], "lease"),
        describe_count(ended["answers"], "open answer"),
        describe_count(ended["questions"], "open question"),
        describe_count(ended["processes"], "server process").replace("processs", "processes"),
    ]
    note(f"{found['stop']['id']} is in force; it ended {', '.join(parts)}")


@stops.command("resume", epilog="Example: opagate stop resume --agent triage --reason 'it is mended'")
def resume(
    identifier: Annotated[str, typer.Argument(metavar="[ID]", help="The stop.", show_default=False)] = "",
    agent: AgentOption = None,
    user: UserOption = None,
    task: TaskOption = None,
    upstream: UpstreamOption = None,
    every: AllOption = False,
    issuer: IssuerOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the journal.")] = "",
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take one stop out of force, or each stop with exactly these options, and let its calls go on.

    Other stops stay in force, also for the same calls.
    """
    chosen = _selection(issuer, agent=agent, user=user, task=task, upstream=upstream, every=every)
    if bool(identifier) == (chosen is not None):
        raise typer.BadParameter(f"give the id of a stop, or {_ONE.removeprefix('give ')}")
    if not reason.strip():
        raise typer.BadParameter("give a --reason, for the journal")
    found: list[dict[str, Any]] = ask_gateway(at, config, "stops/resume", id=identifier, chosen=chosen, reason=reason)
    if as_json:
        emit(found)
        return
    for one in found:
        note(f"{one['id']} is no longer in force")


def _selection(issuer: str | None, *, every: bool, **named: str | None) -> dict[str, str] | None:
    """Return the chosen calls, `None` for no choice. Raises `BadParameter` for several."""
    given = [(scope, name) for scope, name in named.items() if name is not None]
    if every:
        given.append(("all", ""))
    if len(given) > 1:
        raise typer.BadParameter(_ONE)
    if issuer is not None and (not given or given[0][0] not in {"agent", "user"}):
        raise typer.BadParameter("--issuer goes with --agent or --user")
    if not given:
        return None
    scope, name = given[0]
    return {"scope": scope, "name": name, **({} if issuer is None else {"issuer": issuer})}


@stops.command("list", epilog="Example: opagate stop list")
def list_stops(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the stops in force."""
    found: list[dict[str, Any]] = ask_gateway(at, config, "stops/list")
    if as_json:
        emit(found)
        return
    if not found:
        note("no stop is in force")
        return
    rows = table("id", "stopped", "issuer", "since", "until", "by", "reason")
    for one in found:
        stopped = " ".join((one["scope"], one.get("name", "")))
        cells = (one["id"], stopped, one.get("issuer", "-"), write_time(one["at"]), write_time(one.get("until")))
        rows.add_row(*map(plain, (*cells, one["by"]["id"], one["reason"])))
    show(rows)


signals = typer.Typer(help="Signals of identity providers: look at them, and try their streams.", no_args_is_help=True)


@signals.command("status", epilog="Example: opagate credentials signals status")
def show_status(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show each stream with its last event, and the ended logins and open facts."""
    found: dict[str, Any] = ask_gateway(at, config, "signals/status")
    if as_json:
        emit(found)
        return
    streams = table("stream", "transmitter", "delivery", "state", "last event", "last verified", "problem")
    for one in found["streams"]:
        cells = (one["name"], plain(one["transmitter"]), one["delivery"], _state(one))
        times = (write_time(one.get("last_event")), write_time(one.get("last_verified")))
        streams.add_row(*cells, *times, plain(one.get("problem", "-")))
    show(streams)
    if not found["signals"]:
        note("no login is ended, and no fact is open")
        return
    signals = table("id", "stream", "type", "effect", "level", "at", "subject")
    for one in found["signals"]:
        cells = (one["id"], one["stream"], one["type"], one["effect"], one.get("level", "-"), write_time(one["at"]))
        signals.add_row(*map(plain, cells), one["subject"][:19])
    out.print()
    show(signals)


@signals.command("test", epilog="Example: opagate credentials signals test idp-example")
def try_stream(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The name of the stream.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the transmitter for a verification event, and wait until the running gateway has it.

    The settings of these signals need `stream`.
    """
    found: dict[str, Any] = ask_gateway(at, config, "signals/test", stream=stream)
    if as_json:
        emit(found)
        return
    note(f"{stream}: a verification event came after {found['seconds']:.3f} s")


@signals.command("forget", epilog="Example: opagate credentials signals forget 5f0c1d2e3a4b5c6d7e8f9a0b")
def forget(
    signal: Annotated[str, typer.Argument(metavar="ID", help="The signal.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a signal out of force: tokens of that login are accepted again, or the fact is closed. Ended tasks stay ended."""
    found: dict[str, Any] = ask_gateway(at, config, "signals/forget", id=signal)
    if as_json:
        emit(found)
        return
    note(f"{found['type']} of {found['stream']} is no longer in force")


def _state(stream: dict[str, Any]) -> str:
    if stream["is_silent"]:
        return "silent"
    if not stream["has_keys"]:
        return "no keys"
    return "works" if stream.get("last_event") else "no event yet"


def texts(
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget them: results with their words bring no label back.")
    ] = False,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="With --forget: of this tenant alone.")] = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many written texts with foreign words the running gateway knows by their digests, or forget them.

    A result with such words has the labels of their source: see docs/multi-agent.md. Labels that tasks have stay.
    """
    if tenant is not None and not forget:
        raise typer.BadParameter("--tenant goes with --forget")
    if forget:
        done: dict[str, Any] = ask_gateway(at, config, "texts/forget", tenant=tenant)
        if as_json:
            emit(done)
        else:
            note(f"{describe_count(done['texts'], 'text')} forgotten")
        return
    found: dict[str, Any] = ask_gateway(at, config, "texts/list")
    if as_json:
        emit(found)
        return
    listed = table("tenant", "texts")
    for one in found["tenants"]:
        listed.add_row(plain(one["tenant"] or "-"), f"{one['texts']:,}")
    show(listed)
    note(f"{describe_count(found['words'], 'word')} as digests")


def console(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print a link that logs you in to the console on this machine, once.

    The gateway knows your account from the connection. An account may do at the console only as much as over the socket.
    """
    found: dict[str, Any] = ask_gateway(at or _find_socket(configuration(config)), None, "logins/link")
    if as_json:
        emit(found)
        return
    line(found["url"])
    note(f"for {found['person']} ({', '.join(found['roles'])}), once, within {found['seconds'] // 60} minutes")


def _find_socket(settings: Configuration) -> str:
    """Return the path of the socket. Raises `ConfigurationError` for a console with another login."""
    if settings.console is not None and settings.console.login is not None:
        raise ConfigurationError(
            "people log in to this console at an identity provider", f"open {settings.base_url}/console"
        )
    return str(settings.control_socket)
