"""The history of tasks: restored at the start, written down now and then and at the end, and forgotten with age.

Open questions and endorsements of the previous gateway come from their stores, and are brought up to date from the journal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gateway.base.concurrency.background import Job
from gateway.base.keys.key_ring import subkey
from gateway.calls.binding.ownership import Ownership
from gateway.calls.binding.vault import Vault
from gateway.config import Configuration
from gateway.config.keys import SNAPSHOTS, Keys
from gateway.history import History, Store, build_history, lost_end, rebuild, restore, rewind, snapshot
from gateway.history.declared.marks import FactReader
from gateway.history.returning import ReturningText
from gateway.history.shared import SharedLog
from gateway.history.task_history import TaskHistory
from gateway.history.tasks.endpoints import TaskEndpoints
from gateway.history.tasks.hand_over import HANDED_OVER, HandOvers
from gateway.history.tasks.operators import TaskOperations
from gateway.history.written_texts import WrittenTexts, add_operations
from gateway.identity.assembly import issuer_of
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.model.errors import HistoryError, StoreError
from gateway.policy.policy import Policy
from gateway.record.journal.redaction import concealed_with
from gateway.record.journal.verified_entries import entries
from gateway.surfaces.app import content, facts
from gateway.surfaces.app.people import ApprovalRegisters, DeskParts
from gateway.surfaces.stored.backup import forget_restored, read_restored

if TYPE_CHECKING:
    from gateway.authority.approvals.endorsement_store import EndorsementRegister
    from gateway.authority.approvals.store import StoredApprovals
    from gateway.authority.lending import Authority
    from gateway.base.control.operations import Control
    from gateway.base.store.engine import Claim
    from gateway.base.store.records import SealedStore
    from gateway.history.tasks.tokens import TaskTokens
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.inspection.inspector import Inspector
    from gateway.model.wire import JsonObject
    from gateway.policy.shadow import ShadowPolicy
    from gateway.surfaces.app.people import ApprovalRegisters


log = structlog.get_logger("gateway")

_HOUSEKEEPING_SECONDS: Final = 60.0
_LOST_CALLS_SECONDS: Final = 2.0
"""Seconds between two looks for calls of gateways that have ended."""
_GOAL_LENGTH: Final = 8192
"""Characters of a task's goal that the journal keeps, without what looks like a credential."""


class OpenedBase(Protocol):
    """The parts that history is made from. `claim` is `None` without a database."""

    @property
    def keys(self) -> Keys: ...
    @property
    def store(self) -> SealedStore: ...
    @property
    def claim(self) -> Claim | None: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def shadow(self) -> ShadowPolicy | None: ...
    @property
    def control(self) -> Control: ...


def open_history(
    stack: AsyncExitStack,
    configuration: Configuration,
    memories: tuple[KnownOrigins, Detector, Vault],
    base: OpenedBase,
    clock: Callable[[], float],
) -> History:
    """Return an empty history, whose ledger reads the facts of the policy in force. With a database, its log is there. The end
    of a task takes its handles from the vault."""
    origins, detector, vault = memories
    conceal, shared = partial(_conceal_goal, origins, detector), _open_log(stack, configuration, base, clock)
    history = build_history(configuration.history, clock=clock, conceal=conceal, origins=origins, log=shared)
    if shared is not None:
        shared.attach(history)
    shadow = base.shadow
    reader = FactReader(
        subkey(base.keys.fingerprints, "facts"),
        lambda: base.policy.facts if shadow is None else shadow.join_facts(base.policy.facts),
    )
    history.ledger.declared = reader
    facts.add_operations(base.control, configuration, history, reader, clock)
    keep = configuration.history.returning.total_seconds()
    if keep > 0:
        history.ledger.returning = ReturningText(keep)
        history.ledger.written = WrittenTexts(base.store, history.ledger.returning, clock)
    history.tasks.subscribe(lambda task_id, _how: vault.drop(task_id))
    return history


def build_tasks(
    parts: DeskParts,
    tokens: TaskTokens,
    inspector: Inspector,
    known: tuple[KnownOrigins, LiveValues],
    authority: Authority | None,
) -> TaskEndpoints:
    """Return the endpoints of tasks, and add the operations about tasks. A token ends with its task."""
    registry, live = parts.history.tasks, known[1]
    registry.subscribe(tokens.end)
    base_url = parts.configuration.base_url
    issuers = tuple(map(issuer_of, parts.configuration.identity))
    TaskOperations(parts.history, issuers, parts.journal.append, parts.clock).add_to(parts.control)
    return TaskEndpoints(
        registry,
        tokens,
        HandOvers(parts.keys.tokens, parts.store.of(HANDED_OVER), base_url=base_url, live=live),
        inspect=inspector.declared,
        find_ground=inspector.find_ground,
        holds_credential=partial(content.holds_credential, inspector.detector, *known),
        append=parts.journal.append,
        new_id=lambda: f"task-{secrets.token_hex(12)}",
        leases=(lambda _task: ()) if authority is None else authority.describe_task,
    )


