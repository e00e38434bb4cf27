"""A request at the one endpoint, with the ways to a single upstream and to all upstreams of its caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, structs

from gateway.calls.endpoint.answers import (
    JSON,
    Outcome,
    OuterStream,
    WholeAnswer,
    make_result,
    pass_on,
    read_whole,
    show_definitions,
)
from gateway.calls.endpoint.lists import LateAnswers, NoPage, Page, merge_pages, of_era, read_cursor, read_page
from gateway.calls.endpoint.messages import (
    Address,
    Directory,
    Outward,
    OutwardEdits,
    build_edits,
    find_address,
    inner_fields,
    rewrite_message,
    rewrite_params,
)
from gateway.calls.endpoint.names import Owned, resolve_name
from gateway.calls.endpoint.news import NewsStream
from gateway.calls.endpoint.search import (
    CALL,
    SEARCH,
    ListedTool,
    ToolSearch,
    describe_own_tools,
    find_pinned,
    read_question,
    render_found,
    unwrap_call,
)
from gateway.calls.pipeline.admit import refuse_foreign
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.pipeline import Pipeline
from gateway.calls.pipeline.refuse import refuse_failure
from gateway.config import ToolSearchSettings
from gateway.model import reasons
from gateway.model.caller import Principal
from gateway.model.decision import Refusal
from gateway.model.error_codes import UPSTREAM_FAILED
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import Era, Kind, Message, RequestId, UpstreamRequest
from gateway.upstreams.catalogue.catalogue import TargetType
from gateway.upstreams.catalogue.pins import Definition
from gateway.wire.protocol.classify import classify, cursor_of, state_of, tasks_of
from gateway.wire.protocol.headers import HeaderFields
from gateway.wire.protocol.methods import STATELESS_VERSIONS, TABLE
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from gateway.base.concurrency.worker_thread import WorkerThread

Answer: TypeAlias = Reply | OuterStream | NewsStream
Found = TypeVar("Found")
Fields: TypeAlias = Callable[[str], Awaitable[HeaderFields]]
"""Gives the headers of a request for an upstream."""

_NO_SUCH_NAME: Final = reasons.REQUEST_NAME.refusal()
_NO_QUESTION: Final = reasons.REQUEST_PARAMS.refusal(problem="search_tools takes a text as its query")
_NO_CALL: Final = reasons.REQUEST_PARAMS.refusal(problem="call_tool takes a name and an object of arguments")
_LOGIN_ENDED: Final = reasons.IDENTITY_REVOKED.refusal(problem="The login of this request was ended meanwhile.")
_NO_SUCH_CURSOR: Final = reasons.REQUEST_PARAMS.refusal(problem="the cursor is not one of this endpoint")


def refuse_unknown(message: Message | None) -> Refusal:
    """Return the refusal of a message whose names belong to no upstream, or to several."""
    names_handles = message is not None and (tasks_of(message) or state_of(message) is not None)
    return refuse_foreign(message) if message is not None and names_handles else _NO_SUCH_NAME


class EndpointParts(Struct, frozen=True):
    """The parts that all requests at the endpoint share. `edits` are those of each upstream's messages. `server` is what the
    gateway says of itself. `listeners` are the open streams of news of each caller."""

    pipeline: Pipeline
    late: LateAnswers
    edits: dict[str, OutwardEdits]
    server: Mapping[str, str]
    listeners: dict[str, set[NewsStream]]
    search: ToolSearch
    search_settings: Callable[[], ToolSearchSettings | None]

    def find_edits(self, upstream: str) -> OutwardEdits:
        """Return the edits of an upstream's messages, made at the first message."""
        found = self.edits.get(upstream)
        if found is None:
            found = self.edits[upstream] = build_edits(upstream)
        return found

    def add_listener(self, owner: str, news: NewsStream) -> None:
        """Note a stream of a caller until its end."""
        streams = self.listeners.setdefault(owner, set())
        streams.add(news)
        news.leaves.append(partial(self._remove_listener, owner, news))

    def _remove_listener(self, owner: str, news: NewsStream) -> None:
        streams = self.listeners[owner]
        streams.discard(news)
        if not streams:
            del self.listeners[owner]

    def announce(self, owner: str) -> None:
        """Tell a caller on each of its streams that its lists may have changed."""
        for news in tuple(self.listeners.get(owner, ())):
            news.announce()


