"""One-time links over the Unix socket `<state>/console.sock`, for `opagate console link`.

| request | answer |
|---|---|
| `{"do": "link"}` | `{"ok": {"url": …, "seconds": …, "person": …}}` |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. The kernel names the account of the peer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Struct

from gateway import reasons
from gateway.console.accounts import find_visitor
from gateway.console.sessions import LINK_SECONDS
from gateway.line_socket import Account, LineSocket, Peer, SocketName, describe_refusal
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.approvals.socket import Accounts
    from gateway.console.parts import ConsoleParts

NAME: Final = "console"
_NAME: Final = SocketName("the console", "let the gateway write to the state folder, and give it a short path")


class _SocketRequest(Struct, frozen=True, forbid_unknown_fields=True):
    do: Literal["link"]


class LinkSocket:
    """Links for people with an account on this machine."""

    def __init__(self, path: Path, console: ConsoleParts, accounts: Accounts) -> None:
        self._console = console
        self._accounts = accounts
        self._socket = LineSocket(path, _NAME, self._answer)

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        await self._socket.start(stack)

    async def _answer(self, line: bytes, peer: Peer, account: Account) -> bool:
        """Answer a request. Returns whether the peer may send another."""
        try:
            msgspec.json.decode(line, type=_SocketRequest)
        except msgspec.MsgspecError as error:
            await peer.send(describe_refusal(reasons.CONSOLE_INVALID.reason(problem=error)))
            return True
        found = make_link(self._console, self._accounts, account)
        await peer.send(describe_refusal(found) if isinstance(found, Reason) else {"ok": found})
        return not isinstance(found, Reason)


def make_link(console: ConsoleParts, accounts: Accounts, account: Account) -> dict[str, Any] | Reason:
    """Return a one-time link for an account, or the refusal of a foreign account."""
    visitor = find_visitor(accounts, account, console.gateway.clock())
    if isinstance(visitor, Reason):
        return visitor
    url = console.link(console.links.make(visitor))
    return {"url": url, "seconds": int(LINK_SECONDS), "person": visitor.name, "roles": sorted(visitor.roles)}
