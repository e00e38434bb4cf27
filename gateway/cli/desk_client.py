"""The client of the gateway's Unix sockets, for `opagate approvals`, `leases`, `connections`, `signals` and `stop`."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from gateway.errors import ConfigurationError, GatewayError

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS: Final = 30.0
"""For the answer to one request."""


class DeskRefusal(GatewayError):
    """The desk refused a request, and says why."""


class DeskClient:
    """One connection to the desk. `speaker` has the fields with the person of a request, for development."""

    def __init__(self, connection: socket.socket, lines: BinaryIO, speaker: dict[str, Any]) -> None:
        self._connection = connection
        self._lines = lines
        self._speaker = speaker

    def ask(self, do: str, **fields: Any) -> Any:
        """Return the answer to a request. Raises `DeskRefusal`."""
        self._send(do, fields)
        return self._read()

    def watch(self) -> Iterator[dict[str, Any]]:
        """Yield each open question, and each change from then on."""
        self._send("watch", {})
        self._connection.settimeout(None)
        while True:
            yield self._read()

    def _send(self, do: str, fields: dict[str, Any]) -> None:
        # A gateway that does not hear this program says so at once, and closes the connection.
        with suppress(BrokenPipeError):
            self._connection.sendall(json.dumps({"do": do, **self._speaker, **fields}).encode() + b"\n")

    def _read(self) -> Any:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise DeskRefusal("the gateway does not answer", "try again") from None
        if not line:
            raise DeskRefusal("the gateway closed the connection", "try again")
        answer = json.loads(line)
        if "error" in answer:
            error = answer["error"]
            message = error["message"].rstrip(".")
            raise DeskRefusal(f"{message[:1].lower()}{message[1:]} [{error['code']}]", error["remedy"])
        return answer["ok"]


_NEEDS: Final = {
    "approvals.sock": "`approvals:`",
    "connections.sock": "a broker of kind `user_oauth`",
    "console.sock": "`console: {}`",
    "leases.sock": "an upstream with a leased credential",
    "signals.sock": "`signals:`",
}
"""Socket → the settings without which a gateway does not listen there."""


def _describe_need(name: str) -> str:
    """Return the end of a remedy that names the needed setting. Each gateway listens for stops."""
    return "" if name == "stops.sock" else f"; its configuration needs {_NEEDS.get(name, 'the setting')}"


@contextmanager
def connect_to_desk(path: Path, speaks_as: str | None, groups: list[str]) -> Generator[DeskClient]:
    """Give a connection to a socket of the gateway. Raises `ConfigurationError` if no gateway listens."""
    speaker: dict[str, Any] = {} if speaks_as is None else {"speaks_as": speaks_as}
    if groups:
        speaker["groups"] = groups
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise ConfigurationError(
                f"no gateway answers at {path}: {error.strerror or error}",
                f"start it on this machine with `opagate serve`{_describe_need(path.name)}",
            ) from error
        with connection.makefile("rb") as lines:
            yield DeskClient(connection, lines, speaker)