class Conversation(Struct, frozen=True):
    """One request with its caller. `message` is `None` for a stream, or for the end of a session."""

    parts: EndpointParts
    context: RequestContext
    principal: Principal
    message: Message | None

    @property
    def fields(self) -> HeaderFields:
        """The headers of the request."""
        return self.context.exchange.fields

    @property
    def upstreams(self) -> list[str]:
        """The names of all upstreams in their order."""
        return sorted(self.parts.pipeline.forwarder.served.current.transports)

    # --- to one upstream ---

    async def send(
        self,
        upstream: str,
        body: bytes | None,
        fields: HeaderFields,
        *,
        method: str = "POST",
        answers: bool = False,
        takes_pins: bool = False,
    ) -> Outcome:
        """Send a message the way of `/mcp/<upstream>`. `body` is `None` for a stream, or for the end of a session.

        `answers`: what comes back is the answer to the caller's own request, whose trace then ends with it. `takes_pins`: it
        is a list from the lock file.
        """
        pipeline, context = self.parts.pipeline, self.context
        headers = tuple([(name, value) for name, values in fields.items() for value in values])
        context = structs.replace(
            context,
            id=pipeline.refuser.new_id(),
            exchange=structs.replace(
                context.exchange, method=method, upstream=upstream, headers=headers, fields=fields
            ),
            upstream=upstream,
            takes_pins=takes_pins,
        )
        if not answers:
            trace = structs.replace(context.trace, recording=None)
            context = structs.replace(context, arrived=pipeline.clock(), began=pipeline.monotonic(), trace=trace)
        # Streams of news and late lists ask again by themselves, long after their caller was identified.
        is_ended = pipeline.forwarder.signals.register.is_ended(self.principal)
        message = _LOGIN_ENDED if is_ended else None if body is None else classify(body, fields)
        if isinstance(message, Refusal):
            return await pipeline.refuser.refuse(context, message, self.principal)
        return await pipeline.serve(context, self.principal, message)

    async def forward(self, message: Message, address: Address, fields: HeaderFields, outward: Outward) -> Answer:
        """Send a message on to its upstream, and return the answer in the words of the endpoint."""
        body = rewrite_message(message.body, address)
        return pass_on(await self.send(address.upstream, body, fields, answers=True), outward, address.upstream)

    def outward(
        self,
        upstream: str,
        owns: Callable[[RequestId], bool],
        may_pass: Callable[[RequestId | None], bool] | None = None,
    ) -> Outward:
        """Return the rewriting of an upstream's messages."""
        return Outward(upstream, self.parts.find_edits(upstream), owns, may_pass)

    def directory(self) -> Directory:
        """Return the ways to find the upstream of a name."""
        return Directory(self.upstreams, self._resolve_name)

    def _resolve_name(self, sort: Literal["tool", "prompt"], outer: str) -> Owned | None:
        definitions = self.parts.pipeline.preparation.catalogue.definitions
        return resolve_name(outer, self.upstreams, lambda upstream: definitions[upstream][sort].seen)

    # --- to all ---

    async def ask_all(
        self, about: Sequence[str], upstreams: Sequence[str], ask: Callable[[str], Awaitable[Found | None]]
    ) -> tuple[dict[str, Found], frozenset[str], frozenset[str]]:
        """Ask each upstream that shows the caller anything, and return the answers that come in time.

        Also return the upstreams with the answer to an earlier question, and the upstreams without an answer. A late answer is
        announced to the caller. An upstream without a grant is not asked.
        """

        async def ask_one(upstream: str) -> Found | None:
            return await ask(upstream) if await self.shows(upstream) else None

        keys: dict[tuple[str, ...], str] = {(self.principal.key, *about, each): each for each in upstreams}
        asked = {key: partial(ask_one, upstream) for key, upstream in keys.items()}
        found, kept = await self.parts.late.gather(asked, partial(self.parts.announce, self.principal.key))
        answers = {keys[key]: answer for key, answer in found.items() if answer is not None}
        late = asked.keys() - found.keys()
        return answers, frozenset(keys[key] for key in kept), frozenset(keys[key] for key in late)

    async def shows(self, upstream: str) -> bool:
        """Return whether policy shows the caller anything of an upstream."""
        return await self.parts.pipeline.visibility.shows_upstream(self.context, self._as_request(), upstream)

    def _as_request(self) -> UpstreamRequest:
        return UpstreamRequest("POST", (), self.principal, self.message)

    async def answer_list(self, message: Message, fields: Fields) -> Reply | Refusal:
        """Return one list of the lists of all upstreams, or of those with a further page."""
        cursor = cursor_of(message)
        if message.method == "tools/list" and cursor is None and (short := await self._list_for_search(message)):
            return short
        cursors = {} if cursor is None else read_cursor(cursor, self.upstreams)
        if cursors is None:
            return _NO_SUCH_CURSOR

        async def ask(upstream: str) -> Page | NoPage | None:
            sent = await fields(upstream)
            body = message.body
            if cursor is not None:
                body = rewrite_params(body, {("cursor",): cursors[upstream]})
            answer = await read_whole(await self.send(upstream, body, sent))
            return await read_page(answer, message, self._worker)

        about = (str(message.era), str(message.method), cursor or "")
        answers, kept, late = await self.ask_all(about, list(cursors) or self.upstreams, ask)
        pages = {upstream: page for upstream, page in answers.items() if isinstance(page, Page)}
        if cursor is None:
            pages = dict(sorted({**pages, **await self._pinned_pages(message, late)}.items()))
        refused = [answer for answer in answers.values() if isinstance(answer, NoPage)]
        if refused and not pages:
            # What no upstream takes is a fault of the request itself, and the caller has to learn of it.
            return self.make_failure(message, refused[0].answer)
        hidden = {upstream: await self._hidden(message, upstream, pages[upstream]) for upstream in kept & pages.keys()}
        size = sum(len(page.listing.body) for page in pages.values())
        merged = await self._worker.run(size, partial(merge_pages, message, pages, hidden))
        # A client that keeps a list would not see what comes late.
        ttl = min((page.ttl for page in pages.values()), default=0) if not late and not refused else 0
        return make_result(message.id, merged | of_era(message, ttl, self.parts.server))

    async def _pinned_pages(self, message: Message, upstreams: Iterable[str]) -> dict[str, Page]:
        """Return the lists of late upstreams as the lock file has them."""
        kind, catalogue = TABLE[str(message.method)].target, self.parts.pipeline.preparation.catalogue
        if kind is None or kind == "resource":
            return {}
        version = STATELESS_VERSIONS[-1] if message.era is Era.STATELESS else None
        fields, found = inner_fields(self.fields, session=None, version=version), dict[str, Page]()
        for upstream in upstreams:
            if catalogue.has_pins(upstream, kind):
                answer = await read_whole(await self.send(upstream, message.body, fields, takes_pins=True))
                page = await read_page(answer, message, self._worker)
                if isinstance(page, Page):
                    found[upstream] = page
        return found

    # --- search ---

    async def address_request(self, sent: Message) -> tuple[Message, Address] | Reply | Refusal:
        """Return the request with the address of its upstream; or the answer, if the endpoint answers by itself."""
        message = await self._answer_own_tool(sent)
        if not isinstance(message, Message):
            return message
        address = find_address(message, self.directory())
        return refuse_unknown(message) if address is None else (message, address)

    async def _answer_own_tool(self, message: Message) -> Reply | Message | Refusal:
        """Answer a search. Return the call in a call of `call_tool`, and any other message as it is."""
        if message.method != "tools/call" or self.parts.search_settings() is None or message.name not in {SEARCH, CALL}:
            return message
        if message.name == CALL:
            return unwrap_call(message) or _NO_CALL
        question = read_question(message)
        if question is None:
            return _NO_QUESTION
        tools = await self._granted_tools()
        found = self.parts.search.find(question.query, tools, question.limit)
        return await self._show(message, render_found(found, tools))

    async def _list_for_search(self, message: Message) -> Reply | Refusal | None:
        """Return the short list for a caller with many tools; `None` for other callers."""
        settings = self.parts.search_settings()
        definitions = self.parts.pipeline.preparation.catalogue.definitions
        if settings is None or sum(len(sorts["tool"].seen) for sorts in definitions.values()) <= settings.above:
            return None
        tools = await self._granted_tools()
        if len(tools) <= settings.above:
            return None
        listed = [*describe_own_tools(tools), *find_pinned(tools, settings.pinned)]
        return await self._show(message, {"tools": listed})

    async def _show(self, message: Message, result: Mapping[str, object]) -> Reply | Refusal:
        """Return the answer to a request with a result that was made of the catalogue."""
        reply = make_result(message.id, {**result, **of_era(message, 0, self.parts.server)})
        try:
            return await show_definitions(reply, self.parts.pipeline.pinned_lists.parts)
        except UpstreamBroken as error:
            return refuse_failure(error)

    async def _granted_tools(self) -> list[ListedTool]:
        """Return the catalogue's definitions of the tools that the caller may see."""
        found: list[ListedTool] = []
        definitions = self.parts.pipeline.preparation.catalogue.definitions
        for upstream in self.upstreams:
            sorts = definitions.get(upstream)
            if sorts is None:
                # It was removed meanwhile.
                continue
            seen = sorts["tool"].seen
            names, request = tuple(sorted(seen)), self._as_request()
            place: tuple[str, TargetType] = (upstream, "tool")
            shown = await self.parts.pipeline.visibility.shown_names(self.context, request, place, names)
            found += [
                ListedTool(upstream, name, item.digest, item.document)
                for name in names
                if name in shown and isinstance(item := seen[name], Definition)
            ]
        return found

    def make_failure(self, message: Message, answer: WholeAnswer | None) -> Reply:
        """Return the answer to a message in the words of an upstream that did not take it."""
        # To the client of a session, 404 would be the end of its own.
        is_wrong = answer is None or answer.status == 202 or (answer.status == 404 and message.era is Era.HANDSHAKE)
        status = 502 if answer is None or is_wrong else answer.status
        if message.kind is not Kind.REQUEST:
            return Reply(status, (), b"")
        error = None if answer is None else answer.document.get("error")
        error = error or {"code": UPSTREAM_FAILED, "message": "The upstream opened no session."}
        return Reply(status, JSON, msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "error": error}))

    @property
    def _worker(self) -> WorkerThread:
        return self.parts.pipeline.exposure.worker

    async def _hidden(self, message: Message, upstream: str, page: Page) -> frozenset[str]:
        """Return the names in the page of an earlier request that the caller may not see. Its token may have had more rights."""
        kind = TABLE[str(message.method)].target
        if kind is None:
            return frozenset()
        visibility = self.parts.pipeline.visibility
        catalogue, find = visibility.catalogue, partial(visibility.catalogue.target, upstream, kind)
        if kind != "resource" and catalogue.has_only_pins(upstream, kind):
            find = catalogue.definitions[upstream][kind].pinned_target
        targets = {item.name: find(item.name) for item in page.listing.items}
        ids = await visibility.visible_ids(self.context, self._as_request(), tuple(targets.values()))
        return frozenset(name for name, target in targets.items() if target.id not in ids)


def stateless_fields(fields: HeaderFields, name: str | None = None) -> HeaderFields:
    """Return the headers of a request of the stateless era for an upstream."""
    return inner_fields(fields, session=None, version=STATELESS_VERSIONS[-1], name=name)
