"""The control interface, made from the configuration: its operations, its socket, and the people with a role."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import to_builtins

from gateway.authority import operators as leases
from gateway.authority.approvals import office as approvals
from gateway.authority.approvals import passkeys
from gateway.authority.approvals.model import Person
from gateway.authority.approvals.rules import Accounts, Admission, Approver
from gateway.authority.connections import operators as connections
from gateway.authority.signals import operators as signals
from gateway.authority.stops import switch as stops
from gateway.base.concurrency.background import Job
from gateway.base.control.line_socket import own_uid
from gateway.base.control.operations import ControlSocket, OperatorAccounts, OperatorName
from gateway.calls.pipeline import effects
from gateway.calls.pipeline.people import TokenPeople
from gateway.config.approvals import ApproverIdentity
from gateway.config.identities import OperatorIdentity
from gateway.history import written_texts as texts
from gateway.history.tasks import operators as tasks
from gateway.identity.dpop import PROOFS, SharedProofs
from gateway.identity.identities import Identities
from gateway.model import reasons
from gateway.model.caller import canonical_groups
from gateway.model.errors import ConfigurationError, StoreError
from gateway.surfaces.app import facts, keys
from gateway.surfaces.console import sessions

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from gateway.authority.approvals.model import Assurance
    from gateway.base.control.operations import Operation, Record
    from gateway.base.store.records import SealedStore
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration
    from gateway.model.caller import Principal, User
    from gateway.model.decision import Reason
    from gateway.record.journal.writer import Journal

log = structlog.get_logger("gateway")

_FORGET_SECONDS: Final = 60.0
"""Between two looks for used proofs that are too old."""
OPERATIONS: Final = {
    operation.name: operation
    for declared in (
        approvals,
        passkeys,
        leases,
        connections,
        signals,
        stops,
        effects,
        sessions,
        keys,
        facts,
        texts,
        tasks,
    )
    for operation in declared.OPERATIONS
}
"""The operations of every gateway, by their names."""


async def open_control(stack: AsyncExitStack, configuration: Configuration, gateway: Gateway) -> None:
    """Listen for people with an account on this machine until the stack ends.

    Raises `ConfigurationError` if the socket cannot be made, and the gateway has more operations than stops.
    """
    accounts = find_accounts(configuration)
    # Other accounts than root and the gateway's connect only if some are named.
    mode = 0o666 if accounts.people or accounts.operators.named else 0o600
    socket = ControlSocket(configuration.control_socket, gateway.control, accounts.identify, mode=mode)
    try:
        await socket.start(stack)
    except ConfigurationError as error:
        if gateway.people or gateway.authority or gateway.signals.receiver or configuration.console:
            raise
        # A gateway goes on where no socket works, such as on another system than Linux. The console has the stops too.
        log.warning("control.unreachable", problem=error.message, remedy=error.remedy)


def find_accounts(configuration: Configuration) -> Accounts:
    """Return the people with an account on this machine."""
    peers = () if configuration.approvals is None else configuration.approvals.peers
    people = {peer.uid: Person(peer.id, peer.issuer, peer.groups, "peer", "socket") for peer in peers}
    named = {account.uid: OperatorName(account.id, account.issuer) for account in configuration.operators.accounts}
    operators = OperatorAccounts(own_uid(), named, configuration.is_development)
    return Accounts(people, operators, find_admission(configuration))


def open_proofs(stack: AsyncExitStack, configuration: Configuration, store: SealedStore) -> SharedProofs | None:
    """Return the used proofs of all gateways of a database until the stack ends; `None` without a database."""
    if configuration.store is None:
        return None
    proofs = SharedProofs(store.of(PROOFS))

    async def forget_old() -> None:
        await asyncio.sleep(_FORGET_SECONDS)
        try:
            await proofs.expire()
        except StoreError as error:
            log.warning("proofs.unswept", problem=error.message)

    stack.push_async_callback(Job.begin_repeating(forget_old, "used proofs").stop)
    return proofs


async def open_token_people(
    stack: AsyncExitStack,
    configuration: Configuration,
    clock: Callable[[], float],
    is_ended: Callable[[Principal], bool] | None,
    proofs: SharedProofs | None,
) -> dict[str, TokenPeople]:
    """Return the people with a token over HTTP by their role, with their keys loaded. A person whose login `is_ended` is refused.

    Raises `ConfigurationError`.
    """
    found: dict[str, TokenPeople] = {}
    for settings in configuration.people_over_http:
        identities = Identities.build_people(configuration, settings, clock=clock, is_ended=is_ended, proofs=proofs)
        await identities.start()
        stack.push_async_callback(identities.stop)
        if isinstance(settings, OperatorIdentity):
            fresh = None if settings.fresh is None else settings.fresh.total_seconds()
            found["operator"] = TokenPeople(
                identities, partial(_admit_operator, canonical_groups(settings.groups)), fresh
            )
        elif isinstance(settings, ApproverIdentity):
            admit = partial(_admit_approver, find_admission(configuration), settings.assurance)
            found["approver"] = TokenPeople(identities, admit)
    return found


def _admit_operator(groups: frozenset[str], principal: Principal, user: User) -> OperatorName | Reason:
    if not groups & canonical_groups(user.groups):
        return reasons.OPERATOR_MEMBER.reason()
    return OperatorName(user.id, principal.issuer, "api")


def _admit_approver(admission: Admission, assurance: Assurance, principal: Principal, user: User) -> Approver | Reason:
    login, mail = principal.logged_in, principal.mail or ""
    known_as = principal.known_as
    return admission.admit(Person(user.id, principal.issuer, user.groups, assurance, "api", login, known_as, mail))


def recording(journal: Journal) -> Record:
    """Return the record of operators' requests."""

    async def record(operation: Operation, request: Any, by: OperatorName) -> None:
        fields = {name: value for name, value in to_builtins(request).items() if value not in (None, False)}
        await journal.append("operator", {"event": operation.name, "by": by.describe(), "fields": fields})

    return record


def find_admission(configuration: Configuration) -> Admission:
    """Return the check of people who see and answer questions."""
    people = None if configuration.approvals is None else configuration.approvals.people
    return Admission() if people is None else Admission(people.groups)
