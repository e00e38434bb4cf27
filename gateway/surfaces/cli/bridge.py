"""The bridge from a client's standard input and output to the gateway's streamable HTTP (`opagate connect stdio`).

The gateway decides on each message. The bridge adds the headers of a message, its session and its token, and answers a request
itself only where the gateway does not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from gateway.model.error_codes import INTERNAL_ERROR
from gateway.model.wire import Headers, Kind, RequestId
from gateway.upstreams.stdio.wire import MAX_LINE, Inbound, error, one_line, read_line
from gateway.wire.http.client import Client, Response
from gateway.wire.http.dial import Address, ExchangeError, Unconnected
from gateway.wire.protocol import sse
from gateway.wire.protocol.headers import METHOD, NAME, SESSION, VERSION, encode, read_response_head, value_of
from gateway.wire.protocol.methods import STATELESS_VERSIONS, TABLE

_CONNECT_SECONDS: Final = 5.0
_LONGEST_CALL: Final = 86_400.0
"""Seconds for the head of an answer. The gateway has its own limits; a client that waits no longer cancels."""
_LAST_ANSWERS: Final = 5.0
"""Seconds for open requests after the client has closed its output."""
_PAUSE: Final = 1.0
"""Seconds between two attempts to open a stream again."""
_ATTEMPTS: Final = 5
"""Attempts in a row to take up an answer again."""
_VERSION_IN_META: Final = "io.modelcontextprotocol/protocolVersion"
_ACCEPT: Final = (b"accept", b"application/json, text/event-stream")
_JSON: Final = (b"content-type", b"application/json")

Write = Callable[[bytes], Awaitable[None]]


class Failed(Exception):
    """A request without an answer of the gateway. The text is for the client's user."""


