"""Subscriptions to resources. A caller may subscribe only to resources in its lists. A subscription reveals that a
resource exists, and when it changes. Policy decides on no subscription itself: its decision on lists covers
subscriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from gateway.model.decision import Reason, Refusal
from gateway.model.wire import Message, UpstreamRequest
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.visibility import visible_ids
from gateway.protocol.error_codes import REFUSED

SUBSCRIBING: Final = frozenset({"resources/subscribe", "subscriptions/listen"})

NOT_VISIBLE: Final = Reason(
    "request/not-visible",
    "The request names a resource that is not shown to this caller.",
    "Name one that the lists show, or ask for a grant of it.",
)


async def refusal(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> Refusal | None:
    """Return why a subscription must not be sent; `None` if it may, and for other requests."""
    message = request.message
    if message is None or message.method not in SUBSCRIBING:
        return None
    upstream, found = visit.exchange.upstream, frozenset(named_resources(message))
    targets = tuple(gateway.catalogue.target(upstream, "resource", uri) for uri in found)
    if not targets:
        return None
    visible = await visible_ids(gateway, visit, request, targets)
    return None if visible.issuperset(target.id for target in targets) else Refusal(403, NOT_VISIBLE, REFUSED)


def named_resources(message: Message) -> Iterator[str]:
    """Yield the URIs of the resources in a message's subscriptions. A URI that is no text becomes an empty URI, which
    no list shows."""
    params = message.params
    if message.method == "resources/subscribe":
        yield _text(params.get("uri"))
    elif isinstance(notifications := params.get("notifications"), Mapping):
        uris = notifications.get("resourceSubscriptions")
        for uri in cast("list[object]", uris) if isinstance(uris, list) else (uris,) if uris is not None else ():
            yield _text(uri)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
