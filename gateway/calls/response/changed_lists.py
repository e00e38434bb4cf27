"""Notices on an open stream that the lists of a caller may have changed. A server announces its own changes. Only the
gateway knows of a new policy (MCP 2025-11-25 and 2026-07-28, "List Changed Notification" of tools, prompts and
resources; 2026-07-28, "Subscriptions")."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

from gateway.base.json.strict import SUBSCRIPTION_KEY
from gateway.model.wire import Message, UpstreamRequest
from gateway.wire.protocol import sse

_ASKED_FOR: Final = {
    "tools": "toolsListChanged",
    "prompts": "promptsListChanged",
    "resources": "resourcesListChanged",
}
"""Sort of list → the member of `params.notifications` with which a subscription asks for its changes."""


def changed_lists(request: UpstreamRequest, announced: Collection[str], *, begun: bool) -> bytes:
    """Return the list-change events for the stream that answers `request`: one event for each sort of list in
    `announced`. A subscription begins with a message of the server; before it (`begun`) there are no events."""
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
