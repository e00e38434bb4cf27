"""The HTTP edge: MCP endpoints, the pages beside them, and the refusals for which HTTP alone is enough.

Before anything is parsed or anyone is asked, the edge refuses:

- a wrong `Host` or `Origin` (DNS rebinding; MCP 2026-07-28 streamable HTTP, "Security & Endpoint");
- a request of another web site without an `Origin` (W3C Fetch Metadata, section 2.1);
- a method that MCP does not have;
- a body that is no JSON, is compressed, or is too large;
- more requests at once than configured.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, Final, cast
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.config import Configuration, Limits
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.wire import Headers
from gateway.wire.http.delivery import Channel, ClientGone, Delivery
from gateway.wire.http.exchange import Answer, Exchange, Stream
from gateway.wire.protocol.headers import group_headers

# --- applications of ASGI --------------------------------------------------------------------------------


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


# --- the edge --------------------------------------------------------------------------------------------


_JUDGED: Final = (b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-encoding")
"""The headers that are looked at here."""
_REMEMBERED: Final = 64
"""Sets of them whose judgement is remembered: clients send the same ones again and again. Strangers may fill it, with
heads of 64 KiB each at most."""

BODY_SECONDS: Final = 30.0
"""How long a client may take to send a request's body: a slow one must not hold a place for ever."""

_LENGTH_DIGITS: Final = 19
"""Digits of the longest body that anybody could send."""


class RefusedClient(Struct, frozen=True):
    """A refused client, as far as HTTP tells."""

    ip: str | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Handlers:
    """The callables of the edge.

    `mcp` answers requests to `/mcp` and below it, and the ASGI application `pages` all others. Its scope has the raw path, the
    `Exchange` as `opagate.exchange`, and as `opagate.own_host` whether the `Host` names this gateway or is an IP address.

    `probes` are the pages for the kubelet and Prometheus, which ask at an address that the configuration does not name. A
    browser may have been led there under a name of another site (DNS rebinding). True: the page has a short answer for
    it. False: the edge refuses.

    `refuse` records and renders a refusal from before a message is known.
    """

    mcp: Callable[[Exchange], Awaitable[Answer | Stream]]
    pages: Application
    probes: Mapping[str, bool]
    refuse: Callable[[Refusal, RefusedClient], Awaitable[Answer]]


