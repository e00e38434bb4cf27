"""The control interface: operations for approvers and operators, on one Unix socket and at `/api`.

A feature declares its operations and gives a handler for each. The socket takes a JSON object a line:

| request | answer |
|---|---|
| `{"do": "leases/list", "fields": {"stuck": true}}` | `{"ok": answer}` |
| `{"do": "approvals/watch"}` | `{"ok": news}` for each change, until the peer closes |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. `speaks_as` and `groups` are for development."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from gateway.base.control.line_socket import IDLE_SECONDS, ROOT, Account, LineSocket, SocketName, describe_refusal
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from gateway.base.control.line_socket import Peer


class OperatorName(NamedTuple):
    """An operator. `issuer` vouches for the name, and `channel` is the way of the request."""

    id: str
    issuer: str = "local"
    channel: str = "socket"

    def describe(self) -> dict[str, str]:
        """Return the operator for the journal."""
        return {"id": self.id, "issuer": self.issuer, "channel": self.channel}


@dataclass(frozen=True, slots=True)
class OperatorAccounts:
    """The accounts of operators. `own` is the gateway's account, and `named` has the configured ones.

    Programs of agents may run under the gateway's account. So the account counts in development alone, from a terminal or by name.
    """

    own: int
    named: Mapping[int, OperatorName] = field(default_factory=dict[int, OperatorName])
    is_development: bool = False

    def hears_own(self, account: Account) -> bool:
        """Return whether the gateway's own account may ask as the developer."""
        return self.is_development and (account.has_terminal or self.own in self.named)

    def name_of(self, account: Account) -> OperatorName:
        """Return the name of an operator for the record."""
        return self.named.get(account.uid) or OperatorName(f"account {account.uid}")

    def has(self, account: Account) -> bool:
        """Return whether an account is an operator's."""
        if account.uid == self.own:
            return self.hears_own(account)
        return account.uid == ROOT or account.uid in self.named

    def find(self, account: Account) -> OperatorName | Reason:
        """Return the operator behind an account, or the reason why the account is none."""
        if self.has(account):
            return self.name_of(account)
        if account.uid != self.own:
            return reasons.OPERATOR_ACCOUNT.reason()
        return (reasons.OPERATOR_TERMINAL if self.is_development else reasons.OPERATOR_ACCOUNT_OF_GATEWAY).reason()


Request = TypeVar("Request")
Role = Literal["approver", "operator", "account"]
"""`account`: the operation itself judges the account."""

_BEHIND: Final = 256
"""Changes that a watcher may be behind before its connection ends."""
_NAME: Final = SocketName("people", "set `socket` to a short path in a folder that the gateway may write")


class NoFields(Struct, frozen=True, forbid_unknown_fields=True):
    """A request without fields."""


class Operation(Struct, frozen=True):
    """An operation for people. `route` is its method and path over HTTP. Without a route, the socket alone has it.

    `need` names the required setting. `is_recorded`: the journal has each request with its person. Others record what they did.
    """

    name: str
    role: Role
    summary: str
    answer: Any
    need: str
    request: type[Struct] = NoFields
    route: tuple[Literal["GET", "POST"], str] | None = None
    is_stream: bool = False
    is_recorded: bool = False


Handler: TypeAlias = Callable[[Any, Any], Awaitable[Any]]
"""The work of an operation: the request, and the person → the answer, or the reason of a refusal."""
Record: TypeAlias = Callable[[Operation, Any, Any], Awaitable[None]]
"""The record of a request in the journal: the operation, the request, and the person."""
Tell: TypeAlias = Callable[[Any], None]
Watch: TypeAlias = Callable[[Any, Tell], tuple[list[Any], Callable[[], None]]]
"""The work of a stream: the person, and the place for news → the present state, and the end of the watch."""
Identify: TypeAlias = "Callable[[Role, Account, ControlRequest], Any]"
"""The check of an account for a role: the person, or the reason of a refusal."""


class ControlRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a peer. `speaks_as` and `groups` are for development."""

    do: str
    fields: Raw = Raw(b"{}")
    speaks_as: str | None = None
    groups: tuple[str, ...] = ()


class Control:
    """The operations of a gateway with their handlers. `declared` are the operations of every gateway, by their names."""

    def __init__(self, declared: Mapping[str, Operation] | None = None, record: Record | None = None) -> None:
        self.declared = declared or {}
        self._record = record
        self._handlers: dict[str, Handler] = {}
        self._watches: dict[str, Watch] = {}

    def add(self, handlers: Mapping[Operation, Handler]) -> None:
        """Add operations."""
        self._handlers.update({operation.name: handle for operation, handle in handlers.items()})

    def add_watch(self, operation: Operation, watch: Watch) -> None:
        """Add a stream."""
        self._watches[operation.name] = watch

    def find(self, name: str) -> Operation | Reason:
        """Return an operation of this gateway, or the reason why the gateway has none of that name."""
        declared = self.declared.get(name)
        if declared is None:
            return reasons.CONTROL_UNKNOWN.reason()
        if name not in self._handlers and name not in self._watches:
            return reasons.CONTROL_ABSENT.reason(name=name, need=declared.need)
        return declared

    async def perform(self, operation: Operation, fields: bytes | Raw, by: Any, *, is_text: bool = False) -> Any:
        """Return the answer to an admitted person's request, or the reason of a refusal. `fields` are a JSON object.

        `is_text`: each value is a text, as in a query.
        """
        request = read_request(fields, operation.request, is_text=is_text)
        if isinstance(request, Reason):
            return request
        try:
            # The journal has the person before the effect begins, as at the console.
            if operation.is_recorded and self._record is not None:
                await self._record(operation, request, by)
            return await self._handlers[operation.name](request, by)
        except GatewayError as error:
            return reasons.reason_of(error)

    def watch(self, operation: Operation, by: Any, tell: Tell) -> tuple[list[Any], Callable[[], None]]:
        """Have `tell` called with news. Return the present state, and a function to end the watch."""
        return self._watches[operation.name](by, tell)


class ControlSocket:
    """The operations for people with an account on this machine, each request a line of a `LineSocket`."""

    def __init__(
        self, path: Path, control: Control, identify: Identify, *, mode: int = 0o666, idle: float = IDLE_SECONDS
    ) -> None:
        self.path = path
        self._control = control
        self._identify = identify
        self._socket = LineSocket(path, _NAME, self._answer, mode=mode, idle=idle)

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        await self._socket.start(stack)

    async def _answer(self, line: bytes, peer: Peer, account: Account) -> bool:
        """Answer a request. Returns whether the peer may send another: a stranger may not."""
        request = read_request(line, ControlRequest)
        if isinstance(request, Reason):
            await peer.send(describe_refusal(request))
            return True
        operation = self._control.find(request.do)
        if isinstance(operation, Reason):
            await peer.send(describe_refusal(operation))
            return True
        by = self._identify(operation.role, account, request)
        if isinstance(by, Reason):
            await peer.send(describe_refusal(by))
            return False
        if operation.is_stream:
            await self._watch(peer, operation, by)
            return False
        found = await self._control.perform(operation, request.fields, by)
        await peer.send(describe_refusal(found) if isinstance(found, Reason) else {"ok": found})
        return True

    async def _watch(self, peer: Peer, operation: Operation, by: Any) -> None:
        """Tell a peer of changes, as long as its program lives: what holds its connection after that is another program."""
        news: asyncio.Queue[Any] = asyncio.Queue(_BEHIND)

        def tell(change: Any) -> None:
            if not news.full():
                news.put_nowait(change if news.qsize() < _BEHIND - 1 else None)

        present, stop = self._control.watch(operation, by, tell)
        gone = asyncio.ensure_future(peer.wait_for_end())
        try:
            for change in present:
                await peer.send({"ok": change})
            while (change := await _next(news, gone)) is not None and isinstance(peer.judge(), Account):
                await peer.send({"ok": change})
        finally:
            stop()
            gone.cancel()
            await asyncio.wait([gone])


def read_request(data: bytes | Raw, kind: type[Request], *, is_text: bool = False) -> Request | Reason:
    """Return a request of JSON, or the reason why it cannot be read."""
    try:
        return msgspec.json.decode(data, type=kind, strict=not is_text)
    except RecursionError:
        return reasons.CONTROL_INVALID.reason(problem="it is nested too deeply")
    except msgspec.MsgspecError as error:
        return reasons.CONTROL_INVALID.reason(problem=error)


async def _next(news: asyncio.Queue[Any], gone: asyncio.Future[None]) -> Any:
    """Return the next change; `None` if the peer has gone, or is too far behind."""
    change = asyncio.ensure_future(news.get())
    await asyncio.wait({change, gone}, return_when=asyncio.FIRST_COMPLETED)
    if change.done():
        return change.result()
    change.cancel()
    return None
