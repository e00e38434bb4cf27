"""The clients of the control interface, over the gateway's socket or `/api`, for the commands of approvers and operators."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Protocol
from urllib.parse import quote, urlencode

import typer

from gateway.model.errors import ConfigurationError, GatewayError
from gateway.surfaces.cli.loop import run
from gateway.surfaces.cli.options import configuration

_LARGEST: Final = 16 * 2**20
_SECONDS: Final = 30.0
"""For the answer to one request."""
TOKEN_VARIABLE: Final = "OPAGATE_TOKEN"  # noqa: S105 - a name
"""The environment variable with the token for a gateway at a URL."""
GatewayOption = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        metavar="PLACE",
        help=f"Another gateway than the configured one: its socket, or its URL with your token in {TOKEN_VARIABLE}.",
    ),
]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="PERSON", help="The approver; with a development identity only.")
]
GroupOption = Annotated[
    list[str] | None, typer.Option("--group", metavar="GROUP", help="A group of that person, with --as.")
]


class ControlRefusal(GatewayError):
    """The gateway refused a request, and says why."""


class ControlClient(Protocol):
    """The way to the operations of a gateway."""

    def ask(self, do: str, **fields: Any) -> Any:
        """Return the answer to a request. Raises `ControlRefusal`."""
        ...

    def watch(self, do: str) -> Iterator[dict[str, Any]]:
        """Yield the present state, and each change from then on. Raises `ControlRefusal`."""
        ...


class SocketClient:
    """One connection to the gateway's socket. `speaker` has the fields with the person of a request, for development."""

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
            raise _refusal(answer["error"])
        return answer["ok"]


class ApiClient:
    """The operations of a gateway at `url` with a route, for the person of a token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def ask(self, do: str, **fields: Any) -> Any:
        """Return the answer to a request. Raises `ControlRefusal`."""
        from gateway.surfaces.app.control import OPERATIONS

        route = OPERATIONS[do].route
        if route is None:
            raise ControlRefusal(f"{do} works over the gateway's socket alone", "run the command on its machine")
        method, path = route
        named = {name: value for name, value in fields.items() if f"{{{name}}}" in path}
        address = self._url + path.format(**{name: quote(str(value), safe="") for name, value in named.items()})
        others = {name: value for name, value in fields.items() if name not in named and value is not None}
        if method == "GET" and others:
            address += "?" + urlencode({name: _write_field(value) for name, value in others.items()})
        return run(self._exchange(method, address, b"" if method == "GET" else json.dumps(others).encode()))

    def watch(self, do: str) -> Iterator[dict[str, Any]]:
        """Raise `ControlRefusal`: changes come over the socket alone."""
        yield self.ask(do)

    async def _exchange(self, method: str, address: str, body: bytes) -> Any:
        from gateway.wire.https_client import HttpsClient, NoAnswer, read_object

        client = HttpsClient(seconds=_SECONDS, largest=_LARGEST)
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        try:
            found = await client.send(method, address, headers=headers, body=body)
        finally:
            await client.aclose()
        if isinstance(found, NoAnswer):
            raise ControlRefusal(found.problem, "give the gateway's public URL")
        if found.status == HTTPStatus.OK:
            return self._decode(found.body)
        error = (read_object(found) or {}).get("error")
        if isinstance(error, dict) and {"code", "message", "remedy"} <= error.keys():
            raise _refusal(error)
        raise ControlRefusal(
            f"{self._url} has no such page (status {found.status})", "set operators.people or approvals.people there"
        )

    def _decode(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ControlRefusal(
                f"{self._url} answered with something that is no JSON, as no gateway does",
                "give the gateway's public URL",
            ) from None


def _write_field(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refusal(error: dict[str, Any]) -> ControlRefusal:
    message = str(error["message"]).rstrip(".")
    return ControlRefusal(f"{message[:1].lower()}{message[1:]} [{error['code']}]", str(error["remedy"]))


@contextmanager
def connect_to_gateway(path: Path, speaks_as: str | None = None, groups: Sequence[str] = ()) -> Generator[SocketClient]:
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
                "start it on this machine with `opagate up`, with the same configuration",
            ) from error
        with connection.makefile("rb") as lines:
            yield SocketClient(connection, lines, speaker)


@contextmanager
def open_control(
    place: str | None, config: Path | None, speaks_as: str | None = None, groups: Sequence[str] | None = None
) -> Generator[ControlClient]:
    """Give the way to the gateway at a place, or to the configured one. Raises `ConfigurationError` if none listens."""
    if place is not None and "://" in place:
        if speaks_as or groups:
            raise typer.BadParameter("a token names its person; leave out --as and --group")
        yield _open_api(place)
        return
    path = configuration(config).control_socket if place is None else Path(place)
    with connect_to_gateway(path, speaks_as, groups or ()) as client:
        yield client


def ask_gateway(place: str | None, config: Path | None, do: str, /, **fields: Any) -> Any:
    """Return the answer of the gateway at a place, or of the configured one. Raises `ControlRefusal`, and `ConfigurationError`
    if none listens."""
    with open_control(place, config) as gateway:
        return gateway.ask(do, **fields)


def _open_api(url: str) -> ApiClient:
    """Return the client for a URL. Raises `ConfigurationError` without a token, and for a URL that would show the token to others."""
    from gateway.wire.oauth_flow import is_acceptable_url

    if not is_acceptable_url(url):
        raise ConfigurationError(f"a token would cross an open network to {url}", "give an https URL")
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise ConfigurationError(
            f"{TOKEN_VARIABLE} is empty, and {url} needs a token", f"export {TOKEN_VARIABLE} with a token for people"
        )
    return ApiClient(url, token)


def complete_id(known: list[dict[str, Any]], beginning: str, noun: str) -> str:
    """Return the id of a listed thing from its beginning, or from its code. Raises `typer.BadParameter` if there are several."""
    found = [one["id"] for one in known if one["id"].startswith(beginning) or one.get("code") == beginning.upper()]
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} {noun}s begin with {beginning!r}; give more of the id")
    return found[0] if found else beginning
