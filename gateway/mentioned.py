"""What a subscription names: resources that its caller may see, and no others.

It tells when something changes. Of what lists hide from a caller, it would tell it all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from gateway.model.decision import Reason, Refusal
from gateway.model.wire import Message, UpstreamRequest
from gateway.protocol.error_codes import REFUSED
from gateway.visibility import visible_ids
from gateway.visit import Gateway, Visit

NOT_VISIBLE: Final = Reason(
    "request/not-visible",
    "The request names a resource that is not shown to this caller.",
    "Name one that the lists show, or ask for a grant of it.",
)


async def refusal(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> Refusal | None:
    """Why this must not be sent, if it must not."""
    message = request.message
    if message is None or message.method not in _SUBSCRIBING:
        return None
    upstream, found = visit.exchange.upstream, frozenset(mentioned(message))
    targets = tuple(gateway.catalogue.target(upstream, "resource", uri) for uri in found)
    if not targets:
        return None
    visible = await visible_ids(gateway, visit, request, targets)
    return None if visible.issuperset(target.id for target in targets) else Refusal(403, NOT_VISIBLE, REFUSED)


_SUBSCRIBING: Final = frozenset({"resources/subscribe", "subscriptions/listen"})


def mentioned(message: Message) -> Iterator[str]:
    """The resources that it names. What is no text names something that nobody is shown."""
    params = message.params
    if message.method == "resources/subscribe":
        yield _text(params.get("uri"))
    elif isinstance(notifications := params.get("notifications"), Mapping):
        uris = notifications.get("resourceSubscriptions")
        for uri in cast("list[object]", uris) if isinstance(uris, list) else (uris,) if uris is not None else ():
            yield _text(uri)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