def _open_log(
    stack: AsyncExitStack, configuration: Configuration, base: OpenedBase, clock: Callable[[], float]
) -> SharedLog | None:
    """Return the log of history in the database until the stack ends, `None` without a database."""
    if configuration.store is None or base.claim is None:
        return None
    shared = SharedLog(
        base.store,
        subkey(base.keys.fingerprints, "owners of history"),
        base.claim.id,
        clock=clock,
        deadline=configuration.store.deadline.total_seconds(),
        list_living=base.claim.list_living,
    )
    stack.push_async_callback(shared.close)

    async def close_lost_calls() -> None:
        await asyncio.sleep(_LOST_CALLS_SECONDS)
        try:
            await shared.close_lost_calls()
            await shared.accounts.write_snapshots()
        except (StoreError, HistoryError) as error:
            log.warning("history.lost-calls-open", problem=error.message)

    stack.push_async_callback(Job.begin_repeating(close_lost_calls, "lost calls").stop)
    return shared


def _conceal_goal(origins: KnownOrigins, detector: Detector, goal: str, kept: TaskHistory) -> str:
    """Return a goal without credentials: by their form, and as known to this or another task of the job."""
    shown = origins.of(kept.job)
    indexes = [] if shown is None else [shown.index]
    if kept.state is not None and kept.state.shingles:
        indexes.append(CredentialIndex(kept.state.shingles))
    return concealed_with(KnownSpots(detector, indexes), goal, _GOAL_LENGTH)


async def open_memory(parts: DeskParts, registers: ApprovalRegisters | None = None) -> Callable[[], Awaitable[None]]:
    """Restore history, open questions and endorsements from the stores and the journal of the gateway before this one.

    Returns a function to write both down. Raises `JournalError` for a changed journal: a task would seem to have done
    less than in truth.
    """
    configuration, keys, _, journal, _, clock, *_ = parts
    store = Store(configuration.state / SNAPSHOTS, keys.snapshots)
    history = _begin_restored(parts)
    restored = restore(history, store)
    if restored.problem is not None:
        log.error("history.snapshot-unused", problem=restored.problem.message)
    approvals = await _load_approvals(registers)
    after = restored.seq if approvals is None else min(restored.seq, approvals.seq)
    recorded = entries(configuration.journal.path, key=keys.chain, journal=restored.journal, after=after)
    rebuilt = rebuild(history, recorded if approvals is None else approvals.follow(recorded), restored)
    if approvals is not None:
        await approvals.resume(rebuilt.journal or "", journal.entries)
    lost = lost_end(history, restored, rebuilt, journal.taken_up)
    rewind(history, journal.taken_up)
    _leave_tasks(history, parts.history)
    if lost is not None:
        log.error("history.journal-cut", problem="the journal ended before the snapshots of history", **lost)
        await journal.append("cut", lost)
        if registers is not None and approvals is not None:
            await registers.desk.withdraw_all("journal-cut")
            await registers.endorsements.withdraw_all("journal-cut")
    await _withdraw_restored(parts, registers)
    log.info("history.rebuilt", tasks=len(history.tasks), events=rebuilt.events)

    async def write_down() -> None:
        try:
            replaced = await snapshot(history, store, lambda: (rebuilt.journal or "", journal.entries))
            if replaced is not None:
                log.error("history.snapshot-replaced", problem=replaced.message)
            history.states.shed(clock())
            if registers is not None:
                place = None if approvals is None else (rebuilt.journal or "", journal.entries)
                await registers.desk.sweep(place)
                await registers.endorsements.write_down(place)
        except StoreError as error:
            log.error("approvals.unsaved", problem=error.message)  # noqa: TRY400 - the message says it all
        except HistoryError as error:
            # The journal has everything: the next start only takes longer.
            log.error("history.snapshot-failed", problem=error.message)  # noqa: TRY400 - the message says it all

    await write_down()
    return write_down


async def _load_approvals(registers: ApprovalRegisters | None) -> RestoredApprovals | None:
    """Take over the contents of the stores, and return those that the journal brings up to date. Raises `StoreError`.

    Records of many gateways decide by themselves: this journal has no votes and uses of the others.
    """
    if registers is None:
        return None
    loaded = await RestoredApprovals.load(registers)
    return None if registers.desk.is_shared else loaded