class Bridge:
    """The bridge of one client. `token` gives a valid token, or another one than before. `write` sends a line to the client."""

    def __init__(
        self, address: Address, token: Callable[[bool], str], write: Write, complain: Callable[[str], None]
    ) -> None:
        self._client = Client(address, connect=_CONNECT_SECONDS)
        self._place = f"{address.authority.decode()}{address.target.decode()}"
        self._token = token
        self._write = write
        self._complain = complain
        self._open: dict[RequestId, asyncio.Task[None]] = {}
        self._stateless: set[RequestId] = set()
        self._greeting: tuple[bytes, RequestId] | None = None
        self._session: bytes | None = None
        self._version: bytes | None = None
        self._renewing = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None

    async def take(self, line: bytes) -> None:
        """Carry a line of the client to the gateway. The answer to a request is written when it comes."""
        message = read_line(line)
        if message is None:
            await self._tell(line, Inbound(Kind.NOTIFICATION, line))
        elif message.kind is Kind.REQUEST and message.id is not None:
            asking = asyncio.ensure_future(self._ask(line, message, message.id))
            self._open[message.id] = asking
            asking.add_done_callback(lambda _done, id_=message.id: self._forget(id_, asking))
            if message.method == "initialize":
                # What follows belongs to the session that this one opens.
                await asyncio.wait([asking])
        elif message.about in self._stateless:
            # Over HTTP, a stateless request is cancelled by the end of its connection.
            self._open[message.about].cancel()
        else:
            await self._tell(line, message)
            if message.method == "notifications/initialized":
                self._listen()

    async def aclose(self) -> None:
        """Wait a moment for open answers, and end the session."""
        if self._open:
            await asyncio.wait(self._open.values(), timeout=_LAST_ANSWERS)
        for task in (*self._open.values(), *([] if self._listening is None else [self._listening])):
            task.cancel()
        if self._session is not None:
            with suppress(ExchangeError, TimeoutError):
                (await self._send(b"DELETE", None, (), within=_CONNECT_SECONDS)).close()
        await self._client.aclose()

    def _forget(self, id_: RequestId, asking: asyncio.Task[None]) -> None:
        if self._open.get(id_) is asking:
            del self._open[id_]
            self._stateless.discard(id_)

    # --- messages of the client ------------------------------------------------------------------------

    async def _tell(self, line: bytes, message: Inbound) -> None:
        """Send a notification, an answer, or a line that only the gateway can judge."""
        try:
            response = await self._post(line, message)
            body = await _read_whole(response)
        except (Failed, ExchangeError) as failure:
            self._complain(self._describe(failure))
            return
        if response.status >= 400:
            self._complain(_text_of(body) or f"the gateway answered with status {response.status}")
        if read_line(body) is not None:
            await self._write(one_line(body))

    async def _ask(self, line: bytes, message: Inbound, id_: RequestId) -> None:
        """Send a request, and write its answer, whatever happens."""
        try:
            response = await self._post(line, message)
            if message.method == "initialize":
                await self._open_session(line, id_, response)
            else:
                await self._deliver(response, id_)
        except (Failed, ExchangeError) as failure:
            text = self._describe(failure)
            self._complain(text)
            await self._write(error(id_, INTERNAL_ERROR, text))

    def _describe(self, failure: Failed | ExchangeError) -> str:
        if isinstance(failure, Failed):
            return str(failure)
        if isinstance(failure, Unconnected):
            return f"no opagate gateway answers at {self._place}; start it with `opagate up`"
        return f"the connection to the gateway broke ({failure}); whether the call was carried out is not known"

    async def _post(self, line: bytes, message: Inbound) -> Response:
        """Send a message. The gateway refuses an unknown session before it reads on, so such a message is sent again."""
        headers = (*self._headers_of(line, message), _JSON)
        session = self._session
        response = await self._send(b"POST", line, headers)
        if response.status == 404 and session is not None and message.method != "initialize":
            response.close()
            await self._renew(session)
            headers = (*self._headers_of(line, message), _JSON)
            response = await self._send(b"POST", line, headers)
        return response

    async def _send(
        self, method: bytes, body: bytes | None, headers: Headers, *, within: float = _LONGEST_CALL
    ) -> Response:
        for is_anew in (False, True):
            token = (b"authorization", b"Bearer " + self._token(is_anew).encode())
            session = () if self._session is None else ((SESSION, self._session),)
            response = await self._client.request(method, (*headers, token, *session, _ACCEPT), body, within=within)
            if response.status != 401 or is_anew:
                break
            response.close()
        return response

    def _headers_of(self, line: bytes, message: Inbound) -> Headers:
        """Return the headers that repeat parts of a message, in its era."""
        params = _member(_read_object(line), "params") if message.method is not None else {}
        version = _member(params, "_meta").get(_VERSION_IN_META)
        if not isinstance(version, str):
            is_in_session = self._version is not None and message.method != "initialize"
            return ((VERSION, cast("bytes", self._version)),) if is_in_session else ()
        if message.id is not None and message.kind is Kind.REQUEST and version in STATELESS_VERSIONS:
            self._stateless.add(message.id)
        method = message.method or ""
        row = TABLE.get(method)
        name = params.get(row.named_by) if row is not None and row.named_by is not None else None
        named = ((NAME, encode(name)),) if isinstance(name, str) else ()
        return ((VERSION, encode(version)), (METHOD, encode(method)), *named)

    # --- answers ---------------------------------------------------------------------------------------

    async def _deliver(self, response: Response, id_: RequestId) -> None:
        """Write the answer to a request, and the messages before it. Raises `Failed` without an answer."""
        for attempt in range(_ATTEMPTS):
            is_answered, last = await self._pass_on(response, id_)
            if is_answered:
                return
            if last is None:
                break
            # The gateway may end a connection before the answer: the client takes it up again.
            await asyncio.sleep(_PAUSE if attempt else 0)
            response = await self._send(b"GET", None, ((b"last-event-id", last), *self._in_version()))
        raise Failed("the gateway ended its answer early; whether the call was carried out is not known")

    async def _pass_on(self, response: Response, id_: RequestId | None) -> tuple[bool, bytes | None]:
        """Write the messages of an answer. Returns whether the answer to the request was among them, and the last event's id."""
        if not read_response_head(response.headers).is_events:
            body = await _read_whole(response)
            if id_ is not None:
                await self._write(_as_answer(body, id_, response.status))
            return True, None
        splitter, last, is_answered = sse.Splitter(MAX_LINE), None, False
        try:
            async for chunk in response:
                for event in splitter.feed(chunk):
                    if not event.whole:
                        raise Failed("the gateway sent a message of more than 64 MiB")
                    last = event.id or last
                    if event.data:
                        is_answered = _answers(event.data, id_) or is_answered
                        await self._write(one_line(sse.on_one_reading(event.data)))
        except ExchangeError:
            if last is None and not is_answered:
                raise
        finally:
            response.close()
        return is_answered, last

    # --- the session of the older protocol -------------------------------------------------------------

    async def _open_session(self, line: bytes, id_: RequestId, response: Response) -> None:
        """Write the answer to `initialize`, and keep its session."""
        answer = await self._greet(response, id_)
        self._greeting = (line, id_)
        await self._write(answer)

    async def _greet(self, response: Response, id_: RequestId) -> bytes:
        """Read the answer to `initialize`. Only one with a result changes the session."""
        session = value_of(response.headers, SESSION)
        body = await _read_whole(response)
        found = sse.data_of(body) if read_response_head(response.headers).is_events else [body]
        answer = next((each for each in found if _answers(each, id_)), b"")
        version = _version_of(answer)
        if version is not None:
            self._session = None if session is None else session.encode("latin-1")
            self._version = version.encode()
        return _as_answer(answer or body, id_, response.status)

    async def _renew(self, stale: bytes) -> None:
        """Open another session in the place of one that the gateway no longer knows. Raises `Failed`."""
        async with self._renewing:
            if self._session != stale or self._greeting is None:
                return
            line, id_ = self._greeting
            self._session = None
            try:
                answer = await self._greet(await self._send(b"POST", line, (_JSON,)), id_)
            except (Failed, ExchangeError):
                self._session = stale
                raise
            if _version_of(answer) is None:
                self._session = stale
                raise Failed(f"the session ended with the gateway, and a new one was refused: {_text_of(answer)}")
            done = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
            (await self._send(b"POST", done, (_JSON, *self._in_version()))).close()
            self._listen()

    def _in_version(self) -> Headers:
        return () if self._version is None else ((VERSION, self._version),)

    def _listen(self) -> None:
        """Open the stream of messages that answer no request."""
        if self._listening is not None:
            self._listening.cancel()
        self._listening = asyncio.ensure_future(self._hear())

    async def _hear(self) -> None:
        """Write messages of the server until the gateway has no such stream, or no such session."""
        last: bytes | None = None
        while True:
            resumed = () if last is None else ((b"last-event-id", last),)
            try:
                response = await self._send(b"GET", None, (*resumed, *self._in_version()))
                if response.status != 200:
                    response.close()
                    return
                last = (await self._pass_on(response, None))[1] or last
            except (ExchangeError, Failed):
                pass
            await asyncio.sleep(_PAUSE)


