"""The desk of approvals, made from the configuration, with its clockwork."""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from gateway.authority.approvals import Desk, Times
from gateway.authority.approvals.channels.building import build_channels
from gateway.authority.approvals.channels.notifier import Notifier
from gateway.authority.approvals.channels.sender import Timing
from gateway.authority.approvals.endorsement_store import EndorsementStore
from gateway.authority.approvals.endorsements import Endorsements
from gateway.authority.approvals.model import Question
from gateway.authority.approvals.office import Office, add_operations
from gateway.authority.approvals.passkeys import Passkeys
from gateway.authority.approvals.passkeys import add_operations as add_passkey_operations
from gateway.authority.approvals.register import Fleet
from gateway.authority.approvals.seal import TicketSeal
from gateway.authority.approvals.store import ApprovalStore
from gateway.base.concurrency.background import Job
from gateway.base.keys.key_ring import derive_ring, subkey
from gateway.base.store.duty import Duty
from gateway.calls.pipeline.people import CompletionNotices, People
from gateway.calls.pipeline.record import held_credentials
from gateway.history.shared import SharedLog
from gateway.model.errors import GatewayError
from gateway.record.journal.records import record_arguments
from gateway.surfaces.app.control import find_admission

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.base.control.operations import Control
    from gateway.base.store.engine import Claim
    from gateway.base.store.records import SealedStore
    from gateway.config import Configuration
    from gateway.config.keys import Keys
    from gateway.history import History
    from gateway.model.call import Call
    from gateway.model.facts import SessionFacts
    from gateway.model.wire import JsonObject
    from gateway.record.journal.redaction import KnownCredentials, Spots
    from gateway.record.journal.writer import Journal

log = structlog.get_logger("gateway")

_SWEEP_SECONDS: Final = 1.0


class DeskParts(NamedTuple):
    """The parts of the gateway for the desk."""

    configuration: Configuration
    keys: Keys
    store: SealedStore
    journal: Journal
    history: History
    clock: Callable[[], float]
    control: Control
    claim: Claim | None
    monotonic: Callable[[], float] = time.monotonic


class ApprovalRegisters(NamedTuple):
    """The people's answers kept over a restart: open questions, and recurring values."""

    desk: Desk
    endorsements: Endorsements


def build_registers(parts: DeskParts) -> ApprovalRegisters | None:
    """Return the registers of approvals, `None` if nobody is configured to approve calls."""
    settings = parts.configuration.approvals
    if settings is None:
        return None
    append = parts.journal.append
    seconds = (each.total_seconds() for each in (settings.pending, settings.grant, settings.hold))
    times = Times(*seconds, per_task=settings.questions_per_task)
    desk = Desk(
        times,
        ApprovalStore(parts.store),
        append=append,
        clock=parts.clock,
        monotonic=parts.monotonic,
        has_ended=partial(_has_ended, parts.history),
        fleet=_find_fleet(parts),
    )
    endorsements = Endorsements(
        EndorsementStore(parts.store),
        key=subkey(parts.keys.fingerprints, "endorsed values"),
        append=append,
        clock=parts.clock,
        monotonic=parts.monotonic,
        is_shared=desk.is_shared,
    )
    return ApprovalRegisters(desk, endorsements)


def _find_fleet(parts: DeskParts) -> Fleet | None:
    """Return the gateways on the same records, `None` for a gateway alone."""
    shared = parts.history.ledger.log
    return Fleet(parts.claim, shared.has_reserved) if parts.claim and isinstance(shared, SharedLog) else None


def _has_ended(history: History, question: Question, now: float) -> bool:
    """Return whether the task of a question is over. An implicit task is over if somebody ended it, not by its time.

    A gateway that shares its history may not know the task, or its latest use. There the end that somebody made counts alone.
    """
    if question.outlives_task or history.ledger.log.is_shared:
        return history.tasks.was_ended(question.task)
    return not history.tasks.is_open(question.task, now)


