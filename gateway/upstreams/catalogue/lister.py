"""Control traffic: ask an upstream for all pinned lists, as raw bytes, in the upstream's era. The stateless protocol is
tried first (`server/discover`), then the handshake, as in the specification (2026-07-28/basic/versioning.mdx, "Backward
Compatibility"). Typed models are not used: a model drops fields.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import structs

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json import strict
from gateway.model.caller import AuthMethod, Principal
from gateway.model.error_codes import HEADER_MISMATCH, METHOD_NOT_FOUND, MISSING_CAPABILITY, UNSUPPORTED_VERSION
from gateway.model.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Disposition, Era, Kind, Message, UpstreamReply, UpstreamRequest, UpstreamTransport
from gateway.upstreams.catalogue.definitions import MAX_KNOWN
from gateway.upstreams.catalogue.pins import INSTRUCTIONS
from gateway.wire.protocol import listing as pages
from gateway.wire.protocol import reserved, sse
from gateway.wire.protocol.headers import encode, value_of
from gateway.wire.protocol.methods import HANDSHAKE_VERSIONS, STATELESS_VERSIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from gateway.model.wire import Headers, Json, JsonObject

CONTROL: Final = Principal(id="opagate", issuer="urn:opagate:gateway", method=AuthMethod.DEVELOPMENT)
"""Who asks, when the gateway itself does. No caller can be this: no issuer of that name can be configured."""

STATELESS: Final = STATELESS_VERSIONS[-1]
HANDSHAKE: Final = HANDSHAKE_VERSIONS[::-1]
"""Newest first: what `initialize` asks for, and what may come back."""

CAPABILITIES: Final[JsonObject] = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}, "context": {}},
    "elicitation": {"form": {}, "url": {}},
    "tasks": {
        "list": {},
        "cancel": {},
        "requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}},
    },
    "extensions": {
        "io.modelcontextprotocol/tasks": {},
        "io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]},
    },
}
"""All that a client can do: servers list some tools, or parts of their definitions, only to one that can make use of
them, and what is pinned must be what any client may be shown."""

_CLIENT: Final[JsonObject] = {"name": "opagate", "version": "1"}
_META: Final = "io.modelcontextprotocol/"
_LISTS: Final = ("tools", "prompts", "resources")
_STATELESS_ERRORS: Final = frozenset({HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION})
"""Errors that only a server of the stateless era gives (2026-07-28 streamable-http.mdx, "Backward Compatibility")."""
_ANSWERS: Final[Mapping[str, JsonObject]] = {"ping": {}, "roots/list": {"roots": []}}
_NO_ANSWER: Final[JsonObject] = {"code": METHOD_NOT_FOUND, "message": "the gateway only lists what there is"}
_FAREWELL_SECONDS: Final = 2.0
_JSON: Final = ((b"content-type", b"application/json"),)
_ACCEPT: Final[Headers] = ((b"accept", b"application/json, text/event-stream"),)


@dataclass(frozen=True, slots=True)
class ListingBounds:
    """Bounds of a listing, for all its pages together, in seconds and bytes.

    After `probe` without an answer to `server/discover` the handshake is tried beside it, since servers of the handshake
    era may leave it unanswered. `prompts` bounds the list of prompts; tools do not wait for prompts.
    """

    seconds: float = 20.0
    probe: float = 5.0
    prompts: float = 5.0
    bytes: int = 16 * 2**20
    pages: int = 200
    items: int = MAX_KNOWN


@dataclass(frozen=True, slots=True)
class PinnedResources:
    """The resources with pinned contents: `includes` judges a URI, and `known` have a pin already."""

    includes: Callable[[str], bool]
    known: tuple[str, ...] = ()


_MAX_RESOURCES: Final = 64
"""Pinned resources that one listing reads. Others are compared when a caller reads them."""


def describe_contents(uri: str, contents: Json) -> bytes:
    """Return the definition of a resource that instructs the model: its URI and its contents."""
    return msgspec.json.encode({"name": uri, "contents": contents})


@dataclass(frozen=True, slots=True)
class Inventory:
    """The lists of an upstream, each definition as its bytes. `unlisted` is the reason for missing prompts. `resources` are
    the contents of pinned resources, `None` if they could not be read. `announces`
    names the sorts of lists with announced changes."""

    tools: tuple[bytes, ...]
    prompts: tuple[bytes, ...]
    instructions: tuple[bytes, ...]
    resources: tuple[bytes, ...] | None
    revision: str
    unlisted: str | None = None
    announces: frozenset[str] = frozenset()


async def inventory(
    upstream: str,
    transport: UpstreamTransport,
    bounds: ListingBounds | None = None,
    worker: WorkerThread | None = None,
    pinned: PinnedResources | None = None,
    *,
    known: str | None = None,
) -> Inventory:
    """Ask the upstream called `upstream` for its lists; the `worker` reads long answers. `known` is the revision of its
    latest listing: a server of the stateless era is not asked in another way. Raises `UpstreamError`."""
    bounds = bounds or ListingBounds()
    try:
        async with asyncio.timeout(bounds.seconds):
            deadline = asyncio.get_running_loop().time() + bounds.seconds
            conversation = _Conversation(upstream, transport, bounds, worker or WorkerThread(), deadline, pinned)
            return await _ask_in_its_era(conversation, is_known=known == STATELESS)
    except TimeoutError:
        raise UpstreamTimeout(
            f"upstream {upstream} did not list its tools within {bounds.seconds:g} s", "check the upstream"
        ) from None


# --- the eras --------------------------------------------------------------------------------------


async def _ask_in_its_era(conversation: _Conversation, *, is_known: bool) -> Inventory:
    """Return the inventory of a server. Its answers tell the era, and its speed does not: a slow server is asked in both
    ways, unless its era is known."""
    discovering = asyncio.ensure_future(_discover(conversation))
    greeting: asyncio.Future[_ListAnswer] | None = None
    try:
        await asyncio.wait((discovering,), timeout=None if is_known else conversation.bounds.probe)
        if not discovering.done():
            greeting = asyncio.ensure_future(_initialize(conversation))
            await asyncio.wait((discovering, greeting), return_when=asyncio.FIRST_COMPLETED)
            if not discovering.done() and _is_greeted(greeting):
                return await _take_inventory_of_session(conversation, greeting.result())
        found = await discovering
        if found is None:
            return await _take_inventory_of_session(conversation, await (greeting or _initialize(conversation)))
        conversation.era, conversation.revision = Era.STATELESS, STATELESS
        return await _take_inventory(conversation, found, STATELESS)
    finally:
        asked = [discovering] if greeting is None else [discovering, greeting]
        for question in asked:
            question.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def _is_greeted(greeting: asyncio.Future[_ListAnswer]) -> bool:
    """Return whether a server has answered the handshake. A failure may be that of a slow server of the stateless era."""
    return greeting.exception() is None


async def _discover(conversation: _Conversation) -> _ListAnswer | None:
    """Return the greeting of a server of the stateless era; `None` for any other server."""
    try:
        answer = await conversation.ask("server/discover", {})
    except UpstreamUnreachable:
        raise
    except UpstreamError:
        return None
    if answer.status in (401, 403):
        raise conversation.broken(f"refuses the gateway (HTTP {answer.status})", "check its credential")
    if (code := answer.code) in _STATELESS_ERRORS:
        if code != UNSUPPORTED_VERSION:
            raise conversation.broken(f"refuses server/discover (error {code})")
        versions = _strings(_member(_member(answer.document, "error"), "data"), "supported")
    elif answer.status == 200 and answer.result is not None and "supportedVersions" in answer.result:
        versions = _strings(answer.result, "supportedVersions")
    else:
        return None
    if STATELESS not in versions or code == UNSUPPORTED_VERSION:
        if not versions.isdisjoint(HANDSHAKE):
            return None
        raise conversation.broken("speaks no protocol revision that this gateway speaks")
    return answer


async def _initialize(conversation: _Conversation) -> _ListAnswer:
    """Return the greeting of a server of the handshake era."""
    conversation.era, conversation.revision = Era.HANDSHAKE, None
    answer = await conversation.ask(
        "initialize", {"protocolVersion": HANDSHAKE[0], "capabilities": CAPABILITIES, "clientInfo": _CLIENT}
    )
    if answer.status != 200 or answer.result is None:
        raise conversation.broken(
            f"answers neither server/discover nor initialize (HTTP {answer.status})", "check its url and credential"
        )
    return answer


async def _take_inventory_of_session(conversation: _Conversation, greeting: _ListAnswer) -> Inventory:
    revision = (greeting.result or {}).get("protocolVersion")
    if revision not in HANDSHAKE:
        raise conversation.broken("speaks no protocol revision that this gateway speaks")
    conversation.revision = str(revision)
    conversation.session = greeting.session
    try:
        await conversation.tell("notifications/initialized")
        return await _take_inventory(conversation, greeting, conversation.revision)
    finally:
        await conversation.end()


async def _take_inventory(conversation: _Conversation, greeting: _ListAnswer, revision: str) -> Inventory:
    """Return the instructions and lists of a greeted server."""
    result = greeting.result or {}
    said = result.get(INSTRUCTIONS)
    instructions = () if said is None else (json.dumps(said).encode(),)
    offered = _member(result, "capabilities")
    tools = await _pages(conversation, "tool") if offered.get("tools") is not None else ()
    prompts, unlisted = await _prompts(conversation) if offered.get("prompts") is not None else ((), None)
    announces = frozenset(sort for sort in _LISTS if _member(offered, sort).get("listChanged") is True)
    pinned = conversation.pinned if offered.get("resources") is not None else None
    resources = () if pinned is None else await _resources(conversation, pinned)
    return Inventory(tools, prompts, instructions, resources, revision, unlisted, announces)


async def _resources(conversation: _Conversation, pinned: PinnedResources) -> tuple[bytes, ...] | None:
    """Return the pinned resources with their contents; `None` if the server did not give them in time."""
    latest = asyncio.get_running_loop().time() + conversation.bounds.prompts
    try:
        async with asyncio.timeout_at(min(latest, conversation.deadline - _FAREWELL_SECONDS)):
            listed = await _pages(conversation, "resource")
            named = (str(msgspec.json.decode(item, type=dict[str, Any]).get("uri", "")) for item in listed)
            wanted = dict.fromkeys((*pinned.known, *filter(pinned.includes, named)))
            read = [await _read_resource(conversation, uri) for uri in tuple(wanted)[:_MAX_RESOURCES]]
    except (TimeoutError, UpstreamError):
        return None
    return tuple(item for item in read if item is not None)


async def _read_resource(conversation: _Conversation, uri: str) -> bytes | None:
    """Return the definition of a resource; `None` for a resource that the server does not give to the gateway."""
    answer = await conversation.ask("resources/read", {"uri": uri}, name=uri)
    if answer.status != 200 or answer.result is None or "contents" not in answer.result:
        return None
    return describe_contents(uri, answer.result["contents"])


async def _prompts(conversation: _Conversation) -> tuple[tuple[bytes, ...], str | None]:
    """Return all prompts, or the reason for missing prompts. There is time left to part from the server in any case."""
    latest = asyncio.get_running_loop().time() + conversation.bounds.prompts
    try:
        async with asyncio.timeout_at(min(latest, conversation.deadline - _FAREWELL_SECONDS)):
            return await _pages(conversation, "prompt"), None
    except TimeoutError:
        return (), f"upstream {conversation.upstream} did not list its prompts in time"
    except UpstreamError as error:
        return (), error.message


async def _pages(conversation: _Conversation, kind: Literal["tool", "prompt", "resource"]) -> tuple[bytes, ...]:
    items: list[bytes] = []
    cursor: str | None = None
    cursors: set[str] = set()
    for _ in range(conversation.bounds.pages):
        answer = await conversation.ask(f"{kind}s/list", {} if cursor is None else {"cursor": cursor})
        if answer.code == METHOD_NOT_FOUND and not items:
            return ()
        reading = partial(pages.read_list, answer.body, f"{kind}s/list", answer.id)
        page = await conversation.worker.run(len(answer.body), reading)
        if page is None or answer.status != 200 or answer.code is not None:
            raise conversation.broken(f"gave no {kind} list that can be read (HTTP {answer.status})")
        items += [item.raw for item in page.items]
        if len(items) > conversation.bounds.items:
            raise conversation.broken(f"has more than {conversation.bounds.items} {kind}s")
        cursor = page.cursor
        if cursor is None:
            return tuple(items)
        if cursor in cursors:
            raise conversation.broken(f"gives the same page of its {kind} list again and again")
        cursors.add(cursor)
    raise conversation.broken(f"has a {kind} list of more than {conversation.bounds.pages} pages")


# --- one exchange ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ListAnswer:
    status: int
    id: int
    body: bytes
    document: JsonObject = field(default_factory=dict[str, "Json"])
    session: str | None = None

    @property
    def result(self) -> JsonObject | None:
        result = self.document.get("result")
        return result if isinstance(result, dict) else None

    @property
    def code(self) -> int | None:
        code = _member(self.document, "error").get("code")
        return code if isinstance(code, int) else None


@dataclass(slots=True)
class _Conversation:
    """The requests of a listing."""

    upstream: str
    transport: UpstreamTransport
    bounds: ListingBounds
    worker: WorkerThread
    deadline: float
    pinned: PinnedResources | None = None
    era: Era = Era.STATELESS
    revision: str | None = STATELESS
    session: str | None = None
    received: int = 0
    asked: int = 0

    def broken(self, problem: str, remedy: str = "check the upstream") -> UpstreamBroken:
        return UpstreamBroken(f"upstream {self.upstream} {problem}", remedy)

    async def ask(self, method: str, params: JsonObject, name: str | None = None) -> _ListAnswer:
        """Send a request and read its answer: a JSON object or an event stream."""
        self.asked += 1
        body = {"jsonrpc": "2.0", "id": self.asked, "method": method, "params": self._params(params)}
        request = self._request(Kind.REQUEST, method, body, self.asked)
        if name is not None and self.era is Era.STATELESS:
            request = structs.replace(request, headers=(*request.headers, (b"mcp-name", encode(name))))
        reply = await self.transport.send(request)
        try:
            text = await self._text(reply, self.asked)
            # Clients are shown lists without these too, and what is pinned must be what they are shown.
            text, _ = await self.worker.run(len(text), partial(reserved.without_reserved, text))
        finally:
            await reply.close()
        document = await self.worker.run(len(text), partial(strict.read_reply, text))
        return _ListAnswer(
            reply.status,
            self.asked,
            text,
            {} if isinstance(document, strict.UnreadableJson) else document,
            value_of(reply.headers, b"mcp-session-id"),
        )

    async def tell(self, method: str) -> None:
        await self._deliver(self._request(Kind.NOTIFICATION, method, {"jsonrpc": "2.0", "method": method}))

    async def _reply(self, question: JsonObject) -> None:
        """Answer a server's question before its list. A server without a reader for the answer may list all the
        same."""
        if self.era is Era.STATELESS or question.get("id") is None:
            return
        answer = _ANSWERS.get(str(question["method"]))
        body: JsonObject = {"error": _NO_ANSWER} if answer is None else {"result": answer}
        with suppress(UpstreamError):
            await self._deliver(self._request(Kind.RESPONSE, None, {"jsonrpc": "2.0", "id": question["id"], **body}))

    async def _deliver(self, request: UpstreamRequest) -> None:
        reply = await self.transport.send(request)
        await reply.close()

    async def end(self) -> None:
        """End a session of the handshake era. A server may refuse (405), or be gone: either is fine."""
        if self.session is None:
            return
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                reply = await self.transport.send(
                    UpstreamRequest("DELETE", self._headers(None), CONTROL, session=self.session)
                )
                await reply.close()
        except (UpstreamError, TimeoutError):
            return

    def _params(self, params: JsonObject) -> JsonObject:
        if self.era is Era.HANDSHAKE:
            return params
        meta: JsonObject = {
            f"{_META}protocolVersion": STATELESS,
            f"{_META}clientInfo": _CLIENT,
            f"{_META}clientCapabilities": CAPABILITIES,
        }
        return {**params, "_meta": meta}

    def _request(
        self,
        kind: Kind,
        method: str | None,
        body: JsonObject,
        id: int | None = None,  # noqa: A002 - the field's own name
    ) -> UpstreamRequest:
        params = body.get("params")
        message = Message(
            kind=kind,
            era=self.era,
            disposition=Disposition.PASS,
            body=json.dumps(body, separators=(",", ":")).encode(),
            method=method,
            id=id,
            params=params if isinstance(params, dict) else {},
            client_name="opagate",
        )
        return UpstreamRequest("POST", (*_JSON, *self._headers(method)), CONTROL, message, self.session)

    def _headers(self, method: str | None) -> Headers:
        headers = _ACCEPT
        if self.revision is not None:
            headers = (*headers, (b"mcp-protocol-version", self.revision.encode()))
        if method is not None and self.era is Era.STATELESS:
            headers = (*headers, (b"mcp-method", method.encode()))
        return headers

    async def _text(self, reply: UpstreamReply, id: int) -> bytes:  # noqa: A002 - as above
        kind = (value_of(reply.headers, b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            return b"".join([chunk async for chunk in self._read_bounded(reply)])
        splitter = sse.Splitter(self.bounds.bytes)
        async with aclosing(self._read_bounded(reply)) as chunks:
            async for chunk in chunks:
                for event in splitter.feed(chunk):
                    data = event.data
                    if data is None:
                        continue
                    document = await self.worker.run(len(data), partial(strict.read_reply, data))
                    if isinstance(document, strict.UnreadableJson):
                        continue
                    if "method" in document:
                        await self._reply(document)
                    elif document.get("id") == id:
                        return data
        return b""

    async def _read_bounded(self, reply: UpstreamReply) -> AsyncGenerator[bytes]:
        async for chunk in reply.chunks:
            self.received += len(chunk)
            if self.received > self.bounds.bytes:
                raise self.broken(f"has lists of more than {self.bounds.bytes} bytes")
            yield chunk


def _member(document: JsonObject, name: str) -> JsonObject:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _strings(document: JsonObject, name: str) -> frozenset[str]:
    values = document.get(name)
    return frozenset(value for value in values if isinstance(value, str)) if isinstance(values, list) else frozenset()
