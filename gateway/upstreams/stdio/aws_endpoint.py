"""The endpoint on loopback where the SDKs of AWS ask for the credential of their process, as in a container.

Each process has an address of its own, and a token that answers to agents never show. The answer is the credential that the process has now, so a renewal needs no
restart. The SDKs come back by themselves before `Expiration`.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

from gateway.base.concurrency.background import Job
from gateway.upstreams.stdio.rendering import describe_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import HandedCredential
    from gateway.upstreams.stdio.quiet_server import QuietServer

_HOST: Final = "127.0.0.1"
_PATH: Final = "/credentials/"
_NAMES: Final = {"AccessKeyId": "access_key_id", "SecretAccessKey": "secret_access_key", "Token": "session_token"}
_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class ContainerEndpoint:
    """The credentials of processes by their addresses. The endpoint listens from the first process on."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[str, Callable[[], HandedCredential | None]]] = {}
        self._listening: socket.socket | None = None
        self._server: QuietServer | None = None
        self._job: Job | None = None

    def register(self, token: str, credential: Callable[[], HandedCredential | None]) -> tuple[str, dict[str, str]]:
        """Return a new id and the variables for a process. `token` authenticates its requests. Raises `OSError`.

        `credential` gives the credential of the process at each request.
        """
        if self._listening is None:
            from gateway.upstreams.stdio.quiet_server import QuietServer  # noqa: PLC0415 - uvicorn takes 6 MB, for few gateways

            self._listening = socket.create_server((_HOST, 0))
            self._server = QuietServer(self._answer)
            self._job = Job(lambda: self._serve(self._listening, self._server), "container endpoint")
        process = secrets.token_hex(12)
        self._given[process] = (token, credential)
        address = f"http://{_HOST}:{self._listening.getsockname()[1]}{_PATH}{process}"
        return process, {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": address,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    def forget(self, process: str) -> None:
        """Answer a process no more."""
        self._given.pop(process, None)

    async def aclose(self) -> None:
        """Listen no more."""
        self._given.clear()
        if self._server is not None and self._job is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._job.wait()

    async def _serve(self, listening: socket.socket | None, server: QuietServer | None) -> None:
        if listening is not None and server is not None:
            with listening:
                await server.serve(sockets=[listening])

    async def _answer(self, scope: Any, _receive: Any, send: Any) -> None:
        """Answer a request, as an ASGI application."""
        status, document = self._find(scope)
        body = json.dumps(document).encode()
        await send({"type": "http.response.start", "status": status, "headers": _JSON})
        await send({"type": "http.response.body", "body": body})

    def _find(self, scope: Any) -> tuple[int, dict[str, str]]:
        """Return the status and the document for a request. A wrong token and an unknown process look alike."""
        token, credential = self._given.get(str(scope["path"]).removeprefix(_PATH), ("", _find_nothing))
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        is_known = len(shown) == 1 and bool(token) and hmac.compare_digest(shown[0], token.encode())
        if scope["method"] != "GET" or not is_known:
            return 403, {"code": "AccessDenied", "message": "this process has no credential here"}
        found = credential()
        fields = {} if found is None else dict(found.fields)
        if found is None or any(name not in fields for name in _NAMES.values()):
            return 404, {"code": "NoCredential", "message": "the credential of this process has ended"}
        return 200, {**{to: fields[name] for to, name in _NAMES.items()}, "Expiration": describe_moment(found.expires)}


def _find_nothing() -> None:
    return None
