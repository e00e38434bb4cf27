"""Leases as operations of the control interface, for operators: `opagate credentials`."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.model import Lease, ListedLease, describe_lease
from gateway.base.control.operations import Operation
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.fleet import Fleet
    from gateway.authority.leases import Leases
    from gateway.base.control.operations import Control, OperatorName

_LONGEST_REASON: Final = 500
_NEED: Final = "an upstream with a leased credential"


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


class LeaseFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """A filter of a list. `stuck`: only leases whose issuer has not confirmed the end."""

    stuck: bool = False


class LeaseName(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a lease."""

    id: str


class AbandonedEnd(Struct, frozen=True, forbid_unknown_fields=True):
    """The end of a lease that an operator gives up, and the operator's reason."""

    id: str
    reason: str = ""


class EndedLeases(Struct, frozen=True):
    """The number of leases whose end began."""

    ended: int


LIST: Final = Operation(
    "leases/list", "operator", "List the open leases.", list[ListedLease], _NEED, LeaseFilter, ("GET", "/api/leases")
)
SHOW: Final = Operation(
    "leases/show", "operator", "Show one lease.", ListedLease, _NEED, LeaseName, ("GET", "/api/leases/{id}")
)
REVOKE: Final = Operation(
    "leases/revoke",
    "operator",
    "End the leases that fit every given field.",
    EndedLeases,
    _NEED,
    LeaseSelection,
    ("POST", "/api/leases/revoke"),
    is_recorded=True,
)
ABANDON: Final = Operation(
    "leases/abandon",
    "operator",
    "Give up an end without proof.",
    ListedLease,
    _NEED,
    AbandonedEnd,
    ("POST", "/api/leases/{id}/abandon"),
    is_recorded=True,
)
OPERATIONS: Final = (LIST, SHOW, REVOKE, ABANDON)


def add_operations(control: Control, leases: Leases, fleet: Fleet) -> None:
    """Add the operations of leases. They are about the leases of all gateways."""

    async def list_leases(asked: LeaseFilter, _by: OperatorName) -> list[ListedLease]:
        await fleet.look()
        found = sorted(leases.all(), key=lambda lease: lease.requested)
        return [describe_lease(lease) for lease in found if lease.state == "stuck" or not asked.stuck]

    async def show(asked: LeaseName, _by: OperatorName) -> ListedLease | Reason:
        await fleet.look()
        lease = leases.get(asked.id)
        return reasons.LEASE_UNKNOWN.reason() if lease is None else describe_lease(lease)

    async def revoke(chosen: LeaseSelection, _by: OperatorName) -> EndedLeases | Reason:
        if chosen.is_empty():
            return reasons.LEASE_INVALID.reason()
        return EndedLeases(await fleet.end(chosen.predicate(), "operator"))

    async def abandon(asked: AbandonedEnd, _by: OperatorName) -> ListedLease | Reason:
        reason = asked.reason.strip()
        if not reason or len(reason) > _LONGEST_REASON:
            return reasons.LEASE_INVALID_REASON.reason()
        lease = await fleet.abandon(asked.id, reason)
        return reasons.LEASE_UNKNOWN_ENDING.reason() if lease is None else describe_lease(lease)

    control.add({LIST: list_leases, SHOW: show, REVOKE: revoke, ABANDON: abandon})