def _begin_restored(parts: DeskParts) -> History:
    """Return the history for the journal: another than the gateway's if a database has the tasks."""
    is_shared = parts.history.ledger.log.is_shared
    return build_history(parts.configuration.history, clock=parts.clock) if is_shared else parts.history


def _leave_tasks(restored: History, history: History) -> None:
    """Keep nothing of the journal if the database has the tasks."""
    if restored is history:
        return
    for kept in restored.tasks.all():
        restored.tasks.remove(kept)


async def _withdraw_restored(parts: DeskParts, registers: ApprovalRegisters | None) -> None:
    """Withdraw the approvals of a state from a copy. Each may have been used, and each endorsement revoked, after the copy."""
    state = parts.configuration.state
    if (restored := read_restored(state)) is None:
        return
    log.warning("state.restored", made=restored.made)
    await parts.journal.append("restored", {"made": restored.made})
    if registers is not None:
        await registers.desk.withdraw_all("restored")
        await registers.endorsements.withdraw_all("restored")
        forget_restored(state)


def forget(owned: tuple[Ownership, ...], vault: Vault, history: History, clock: Callable[[], float]) -> None:
    """Remove expired entries of all memories. A job calls this, so an idle gateway frees memory too."""
    history.ledger.log.shed()
    for each in owned:
        each.expire()
    vault.retain(partial(history.tasks.is_open, now=clock()))
    history.states.accounts.sweep(clock())
    history.states.jobs.sweep(clock())


async def keep_memory(
    stack: AsyncExitStack, parts: DeskParts, registers: ApprovalRegisters | None, *chores: Callable[[], None]
) -> None:
    """Restore the memory of the gateway before this one, and write the memory down again and again until the stack
    ends.

    Raises `JournalError` as `open_memory` does.
    """
    write_down = await open_memory(parts, registers)
    if parts.history.ledger.written is not None:
        await _open_texts(stack, parts, parts.history.ledger.written)
    stack.push_async_callback(write_down)
    keep_house(stack, write_down, *chores)


async def _open_texts(stack: AsyncExitStack, parts: DeskParts, written: WrittenTexts) -> None:
    """Take over the written texts of the gateways before this one, and forget each at the end of its time."""
    await written.load()
    add_operations(parts.control, written)

    async def forget_old() -> None:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        await written.sweep()

    stack.push_async_callback(Job.begin_repeating(forget_old, "written texts").stop)


def keep_house(stack: AsyncExitStack, memory: Callable[[], Awaitable[None]], *chores: Callable[[], None]) -> None:
    """Do the chores and write the memory down again and again. The stack ends this before it writes for the last time."""

    async def do_chores() -> None:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        for chore in chores:
            chore()
        await memory()

    stack.push_async_callback(Job.begin_repeating(do_chores, "housekeeping").stop)


@dataclass(frozen=True, slots=True)
class RestoredApprovals:
    """The registers with the contents of their stores."""

    registers: ApprovalRegisters
    asked: StoredApprovals
    endorsed: EndorsementRegister

    @classmethod
    async def load(cls, registers: ApprovalRegisters) -> RestoredApprovals:
        """Take over the contents of the stores. Raises `StoreError`."""
        return cls(registers, await registers.desk.restore(), await registers.endorsements.restore())

    @property
    def seq(self) -> int:
        """Return the number of the last journal entry in both stores."""
        found = [self.asked.seq] if self.asked.approvals else []
        if self.endorsed.journal:
            found.append(self.endorsed.seq)
        return min(found, default=2**63)

    def follow(self, entries: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """Yield the entries of the journal after both registers have followed each. Raises `HistoryError` for a damaged entry."""
        for entry in entries:
            try:
                self.registers.desk.replay(entry)
                self.registers.endorsements.replay(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise HistoryError(
                    f"an entry of the journal about approvals cannot be read: {error}", "run `opagate journal verify`"
                ) from error
            yield entry

    async def resume(self, journal: str, last: int) -> None:
        """Go on with the questions and endorsements. All end if the journal is another, or lacks its end: the use of an
        approval may be missing, or the revocation of an endorsement. `last` is the number of the journal's last
        entry."""
        desk, endorsements = self.registers
        await desk.resume()
        await endorsements.resume()
        if self.asked.approvals and self.asked.journal != journal:
            log.error("approvals.withdrawn", problem="the journal is not the one in which they were asked")
            await desk.withdraw_all("journal-replaced")
        if not self.endorsed.ids:
            return
        if self.endorsed.journal != journal or self.endorsed.seq > last:
            log.error(
                "endorsements.withdrawn", problem="the journal is not the one in which they were given, or was cut"
            )
            await endorsements.withdraw_all("journal-replaced")
