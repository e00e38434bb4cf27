"""A bridge to applications of ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html): requests of HTTP alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from gateway.wire.http.delivery import Channel, ClientGone

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}


async def run_application(application: Application, channel: Channel, more: Mapping[str, object] | None = None) -> None:
    """Have an application answer a request. `more` comes on top of its scope.

    The path is not decoded: the application routes by the same text as the edge.
    """
    request = channel.request
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": request.version,
        "method": request.method,
        "scheme": "https" if channel.is_encrypted else "http",
        "path": request.path,
        "raw_path": request.path.encode("ascii"),
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers),
        "client": channel.client,
        "server": channel.server,
        "state": {},
        **(more or {}),
    }
    bridge = _Bridge(channel)
    await application(scope, bridge.receive, bridge.send)


class _Bridge:
    """The two callables of an application."""

    __slots__ = ("_channel", "_is_read")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._is_read = False

    async def receive(self) -> MutableMapping[str, Any]:
        channel = self._channel
        if not self._is_read:
            try:
                body = await channel.read_chunk()
            except ClientGone:
                return {"type": "http.disconnect"}
            self._is_read = channel.request.is_complete and not channel.request.body
            return {"type": "http.request", "body": body, "more_body": not self._is_read}
        while not (channel.has_ended or channel.is_left):
            await channel.hear_news()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._channel.start(message["status"], tuple(message.get("headers", ())))
            return
        await self._channel.write(message.get("body", b""))
        if not message.get("more_body", False):
            self._channel.end()
