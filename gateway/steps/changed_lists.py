"""What tells a caller, on a stream that it keeps open, that lists may show it something else than before.

A server tells of its own changes. That another policy came into force only the gateway knows (MCP 2025-11-25 and
2026-07-28, "List Changed Notification" of tools, prompts and resources; 2026-07-28, "Subscriptions").
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

from gateway.model.wire import Message, UpstreamRequest
from gateway.protocol import sse
from gateway.protocol.strict import SUBSCRIPTION_KEY

_ASKED_FOR: Final = {
    "tools": "toolsListChanged",
    "prompts": "promptsListChanged",
    "resources": "resourcesListChanged",
}
"""Sort of list → the member of `params.notifications` with which a subscription asks for its changes."""


def changed_lists(request: UpstreamRequest, announced: Collection[str], *, begun: bool) -> bytes:
    """The events, one for each sort of list of whose changes the server says that it tells (`announced`), as far as the
    stream that answers `request` is one for them. A subscription begins with what the server says to it: before that
    (`begun`) there are none."""
    message = request.message
    if message is None:
        sorts = [sort for sort in _ASKED_FOR if sort in announced] if request.method == "GET" else []
        return b"".join([_event(sort, {}) for sort in sorts])
    if not begun or message.method != "subscriptions/listen":
        return b""
    meta = {"_meta": {SUBSCRIPTION_KEY: message.id}}
    return b"".join([_event(sort, meta) for sort in _asked_for(message) if sort in announced])


def _asked_for(message: Message) -> list[str]:
    asked = message.params.get("notifications")
    return [sort for sort, member in _ASKED_FOR.items() if isinstance(asked, Mapping) and asked.get(member) is True]


def _event(sort: str, params: Mapping[str, object]) -> bytes:
    notification = {"jsonrpc": "2.0", "method": f"notifications/{sort}/list_changed", "params": params}
    return sse.encode(json.dumps(notification).encode())
