"""The desk on a Unix socket (`gateway.line_socket`).

| request | answer |
|---|---|
| `{"do": "list"}` | `{"ok": [summary, …]}` |
| `{"do": "show", "id": …}` | `{"ok": question}` |
| `{"do": "vote", "id": …, "vote": {"answer", "shown", "scopes", "end_task"}}` | `{"ok": summary}` |
| `{"do": "endorsements"}` | `{"ok": [endorsement, …]}` |
| `{"do": "revoke", "selection": {"id", "principal", "tool", "kind", "all"}}` | `{"ok": [endorsement, …]}`: the revoked ones |
| `{"do": "watch"}` | `{"ok": summary}` for each change, until the peer closes |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Struct

from gateway import reasons
from gateway.approvals.admission import Admission, Approver
from gateway.approvals.endorsement import Selection
from gateway.approvals.model import Person
from gateway.approvals.office import Office, SubmittedAnswer
from gateway.errors import GatewayError
from gateway.line_socket import IDLE_SECONDS, Account, LineSocket, Peer, SocketName, describe_refusal
from gateway.model.decision import Reason
from gateway.operators import OperatorAccounts

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

_BEHIND: Final = 256
"""Changes that a watcher may be behind before its connection ends."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """People by the number of their account, and the accounts of operators. The gateway's own account never votes: agents'
    servers may run under it. Only in development its owner may speak as anybody."""

    people: Mapping[int, Person]
    operators: OperatorAccounts
    admission: Admission = field(default_factory=Admission)

    def approver(self, account: Account, speaks_as: str | None, groups: tuple[str, ...]) -> Approver | Reason:
        """Return the approver behind a connection."""
        person = self._person(account, speaks_as, groups)
        return person if isinstance(person, Reason) else self.admission.admit(person, is_listed=True)

    def _person(self, account: Account, speaks_as: str | None, groups: tuple[str, ...]) -> Person | Reason:
        if account.uid == self.operators.own:
            if self.operators.hears_own(account):
                return Person(speaks_as or "developer", "local", groups, "peer", "socket")
            is_development = self.operators.is_development
            return (reasons.VOTE_TERMINAL if is_development else reasons.VOTE_ACCOUNT_OF_GATEWAY).reason()
        found = self.people.get(account.uid)
        if found is None:
            return reasons.VOTE_ACCOUNT.reason(account=account.uid)
        return found if speaks_as is None else reasons.VOTE_ACCOUNT_OF_ANOTHER.reason()


class ApprovalRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of a peer. `speaks_as` and `groups` are for development."""

    do: Literal["list", "show", "vote", "endorsements", "revoke", "watch"]
    id: str = ""
    vote: SubmittedAnswer | None = None
    selection: Selection = Selection()
    speaks_as: str | None = None
    groups: tuple[str, ...] = ()


class DeskSocket:
    """The requests of people with an account on this machine, each a line of a `LineSocket`."""

    def __init__(self, path: Path, office: Office, accounts: Accounts, *, idle: float = IDLE_SECONDS) -> None:
        self.path = path
        self._office = office
        self._accounts = accounts
        self._socket = LineSocket(path, _NAME, self._answer, idle=idle)

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        await self._socket.start(stack)

    async def _answer(self, line: bytes, peer: Peer, account: Account) -> bool:
        """Answer a request. Returns whether the peer may send another: a stranger may not."""
        try:
            request = msgspec.json.decode(line, type=ApprovalRequest)
        except msgspec.MsgspecError as error:
            refusal = reasons.VOTE_INVALID_REQUEST.reason(problem=error)
            await peer.send(describe_refusal(refusal))
            return True
        approver = self._accounts.approver(account, request.speaks_as, request.groups)
        if isinstance(approver, Reason):
            await peer.send(describe_refusal(approver))
            return False
        if request.do == "watch":
            await self._watch(peer, approver)
            return False
        await peer.send(await self._do(request, approver))
        return True

    async def _do(self, request: ApprovalRequest, approver: Approver) -> dict[str, Any]:
        try:
            if request.do == "list":
                return {"ok": self._office.list(approver)}
            if request.do == "endorsements":
                return {"ok": self._office.list_endorsements(approver)}
            if request.do == "revoke":
                found = await self._office.revoke(request.selection, approver)
            elif request.do == "show":
                found = await self._office.show(request.id, approver)
            elif request.vote is None:
                found = reasons.VOTE_INVALID_ABSENT.reason()
            else:
                found = await self._office.vote(request.id, approver, request.vote)
        except GatewayError as error:
            found = reasons.reason_of(error)
        return describe_refusal(found) if isinstance(found, Reason) else {"ok": found}

    async def _watch(self, peer: Peer, approver: Approver) -> None:
        """Tell a peer of changes, as long as its program lives: what holds its connection after that is another program."""
        news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_BEHIND)

        def tell(summary: dict[str, Any]) -> None:
            if not news.full():
                news.put_nowait(summary if news.qsize() < _BEHIND - 1 else None)

        stop: Callable[[], None] = self._office.watch(approver, tell)
        gone = asyncio.ensure_future(peer.wait_for_end())
        try:
            for summary in self._office.list(approver):
                await peer.send({"ok": summary})
            while (summary := await _next(news, gone)) is not None and isinstance(peer.judge(), Account):
                await peer.send({"ok": summary})
        finally:
            stop()
            gone.cancel()
            await asyncio.wait([gone])


async def _next(news: asyncio.Queue[dict[str, Any] | None], gone: asyncio.Future[None]) -> dict[str, Any] | None:
    """Return the next change; `None` if the peer has gone, or is too far behind."""
    change = asyncio.ensure_future(news.get())
    await asyncio.wait({change, gone}, return_when=asyncio.FIRST_COMPLETED)
    if change.done():
        return change.result()
    change.cancel()
    return None


_NAME: Final = SocketName("approvals", "set approvals.socket to a short path in a folder that the gateway may write")
