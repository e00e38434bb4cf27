"""`opagate console`: the way to the pages of the gateway on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import ConfigOption, JsonOption, configuration
from gateway.cli.terminal import emit, line, note

if TYPE_CHECKING:
    from gateway.config import Configuration

app = typer.Typer(help="The pages for people who answer for the gateway.", no_args_is_help=True)

SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="The console's socket, in the place of the configured one."),
]


@app.command("link", epilog="Example: opagate console link")
def link(socket: SocketOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print a link that logs you in to the console on this machine, once.

    The gateway knows your account from the connection. An account may do at the console only as much as over the sockets.
    """
    from gateway.cli.desk_client import connect_to_desk

    with connect_to_desk(socket or _socket_of(configuration(config)), None, []) as gateway:
        found: dict[str, Any] = gateway.ask("link")
    if as_json:
        emit(found)
        return
    line(found["url"])
    note(f"for {found['person']} ({', '.join(found['roles'])}), once, within {found['seconds'] // 60} minutes")


def _socket_of(settings: Configuration) -> Path:
    """Return the path of the socket. Raises `ConfigurationError` for a gateway without such a login."""
    from gateway.errors import ConfigurationError

    if settings.console is None:
        raise ConfigurationError("this gateway has no console", "write `console: {}` in its configuration")
    if settings.console.login is not None:
        raise ConfigurationError(
            "people log in to this console at an identity provider", f"open {settings.base_url}/console"
        )
    return settings.console.socket or settings.operator_socket("console")
