"""`opagate signals`: the streams of identity providers, and the signals in force."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.surfaces.cli.control_client import GatewayOption, open_control
from gateway.surfaces.cli.options import ConfigOption, JsonOption
from gateway.surfaces.cli.terminal import emit, note, out, plain, show, table, write_time

app = typer.Typer(help="Signals of identity providers: look at them, and try their streams.", no_args_is_help=True)


@app.command("status", epilog="Example: opagate signals status")
def show_status(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show each stream with its last event, and the ended logins and open facts."""
    with open_control(at, config) as gateway:
        found: dict[str, Any] = gateway.ask("signals/status")
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


@app.command("test", epilog="Example: opagate signals test idp-example")
def try_stream(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The name of the stream.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the transmitter for a verification event, and wait until the running gateway has it.

    The settings of these signals need `stream`.
    """
    with open_control(at, config) as gateway:
        found: dict[str, Any] = gateway.ask("signals/test", stream=stream)
    if as_json:
        emit(found)
        return
    note(f"{stream}: a verification event came after {found['seconds']:.3f} s")


@app.command("forget", epilog="Example: opagate signals forget 5f0c1d2e3a4b5c6d7e8f9a0b")
def forget(
    signal: Annotated[str, typer.Argument(metavar="ID", help="The signal.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a signal out of force: tokens of that login are accepted again, or the fact is closed. Ended tasks stay ended."""
    with open_control(at, config) as gateway:
        found: dict[str, Any] = gateway.ask("signals/forget", id=signal)
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
