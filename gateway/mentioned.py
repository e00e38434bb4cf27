"""What a request that no policy decides names: prompts and resources that its caller may see, and no others.

A completion tells which values there are, and a subscription when something changes. Of what lists hide from a caller,
these would tell it all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias, cast

from gateway.answer import RPC_REFUSED, shown
from gateway.model.decision import Reason, Refusal
from gateway.model.wire import JsonObject, Message, UpstreamRequest
from gateway.protocol.strict import look_alike
from gateway.visit import Gateway, Visit

Mention: TypeAlias = tuple[Literal["prompt", "resource"], str]

NOT_VISIBLE: Final = Reason(
    "request/not-visible",
    "The request names a prompt or a resource that is not shown to this caller.",
    "Name one that the lists show, or ask for a grant of it.",
)

_REFERENCES: Final[Mapping[str, tuple[Literal["prompt", "resource"], str]]] = {
    "ref/prompt": ("prompt", "name"),
    "ref/resource": ("resource", "uri"),
}
_REFERENCE: Final = frozenset({"type", "name", "uri"})


async def refusal(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> Refusal | None:
    """Why this must not be sent, if it must not."""
    message = request.message
    if message is None or message.method not in _MENTIONING:
        return None
    found = frozenset(mentioned(message))
    targets = tuple(gateway.catalogue.target(visit.exchange.upstream, kind, name) for kind, name in found)
    if not targets:
        return None
    visible = await shown(gateway, visit, request, targets)
    return None if visible.issuperset(target.id for target in targets) else Refusal(403, NOT_VISIBLE, RPC_REFUSED)


_MENTIONING: Final = frozenset({"completion/complete", "resources/subscribe", "subscriptions/listen"})


def mentioned(message: Message) -> Iterator[Mention]:
    """What it names. A reference that cannot be read in one way only names something that nobody is shown."""
    params = message.params
    if message.method == "completion/complete":
        yield _referred(params.get("ref"))
    elif message.method == "resources/subscribe":
        yield "resource", _text(params.get("uri"))
    elif isinstance(notifications := params.get("notifications"), Mapping):
        uris = notifications.get("resourceSubscriptions")
        for uri in cast("list[object]", uris) if isinstance(uris, list) else (uris,) if uris is not None else ():
            yield "resource", _text(uri)


def _referred(reference: object) -> Mention:
    if not isinstance(reference, Mapping):
        return _NOTHING
    members = cast("JsonObject", reference)
    place = members.get("type")
    if not isinstance(place, str) or place not in _REFERENCES or look_alike(members, _REFERENCE):
        return _NOTHING
    kind, field = _REFERENCES[place]
    return kind, _text(members.get(field))


_NOTHING: Final[Mention] = ("prompt", "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