# --- the bytes of messages -------------------------------------------------------------------------------


async def _read_whole(response: Response) -> bytes:
    """Return the body of an answer. Raises `Failed` for a body of more than one message may have."""
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in response:
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_LINE:
                raise Failed("the gateway sent a message of more than 64 MiB")
    finally:
        response.close()
    return b"".join(parts)


def _answers(data: bytes, id_: RequestId | None) -> bool:
    found = read_line(data)
    return found is not None and found.kind is Kind.RESPONSE and found.id == id_ and type(found.id) is type(id_)


def _as_answer(body: bytes, id_: RequestId, status: int) -> bytes:
    """Return a body as the answer to a request: itself, its error with the id of the request, or an error of the bridge."""
    if _answers(body, id_):
        return one_line(body)
    given = _member(_read_object(body), "error")
    if isinstance(given.get("code"), int) and "message" in given:
        return json.dumps({"jsonrpc": "2.0", "id": id_, "error": given}).encode()
    return error(id_, INTERNAL_ERROR, _text_of(body) or f"the gateway answered with status {status}")


def _text_of(body: bytes) -> str:
    """Return the text of a refusal in an answer."""
    message = _member(_read_object(body), "error").get("message")
    return message if isinstance(message, str) else ""


def _version_of(answer: bytes) -> str | None:
    """Return the protocol version of an answer to `initialize`; `None` for an error."""
    version = _member(_read_object(answer), "result").get("protocolVersion")
    return version if isinstance(version, str) else None


def _member(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object in a document; an empty one for any other value."""
    found = document.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _read_object(data: bytes) -> dict[str, Any]:
    try:
        found: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
