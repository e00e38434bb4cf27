"""Leases for operators: `opagate leases` on the Unix socket `<state>/leases.sock`.

| request | answer |
|---|---|
| `{"do": "list", "stuck": false}` | `{"ok": [lease, …]}` |
| `{"do": "show", "id": …}` | `{"ok": lease}` |
| `{"do": "revoke", "chosen": {"task": …}}` (see `LeaseSelection`) | `{"ok": {"ended": number}}` |
| `{"do": "abandon", "id": …, "reason": …}` | `{"ok": lease}` |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. `OperatorAccounts` names the operators.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from gateway import reasons
from gateway.authority.leases import Leases
from gateway.authority.model import Lease, describe_lease
from gateway.operators import OperatorAccounts, OperatorName, Operators

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_REASON: Final = 500


class LeaseSelection(Struct, frozen=True, forbid_unknown_fields=True):
    """A choice of leases. All given fields must match; at least one is given."""

    id: str | None = None
    task: str | None = None
    user: str | None = None
    agent: str | None = None
    upstream: str | None = None
    broker: str | None = None
    all: bool = False

    def is_empty(self) -> bool:
        return not self.all and all(getattr(self, name) is None for name in _FIELDS)

    def predicate(self) -> Callable[[Lease], bool]:
        """Return the test whether a lease has all given values. It runs for each open lease, so it looks at given fields alone."""
        names = [name for name in _FIELDS if getattr(self, name) is not None]
        if not names:
            return lambda _lease: self.all
        read = attrgetter(*names)
        wanted = read(self)
        return lambda lease: read(lease) == wanted


_FIELDS: Final = ("id", "task", "user", "agent", "upstream", "broker")


class LeaseOperation(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of an operator."""

    do: Literal["list", "show", "revoke", "abandon"]
    id: str = ""
    stuck: bool = False
    chosen: LeaseSelection = LeaseSelection()
    reason: str = ""


class LeaseOperators(Operators[LeaseOperation]):
    """Answers to operators about leases."""

    def __init__(self, leases: Leases, accounts: OperatorAccounts) -> None:
        super().__init__(LeaseOperation, "lease", accounts)
        self._leases = leases

    async def _do(self, request: LeaseOperation, _by: OperatorName, /) -> Any:
        match request.do:
            case "list":
                leases = sorted(self._leases.all(), key=lambda lease: lease.requested)
                return [describe_lease(lease) for lease in leases if lease.state == "stuck" or not request.stuck]
            case "show":
                lease = self._leases.get(request.id)
                return reasons.LEASE_UNKNOWN.reason() if lease is None else describe_lease(lease)
            case "revoke":
                if request.chosen.is_empty():
                    return reasons.LEASE_INVALID.reason()
                return {"ended": self._leases.end_all(request.chosen.predicate(), "operator")}
            case "abandon":
                reason = request.reason.strip()
                if not reason or len(reason) > _LONGEST_REASON:
                    return reasons.LEASE_INVALID_REASON.reason()
                lease = await self._leases.abandon(request.id, reason)
                return reasons.LEASE_UNKNOWN_ENDING.reason() if lease is None else describe_lease(lease)
