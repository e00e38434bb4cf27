"""Requests of 2026-07-28 at the one endpoint: each stands for itself, and a subscription is heard at several upstreams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from gateway.base.json.strict import SUBSCRIPTION_KEY
from gateway.calls.endpoint.answers import Outcome, WholeAnswer, make_result, read_whole
from gateway.calls.endpoint.conversation import Answer, Conversation, refuse_unknown, stateless_fields
from gateway.calls.endpoint.lists import DEADLINE, merge_greetings, of_era
from gateway.calls.endpoint.messages import inner_name, object_of, rewrite_params
from gateway.calls.endpoint.names import Owned, resolve_handle, resolve_uri
from gateway.calls.endpoint.news import ACKNOWLEDGED, NewsSource, NewsStream
from gateway.calls.response.build import changed_lists
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.wire import Disposition, Json, Kind, Message, RequestId
from gateway.wire.protocol import sse
from gateway.wire.protocol.headers import HeaderFields
from gateway.wire.protocol.methods import STATELESS_VERSIONS
from gateway.wire.protocol.replies import Reply

_NOT_UNDER_WAY: Final = reasons.SESSION_NOT_UNDER_WAY.refusal()
_NO_DISCOVERY: Final = reasons.REQUEST_METHOD.refusal(
    problem="an upstream of this endpoint speaks earlier protocols only, or has not said yet which it speaks"
)

_MISSING: Final = {"resultType": msgspec.Raw(b'"complete"')}
_UNCACHED: Final = {"ttlMs": msgspec.Raw(b"0"), "cacheScope": msgspec.Raw(b'"private"')}
"""Members that clients of 2026-07-28 require. A server of earlier protocols gives none, and may answer all the same."""


async def answer_stateless(conversation: Conversation, message: Message) -> Answer | Refusal:
    """Answer a request of the stateless era."""
    if message.method == "server/discover":
        return await _discover(conversation, message)
    if message.disposition is Disposition.FILTER:
        return await conversation.answer_list(message, partial(_list_fields, conversation))
    if message.method == "subscriptions/listen":
        return await _subscribe(conversation, message)
    if message.kind is not Kind.REQUEST:
        return _NOT_UNDER_WAY
    return await _call(conversation, message)


async def _call(conversation: Conversation, sent: Message) -> Answer | Refusal:
    """Forward a request to the upstream in its tool name, prompt name or URI."""
    found = await conversation.address_request(sent)
    if not isinstance(found, tuple):
        return found
    message, address = found
    token = object_of(message.params.get("_meta")).get("progressToken")
    outward = conversation.outward(address.upstream, lambda given: type(given) is type(token) and given == token)
    outward.missing = _MISSING | (_UNCACHED if message.method == "resources/read" else {})
    fields = stateless_fields(conversation.fields, inner_name(message, address))
    return await conversation.forward(message, address, fields, outward)


async def _list_fields(conversation: Conversation, _upstream: str) -> HeaderFields:
    return stateless_fields(conversation.fields)


async def _discover(conversation: Conversation, message: Message) -> Reply | Refusal:
    """Greet for all upstreams. If one speaks earlier protocols, or may do so, refuse: clients then open a session.

    A greeted client stays without a session until its end, and an upstream may become known later.
    """

    async def ask(upstream: str) -> WholeAnswer:
        return await read_whole(await conversation.send(upstream, message.body, stateless_fields(conversation.fields)))

    answers, _, late = await conversation.ask_all(("server/discover",), conversation.upstreams, ask)
    refused = [answer for answer in answers.values() if not answer.is_own and answer.result is None]
    if refused and len(refused) == len(answers):
        return conversation.make_failure(message, refused[0])
    greetings = {name: answer.result for name, answer in answers.items() if answer.result is not None}
    silent = late | (answers.keys() - greetings.keys())
    catalogue = conversation.parts.pipeline.preparation.catalogue
    if refused or not all(map(catalogue.is_stateless, silent)):
        return _NO_DISCOVERY
    told = merge_greetings(greetings, is_complete=not silent)
    server = conversation.parts.server
    result = {"supportedVersions": list(STATELESS_VERSIONS), "serverInfo": server, **told, **of_era(message, 0, server)}
    return make_result(message.id, result)


# --- subscriptions ---------------------------------------------------------------------------------------


_NAMED: Final = {"resourceSubscriptions": resolve_uri, "taskIds": resolve_handle}
"""Members of a subscription with names of upstreams, and how to find the owner of one."""


class Subscription(Struct, frozen=True):
    """A subscription taken apart: what all upstreams are asked for, and the names of each."""

    message: Message
    flags: Mapping[str, Json]
    named: Mapping[str, Mapping[str, list[str]]]

    def concerns(self, upstream: str) -> bool:
        """Return whether there is something to hear from an upstream."""
        return upstream in self.named or any(value is True for value in self.flags.values())

    def body_for(self, upstream: str) -> bytes:
        """Return the subscription for one upstream."""
        asked = {**self.flags, **self.named.get(upstream, {})}
        return rewrite_params(self.message.body, {("notifications",): asked})

    def acknowledgement(self) -> bytes:
        """Return the first event of the stream: everything that was asked for is heard."""
        meta = {SUBSCRIPTION_KEY: self.message.id}
        params = {"notifications": self.message.params.get("notifications", {}), "_meta": meta}
        told = {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params}
        return sse.encode(json.dumps(told).encode())


def read_subscription(message: Message, upstreams: list[str]) -> Subscription | None:
    """Return the parts of a subscription; `None` if it has a name that belongs to no upstream."""
    notifications = object_of(message.params.get("notifications"))
    flags = {name: value for name, value in notifications.items() if name not in _NAMED}
    named: dict[str, dict[str, list[str]]] = {}
    for member, resolve in _NAMED.items():
        for outer in _texts(notifications.get(member)):
            owned: Owned | None = resolve(outer, upstreams)
            if owned is None:
                return None
            named.setdefault(owned.upstream, {}).setdefault(member, []).append(owned.name)
    return Subscription(message, flags, named)


def _texts(value: Json) -> list[str]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [item if isinstance(item, str) else "" for item in items]


async def _subscribe(conversation: Conversation, message: Message) -> Answer | Refusal:
    """Hear several upstreams on one stream. If an upstream refuses a named resource or task, the refusal is the answer."""
    subscription = read_subscription(message, conversation.upstreams)
    if subscription is None:
        return refuse_unknown(message)
    fields = stateless_fields(conversation.fields)

    async def begin(upstream: str) -> Outcome:
        return await conversation.send(upstream, subscription.body_for(upstream), fields)

    async def begin_if_shown(upstream: str) -> Outcome | None:
        return await begin(upstream) if await conversation.shows(upstream) else None

    def make(upstream: str) -> NewsSource:
        outward = conversation.outward(upstream, _owns_no_token, _is_no_answer)
        return NewsSource(outward, upstream, partial(begin_if_shown, upstream))

    news = NewsStream(make, partial(_changes, message))
    # What it names at an upstream may be refused, and the caller has to learn of that.
    begun = {upstream: asyncio.ensure_future(begin(upstream)) for upstream in subscription.named}
    if begun:
        await asyncio.wait(begun.values(), timeout=DEADLINE)
    answers = [task.result() for task in begun.values() if task.done()]
    for upstream in conversation.upstreams:
        if subscription.concerns(upstream):
            news.add(upstream, begun.get(upstream))
    refused = next((answer for answer in answers if isinstance(answer, Reply)), None)
    if refused is not None:
        await news.close()
        return refused
    news.say(subscription.acknowledgement())
    conversation.parts.add_listener(conversation.principal.key, news)
    return news


def _changes(message: Message, sorts: Collection[str]) -> bytes:
    """Return the events that tell a subscriber of changed lists."""
    return changed_lists("POST", message, sorts, begun=True)


def _owns_no_token(_token: RequestId) -> bool:
    return False


def _is_no_answer(_identifier: RequestId | None) -> bool:
    return False