async def open_people(
    stack: AsyncExitStack,
    parts: DeskParts,
    registers: ApprovalRegisters | None,
    spots: Spots,
) -> People | None:
    """Open the desk until the stack ends: its clockwork, its operations, and the way to it for calls; `None` without registers.

    Raises `ConfigurationError`.
    """
    if registers is None:
        return None
    desk, endorsements = registers
    configuration, journal, history = parts.configuration, parts.journal, parts.history

    async def end_task(question: Question) -> bool:
        # Another gateway may have opened the task.
        await history.ledger.log.catch_up(question.requester.job)
        kept = history.tasks.find(question.task)
        if kept is None or history.tasks.trees.status(kept, desk.now()) != "open":
            return False
        ended = history.tasks.end(kept.task, "cancelled")
        await history.ledger.log.confirm(kept.job)
        for fields in ended:
            await journal.append("task", fields)
        return True

    keep_time(stack, desk, endorsements)
    page_url = f"{configuration.base_url}/approvals"
    answered_at = page_url if configuration.console is None else f"{configuration.base_url}/console/approvals"
    start_channels(stack, parts, desk, answered_at)
    passkeys = Passkeys(parts.store, configuration.base_url, append=journal.append, now=desk.now)
    office = Office(desk, endorsements, end_task, passkeys)
    add_operations(parts.control, office)
    add_passkey_operations(parts.control, passkeys)
    return People(
        desk,
        endorsements,
        office,
        TicketSeal(derive_ring(parts.keys.sessions, "approvals"), os.urandom),
        page_url,
        _describer(journal, spots),
        CompletionNotices(desk),
        find_admission(configuration),
    )


def start_channels(stack: AsyncExitStack, parts: DeskParts, desk: Desk, page_url: str) -> None:
    """Tell people of questions until the stack ends. `page_url` is the address at which people answer, without the id.

    Raises `ConfigurationError`.
    """
    settings = parts.configuration.approvals
    channels = () if settings is None else build_channels(settings, parts.clock)
    if settings is None or not channels:
        return
    timing = Timing(time.monotonic, asyncio.sleep, random.random)
    duty = Duty(parts.store, "messages about approvals", parts.claim)
    notifier = Notifier(desk, channels, page_url, timing, duty, has_watchers=settings.has_watchers)
    stack.push_async_callback(notifier.stop)
    notifier.start()
    keep_sender(stack, notifier)


def keep_sender(stack: AsyncExitStack, notifier: Notifier) -> None:
    """Look again and again whether this gateway has to send, until the stack ends."""

    async def look() -> None:
        try:
            await notifier.look()
        except GatewayError as error:
            log.warning("approvals.no-sender", problem=error.message)
        await asyncio.sleep(_SWEEP_SECONDS)

    stack.push_async_callback(Job.begin_repeating(look, "sender of approvals").stop)


def keep_time(stack: AsyncExitStack, desk: Desk, endorsements: Endorsements) -> None:
    """End questions and endorsements whose time is over, again and again, until the stack ends."""

    async def sweep() -> None:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            if desk.is_shared:
                await desk.follow()
                await endorsements.follow()
            await desk.settle_lost_claims()
            await desk.sweep()
            await endorsements.sweep()
        except GatewayError as error:
            log.warning("approvals.unswept", problem=error.message)

    stack.push_async_callback(Job.begin_repeating(sweep, "approvals").stop)


def _describer(
    journal: Journal, spots: Spots
) -> Callable[[Call, SessionFacts, KnownCredentials | None, bool], JsonObject]:
    """Return the description of arguments for people. The description has no credentials, and is the same for each
    setting of the journal."""
    record = partial(record_arguments, mode="full", key=journal.fingerprint_key, spots=spots)

    def describe(
        call: Call,
        facts: SessionFacts,
        known: KnownCredentials | None,
        has_pieces: bool,  # noqa: FBT001 - called in one place
    ) -> JsonObject:
        return record(call.arguments, known=known, held=None if has_pieces else held_credentials(facts))

    return describe