class Edge:
    """The handler of all requests."""

    def __init__(self, configuration: Configuration, handlers: Handlers) -> None:
        self._handlers = handlers
        self._delivery = Delivery(configuration.limits)
        self.adopt_limits(configuration.limits)
        self._base_url = configuration.base_url
        self._hosts = allowed_hosts(configuration)
        self._origins = allowed_origins(configuration)
        self._foreign = lru_cache(_REMEMBERED)(self._is_foreign)
        self._judge = lru_cache(_REMEMBERED)(self._judge_mcp)

    def adopt_limits(self, limits: Limits) -> None:
        """Take these limits for requests to come."""
        self._delivery.adopt_limits(limits)
        self._request_bytes = limits.request_bytes
        self._in_flight_limit = limits.in_flight

    @property
    def in_flight(self) -> int:
        """Requests to MCP endpoints in progress, without streams that wait for news."""
        return self._delivery.in_flight

    @property
    def streams(self) -> int:
        """Open streams that wait for news."""
        return self._delivery.streams

    async def ended(self, within: float) -> None:
        """Wait until all work has ended, or `within` seconds have passed."""
        await self._delivery.ended(within)

    def announce_changed_lists(self) -> None:
        """Tell listening clients that their lists may have changed."""
        self._delivery.announce_changed_lists()

    def drain(self) -> None:
        """End the streams that wait for news rather than for a call's result. Calls go on to their end."""
        self._delivery.drain()

    def __call__(self, channel: Channel) -> Coroutine[Any, Any, None]:
        """Return the work for a request. It is no coroutine itself: the work of a call is resumed several times, and
        then enters each coroutine above it again."""
        request = channel.request
        # The path as it stands: to whoever routes before the gateway, `/mcp%2Ffiles` is not below `/mcp/`.
        if request.path != "/mcp" and not request.path.startswith("/mcp/"):
            return self._serve_page(channel)
        exchange = self._exchange(channel)
        first, last = self._judge(request.method, *map(exchange.fields.get, _JUDGED))
        if first is not None:
            return self._refuse(channel, first)
        if last is not None:
            return self._refuse_unless_full(channel, last)
        return self._delivery.converse(exchange, self._handlers.mcp, channel, refuse_full=self._refuse_full)

    async def _refuse_full(self, channel: Channel) -> None:
        await self._refuse(channel, _FULL)

    async def _refuse_unless_full(self, channel: Channel, refusal: Refusal) -> None:
        await self._refuse(channel, _FULL if self._delivery.in_flight >= self._in_flight_limit else refusal)

    async def _refuse(self, channel: Channel, refusal: Refusal) -> None:
        """Answer with a refusal of the edge."""
        answer = await self._handlers.refuse(refusal, RefusedClient(channel.client_ip, channel.request.headers))
        allowed = _MCP_METHODS if refusal is _NO_METHOD_OF_MCP else ()
        await channel.respond(answer.status, (*answer.headers, *allowed), answer.body)

    async def _serve_page(self, channel: Channel) -> None:
        """Have the pages answer, unless the edge refuses."""
        request = channel.request
        path = request.path
        judged = tuple([field for field in request.headers if field[0] in _JUDGED])
        short, for_callers = self._handlers.probes.get(path), path == "/tasks" or path.startswith("/tasks/")
        own_host = short is None or self._is_own_host(judged, request.version)
        if short is not None:
            refusal = self._foreign_origin(judged) or (None if own_host or short else _OTHER_HOST)
        else:
            refusal = self._foreign(judged)
            if for_callers and refusal is None:
                refusal = self._unserved_caller(request.method, path, judged)
        if refusal is not None:
            await self._refuse(channel, refusal)
            return
        exchange = self._exchange(channel)

        async def show(_exchange: Exchange) -> None:
            more = {"opagate.exchange": exchange, "opagate.own_host": own_host}
            await run_application(self._handlers.pages, channel, more)

        await self._delivery.converse(exchange, show, channel, counted=for_callers)

    def _is_foreign(self, headers: Headers) -> Refusal | None:
        hosts = values(headers, b"host")
        return _OTHER_HOST if len(hosts) != 1 or hosts[0] not in self._hosts else self._foreign_origin(headers)

    def _foreign_origin(self, headers: Headers) -> Refusal | None:
        origins = values(headers, b"origin")
        return _FOREIGN_PAGE if len(origins) > 1 or (origins and origins[0] not in self._origins) else None

    def _is_own_host(self, headers: Headers, version: str) -> bool:
        """Return whether no name of another site can have led a browser here."""
        hosts = values(headers, b"host")
        # A browser always sends a Host; in HTTP/1.0 it may be left out (RFC 9112 section 3.2).
        return (len(hosts) == 1 and (hosts[0] in self._hosts or _is_address(hosts[0]))) or (
            not hosts and version == "1.0"
        )

    def _exchange(self, channel: Channel) -> Exchange:
        request = channel.request
        path = request.path
        return Exchange(
            method=request.method,
            upstream=path.removeprefix("/mcp/").removesuffix("/") if path.startswith("/mcp/") else "",
            url=f"{self._base_url}{path}",
            headers=request.headers,
            fields=group_headers(request.headers),
            client_ip=channel.client_ip,
            certificates=channel.certificates,
            path=path,
            body=partial(read_body, channel, self._request_bytes),
            become_stream=self._delivery.become_stream,
            welcome=channel.welcome,
        )

    def _judge_mcp(self, method: str, *found: tuple[bytes, ...] | None) -> tuple[Refusal | None, Refusal | None]:
        """Return the refusals of a request to MCP for which HTTP alone is enough: before and after the look for a free place.
        `found` are the values of each header in `_JUDGED`."""
        headers = tuple([(name, value) for name, values in zip(_JUDGED, found, strict=True) for value in values or ()])
        first = self._is_foreign(headers)
        if first is None and _is_cross_site(headers):
            first = _FOREIGN_PAGE
        if first is None and method not in {"POST", "GET", "DELETE"}:
            first = _NO_METHOD_OF_MCP
        return first, _unreadable(headers) if method == "POST" else None

    def _unserved_caller(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Return the refusal of a request to a page for known callers. Anybody may follow a link to other pages."""
        if _is_cross_site(headers):
            return _FOREIGN_PAGE
        # Only a task that is opened has a body.
        if self._delivery.in_flight >= self._in_flight_limit:
            return _FULL
        return _unreadable(headers) if method == "POST" and path == "/tasks" else None


def _is_cross_site(headers: Headers) -> bool:
    """Return whether a browser sends the request for a page of another site without naming the `Origin`.

    A browser leaves `Origin` out of a GET whose answer the page does not read. Other programs send no `Sec-Fetch-Site`.
    """
    sites = values(headers, b"sec-fetch-site")
    return bool(sites) and not _OWN_SITES.issuperset(sites) and not values(headers, b"origin")


_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""A page of the gateway itself, and a person who typed the address."""


@lru_cache(_REMEMBERED)
def _unreadable(headers: Headers) -> Refusal | None:
    types = values(headers, b"content-type")
    if len(types) != 1 or not _is_plain_json(types[0]):
        return reasons.REQUEST_CONTENT_TYPE.refusal()
    if values(headers, b"content-encoding") not in {(), ("identity",)}:
        return reasons.REQUEST_COMPRESSED.refusal()
    return None


async def read_body(channel: Channel, limit: int) -> bytes | Refusal:
    """Return the whole body, of at most `limit` bytes, or the refusal to read it. Raises `ClientGone`."""
    request = channel.request
    if request.is_complete:
        body = channel.take()
        return body if len(body) <= limit else _too_large(limit)
    declared = next((value for name, value in channel.request.headers if name == b"content-length"), b"0").lstrip(b"0")
    # Zeros before a number are legal, and as many as a header has room for; a number of so many digits Python refuses.
    if len(declared) > _LENGTH_DIGITS or int(declared or b"0") > limit:
        return _too_large(limit)
    reader = _ReadingTask(cast("asyncio.Task[Any]", asyncio.current_task()))
    # Not `asyncio.timeout`, which costs several times as much.
    timer = asyncio.get_running_loop().call_later(BODY_SECONDS, reader.stop)
    try:
        return await _read(channel, limit)
    except asyncio.CancelledError:
        if not reader.stopped or reader.task.uncancel() > 0:
            raise
        return reasons.REQUEST_SLOW.refusal()
    finally:
        timer.cancel()


class _ReadingTask:
    """A reading task with a way to stop it."""

    __slots__ = ("stopped", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self.task.cancel()


async def _read(channel: Channel, limit: int) -> bytes | Refusal:
    chunks: list[bytes] = []
    size = 0
    while chunk := await channel.read_chunk():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return _too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refusal:
    return reasons.REQUEST_TOO_LARGE.refusal(limit=limit)


def values(headers: Headers, name: bytes) -> tuple[str, ...]:
    """Return all values of one header, in lower case."""
    return tuple([value.decode("latin-1").strip().lower() for key, value in headers if key == name])


def _is_address(host: str) -> bool:
    """Return whether a `Host` is an IP address, with or without a port. It then was no name that somebody could have led here."""
    literal = _HOST.fullmatch(host)
    if literal is None:
        return False
    try:
        return ip_address(literal["v6"] or literal["v4"]).version == (6 if literal["v6"] else 4)
    except ValueError:
        return False


_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?")


def _is_plain_json(content_type: str) -> bool:
    """Return whether a body of this type is JSON in UTF-8. In another character encoding the same bytes are another text."""
    essence, _, parameters = content_type.partition(";")
    return essence.strip() == "application/json" and ("charset" not in parameters or bool(_UTF_8.fullmatch(parameters)))


_UTF_8: Final = re.compile(r'\s*charset=(?:utf-?8|"utf-?8")\s*;?\s*')


def allowed_hosts(configuration: Configuration) -> frozenset[str]:
    """Return the `Host` values of this gateway: its public address, its listening address, and the configured names."""
    public = urlsplit(configuration.base_url).netloc.lower()
    hosts = {public, configuration.listen.lower(), *(host.lower() for host in configuration.allowed_hosts)}
    if configuration.loopback:
        hosts |= {f"{name}:{configuration.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    return frozenset(hosts)


def allowed_origins(configuration: Configuration) -> frozenset[str]:
    """Return the `Origin` values of pages that may call this gateway: its own, and the configured ones."""
    own = {f"{scheme}://{host}" for host in allowed_hosts(configuration) for scheme in ("http", "https")}
    return frozenset(own | {origin.lower() for origin in configuration.allowed_origins})


_FULL: Final = reasons.LIMIT_IN_FLIGHT.refusal()
_MCP_METHODS: Final[Headers] = ((b"allow", b"DELETE, GET, POST"),)
_NO_METHOD_OF_MCP: Final = reasons.REQUEST_HTTP_METHOD.refusal()
_OTHER_HOST: Final = reasons.REQUEST_HOST.refusal()
_FOREIGN_PAGE: Final = reasons.REQUEST_ORIGIN.refusal()
