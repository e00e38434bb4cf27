"""`opagate console`: the way to the pages of the gateway on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.control_client import GatewayOption, open_control
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration
from gateway.surfaces.cli.terminal import emit, line, note

if TYPE_CHECKING:
    from gateway.config import Configuration

app = typer.Typer(help="The pages for people who answer for the gateway.", no_args_is_help=True)


@app.command("link", epilog="Example: opagate console link")
def link(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print a link that logs you in to the console on this machine, once.

    The gateway knows your account from the connection. An account may do at the console only as much as over the socket.
    """
    with open_control(at or _find_socket(configuration(config)), None) as gateway:
        found: dict[str, Any] = gateway.ask("logins/link")
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
