"""Requests of the handshake era at the one endpoint: a session of the client, with sessions at the upstreams behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from gateway.calls.endpoint.answers import Outcome, WholeAnswer, make_result, pass_on, read_whole
from gateway.calls.endpoint.conversation import Answer, Conversation, refuse_unknown
from gateway.calls.endpoint.lists import merge_greetings
from gateway.calls.endpoint.messages import (
    Address,
    Outward,
    inner_fields,
    inner_name,
    object_of,
    rewrite_message,
)
from gateway.calls.endpoint.names import Owned, resolve_handle, resolve_id
from gateway.calls.endpoint.news import NewsSource, NewsStream
from gateway.calls.endpoint.sessions import LONGEST_KEPT, ClientSession, ClientSessions, Link, LinkFailure
from gateway.calls.response.build import changed_lists
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.wire import Disposition, Kind, Message
from gateway.wire.protocol.headers import SESSION, HeaderFields
from gateway.wire.protocol.methods import HANDSHAKE_VERSIONS, OWN_TASK
from gateway.wire.protocol.replies import Reply

_ACCEPTED: Final = Reply(202, (), b"")
_NO_SESSION: Final = reasons.SESSION_MISSING.refusal()
_UNKNOWN_SESSION: Final = reasons.SESSION_UNKNOWN.refusal()
_NOT_ASKED: Final = reasons.SESSION_FOREIGN_ANSWER.refusal()
_NOT_UNDER_WAY: Final = reasons.SESSION_NOT_UNDER_WAY.refusal()
_TOO_LARGE: Final = reasons.REQUEST_TOO_LARGE.refusal(limit=LONGEST_KEPT)
_OF_NEWS: Final = "*"
"""Stands before the upstream in the ids of events on the stream of a session. Other ids are of the answer to one request."""
_RESUMED: Final = b"last-event-id"


async def answer_of_session(conversation: Conversation, sessions: ClientSessions) -> Answer | Refusal:
    """Answer a request of the handshake era."""
    message = conversation.message
    if message is not None and message.method == "initialize":
        return await _initialize(conversation, message, sessions)
    session = _find_session(conversation, sessions)
    if isinstance(session, Refusal):
        return session
    exchange = SessionExchange(conversation, session)
    if message is not None:
        return await (exchange.answer(message) if message.kind is Kind.REQUEST else exchange.take(message))
    if conversation.context.exchange.method == "GET":
        return await exchange.listen()
    sessions.end(session)
    return await exchange.end()


def _find_session(conversation: Conversation, sessions: ClientSessions) -> ClientSession | Refusal:
    sent = conversation.fields.get(SESSION)
    if sent is None:
        return _NO_SESSION
    session = sessions.find(sent[0].decode("latin-1"), conversation.principal) if len(sent) == 1 else None
    return _UNKNOWN_SESSION if session is None else session


async def _initialize(conversation: Conversation, message: Message, sessions: ClientSessions) -> Reply | Refusal:
    """Open a session, and greet for all upstreams that the caller may see."""
    if len(message.body) > LONGEST_KEPT:
        return _TOO_LARGE
    session = sessions.open(conversation.principal, message.body)

    async def ask(upstream: str) -> Link | None:
        link = await session.open_link(upstream, conversation.send, conversation.fields)
        return link if isinstance(link, Link) else None

    links, _, late = await conversation.ask_all(("initialize", session.id), conversation.upstreams, ask)
    told = merge_greetings({name: link.result for name, link in links.items()}, is_complete=not late)
    asked = message.params.get("protocolVersion")
    version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
    result = {"protocolVersion": version, "serverInfo": conversation.parts.server, **told}
    return make_result(message.id, result, ((SESSION, session.id.encode()),))


class SessionExchange(Struct, frozen=True):
    """One request in a session."""

    conversation: Conversation
    session: ClientSession

    async def answer(self, message: Message) -> Answer | Refusal:
        """Answer a request."""
        conversation, session = self.conversation, self.session
        if message.method == "ping":
            return make_result(message.id, {})
        if message.method == "logging/setLevel":
            if len(message.body) > LONGEST_KEPT:
                return _TOO_LARGE
            session.level = message.body
            await self._tell_all(message)
            return make_result(message.id, {})
        if message.disposition is Disposition.FILTER:
            session.note_request(message.id, None)
            return await conversation.answer_list(message, self._list_fields)
        return await self._call(message)

    async def _call(self, sent: Message) -> Answer | Refusal:
        """Forward a request to the upstream in its tool name, prompt name or URI."""
        session, found = self.session, await self.conversation.address_request(sent)
        if not isinstance(found, tuple):
            return found
        message, address = found
        session.note_request(message.id, address.upstream)
        token = object_of(message.params.get("_meta")).get("progressToken")
        if token is not None:
            session.note_token(token, address.upstream)
        return await self._forward(message, address)

    async def take(self, message: Message) -> Answer | Refusal:
        """Take an answer or a notification of the client to the upstream that it is for."""
        upstreams, session = self.conversation.upstreams, self.session
        if message.kind is Kind.RESPONSE:
            owner = resolve_id(message.id, upstreams)
            if owner is None:
                return _NOT_ASKED
            self._note_own_task(message, owner.upstream)
            return await self._forward(message, Address(owner.upstream, identifier=owner.id))
        if message.method == "notifications/progress":
            owner = resolve_id(message.params.get("progressToken"), upstreams)
            address = None if owner is None else Address(owner.upstream, {("progressToken",): owner.id})
        elif message.method in _BY_MEMORY:
            member, find = _BY_MEMORY[message.method]
            upstream = find(session, message.params.get(member))
            address = None if upstream is None else Address(upstream)
        else:
            if message.method != "notifications/initialized":
                await self._tell_all(message)
            return _ACCEPTED
        return _NOT_UNDER_WAY if address is None else await self._forward(message, address)

    async def listen(self) -> Answer | Refusal:
        """Open the stream of news of the session, or resume the stream of an answer."""
        session, upstreams = self.session, self.conversation.upstreams
        resumed = self.conversation.fields.get(_RESUMED, (b"",))[0].decode("latin-1")
        owned = resolve_handle(resumed.removeprefix(_OF_NEWS), upstreams)
        if resumed and not resumed.startswith(_OF_NEWS):
            return refuse_unknown(None) if owned is None else await self._resume(owned)
        news = NewsStream(partial(self._source, [] if owned is None else [owned]), _changes)
        session.news.add(news)
        news.leaves.append(partial(session.news.discard, news))
        self.conversation.parts.add_listener(session.owner, news)
        for upstream in session.links:
            news.add(upstream)
        return news

    async def end(self) -> Reply:
        """End the sessions at all upstreams."""
        for upstream, link in tuple(self.session.links.items()):
            if link.session is not None:
                await read_whole(await self._send(upstream, None, link, method="DELETE"))
        return Reply(200, (), b"")

    # --- to one upstream ---

    async def _open_link(self, upstream: str) -> Link | LinkFailure:
        return await self.session.open_link(upstream, self.conversation.send, self.conversation.fields)

    async def _send(self, upstream: str, body: bytes | None, link: Link, *, method: str = "POST") -> Outcome:
        return await self.conversation.send(upstream, body, link.fields(self.conversation.fields), method=method)

    async def _list_fields(self, upstream: str) -> HeaderFields:
        """Return the headers of a list request. An upstream that is down, or has not listed yet, may be shown by its pins, which
        takes no session."""
        catalogue, fields = self.conversation.parts.pipeline.preparation.catalogue, self.conversation.fields
        if upstream in self.session.links or not catalogue.has_only_pins(upstream, "tool"):
            link = await self._open_link(upstream)
            if isinstance(link, Link):
                return link.fields(fields)
        return inner_fields(fields, session=None, version=None)

    async def _forward(self, message: Message, address: Address) -> Answer:
        """Send a message on in the upstream's session. If the upstream has ended that one, open another, once."""
        upstream, name = address.upstream, inner_name(message, address)
        body = rewrite_message(message.body, address)
        outward = self.conversation.outward(upstream, partial(self.session.owns_token, upstream))
        failure: WholeAnswer | None = None
        for _ in range(2):
            link = await self._open_link(upstream)
            if isinstance(link, LinkFailure):
                return self.conversation.make_failure(message, link.answer)
            fields = link.fields(self.conversation.fields, name)
            outcome = await self.conversation.send(upstream, body, fields, answers=True)
            if outcome.status != 404 or link.session is None:
                return pass_on(outcome, outward, upstream)
            # An upstream that does not know the session has not read the message.
            self.session.forget_link(upstream, link)
            failure = await read_whole(outcome)
        return self.conversation.make_failure(message, failure)

    async def _tell_all(self, message: Message) -> None:
        """Send a message to each upstream with an open session."""
        for upstream, link in tuple(self.session.links.items()):
            await read_whole(await self._send(upstream, message.body, link))

    def _note_own_task(self, message: Message, upstream: str) -> None:
        """Note a task that the client begins with its answer."""
        result = object_of(object_of(msgspec.json.decode(message.body)).get("result"))
        task = object_of(result.get("task")).get("taskId")
        if isinstance(task, str):
            self.session.note_own_task(task, upstream)

    # --- streams ---

    async def _resume(self, owned: Owned) -> Answer | Refusal:
        """Resume the stream of an answer at its upstream."""
        link = await self._open_link(owned.upstream)
        if isinstance(link, LinkFailure):
            return _UNKNOWN_SESSION
        fields = {**link.fields(self.conversation.fields), _RESUMED: (owned.name.encode("latin-1"),)}
        outcome = await self.conversation.send(owned.upstream, None, fields, method="GET", answers=True)
        return pass_on(outcome, self._session_outward(owned.upstream), owned.upstream)

    def _session_outward(self, upstream: str) -> Outward:
        """Return the rewriting on a session's stream, where a server may answer an earlier request again."""
        owns, is_asked = partial(self.session.owns_token, upstream), partial(self.session.is_asked, upstream)
        return self.conversation.outward(upstream, owns, is_asked)

    def _source(self, resumed: list[Owned], upstream: str) -> NewsSource:
        return NewsSource(
            self._session_outward(upstream), _OF_NEWS + upstream, partial(self._begin_news, resumed, upstream)
        )

    async def _begin_news(self, resumed: list[Owned], upstream: str) -> Outcome | None:
        """Return the stream of an upstream's session; `None` without one. The next opened session is heard again."""
        link = await self._open_link(upstream)
        if isinstance(link, LinkFailure) or link.session is None:
            return None
        fields = link.fields(self.conversation.fields)
        if resumed and resumed[0].upstream == upstream:
            fields = {**fields, _RESUMED: (resumed.pop().name.encode("latin-1"),)}
        outcome = await self.conversation.send(upstream, None, fields, method="GET")
        if outcome.status == 404:
            self.session.forget_link(upstream, link)
        return outcome


_BY_MEMORY: Final[Mapping[str | None, tuple[str, Callable[[ClientSession, object], str | None]]]] = {
    "notifications/cancelled": ("requestId", ClientSession.upstream_of),
    OWN_TASK: ("taskId", ClientSession.upstream_of_own_task),
}
"""Notifications of a client about something that an upstream knows: the member with its id, and who knows the upstream."""


def _changes(sorts: Collection[str]) -> bytes:
    """Return the events that tell the reader of a session's stream of changed lists."""
    return changed_lists("GET", None, sorts, begun=True)
