"""The client of the gateway's control socket, for the commands of approvers and operators."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from gateway.model.errors import ConfigurationError, GatewayError
from gateway.surfaces.cli.options import configuration

_SECONDS: Final = 30.0
"""For the answer to one request."""
SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="The gateway's socket, in the place of the configured one."),
]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="PERSON", help="The approver; with a development identity only.")
]
GroupOption = Annotated[
    list[str] | None, typer.Option("--group", metavar="GROUP", help="A group of that person, with --as.")
]


class ControlRefusal(GatewayError):
    """The gateway refused a request, and says why."""


class ControlClient:
    """One connection to the gateway. `speaker` has the fields with the person of a request, for development."""

    def __init__(self, connection: socket.socket, lines: BinaryIO, speaker: dict[str, Any]) -> None:
        self._connection = connection
        self._lines = lines
        self._speaker = speaker

    def ask(self, do: str, **fields: Any) -> Any:
        """Return the answer to a request. Raises `ControlRefusal`."""
        self._send(do, fields)
        return self._read()

    def watch(self, do: str) -> Iterator[dict[str, Any]]:
        """Yield the present state, and each change from then on."""
        self._send(do, {})
        self._connection.settimeout(None)
        while True:
            yield self._read()

    def _send(self, do: str, fields: dict[str, Any]) -> None:
        # A gateway that does not hear this program says so at once, and closes the connection.
        with suppress(BrokenPipeError):
            self._connection.sendall(json.dumps({"do": do, "fields": fields, **self._speaker}).encode() + b"\n")

    def _read(self) -> Any:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise ControlRefusal("the gateway does not answer", "try again") from None
        if not line:
            raise ControlRefusal("the gateway closed the connection", "try again")
        answer = json.loads(line)
        if "error" in answer:
            error = answer["error"]
            message = error["message"].rstrip(".")
            raise ControlRefusal(f"{message[:1].lower()}{message[1:]} [{error['code']}]", error["remedy"])
        return answer["ok"]


@contextmanager
def connect_to_gateway(
    path: Path, speaks_as: str | None = None, groups: Sequence[str] = ()
) -> Generator[ControlClient]:
    """Give a connection to the gateway's control socket. Raises `ConfigurationError` if no gateway listens."""
    speaker: dict[str, Any] = {} if speaks_as is None else {"speaks_as": speaks_as}
    if groups:
        speaker["groups"] = list(groups)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise ConfigurationError(
                f"no gateway answers at {path}: {error.strerror or error}",
                "start it on this machine with `opagate serve`, with the same configuration",
            ) from error
        with connection.makefile("rb") as lines:
            yield ControlClient(connection, lines, speaker)


@contextmanager
def open_control(
    path: Path | None, config: Path | None, speaks_as: str | None = None, groups: Sequence[str] | None = None
) -> Generator[ControlClient]:
    """Give a connection to the gateway at a path, or to the configured one. Raises `ConfigurationError` if none listens."""
    with connect_to_gateway(path or configuration(config).control_socket, speaks_as, groups or ()) as client:
        yield client


def complete_id(known: list[dict[str, Any]], beginning: str, noun: str) -> str:
    """Return the id of a listed thing from its beginning. Raises `typer.BadParameter` if there are several."""
    found = [one["id"] for one in known if one["id"].startswith(beginning)]
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} {noun}s begin with {beginning!r}; give more of the id")
    return found[0] if found else beginning
