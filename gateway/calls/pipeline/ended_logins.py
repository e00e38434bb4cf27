"""The end of all that the callers of an ended login have: leases, tokens of calls, and declared tasks."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from gateway.authority.signals.subjects import names_session_only
from gateway.calls.pipeline.record import append_or_log
from gateway.model import reasons
from gateway.model.caller import name_party

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.authority.lending import Authority
    from gateway.authority.signals.register import Signal
    from gateway.calls.pipeline.record import Recording
    from gateway.history import TaskRegistry
    from gateway.history.task_history import TaskHistory
    from gateway.model.caller import Principal

log = structlog.get_logger("gateway.signals")

CALLERS: Final = 20_000
_SESSIONS: Final = 16


class SeenCallers:
    """The latest logins of each caller. A signal about one session leaves the tasks of a caller with another session alone."""

    def __init__(self, capacity: int = CALLERS) -> None:
        self._capacity = capacity
        self._logins: OrderedDict[str, OrderedDict[str, Principal]] = OrderedDict()

    def note(self, principal: Principal) -> None:
        """Note a login that a request came from."""
        logins = self._logins.get(principal.key)
        if logins is None:
            logins = self._logins[principal.key] = OrderedDict()
            if len(self._logins) > self._capacity:
                self._logins.popitem(last=False)
        session = principal.session or ""
        known = logins.get(session)
        if known is None or (known.issued or 0.0) < (principal.issued or 0.0):
            logins[session] = principal
            while len(logins) > _SESSIONS:
                logins.popitem(last=False)

    def of(self, owner: str) -> tuple[Principal, ...]:
        """Return the latest logins of a caller."""
        logins = self._logins.get(owner)
        return () if logins is None else tuple(logins.values())


class EndedLogins:
    """Ends what callers have. `authority` is `None` without leased credentials."""

    def __init__(
        self,
        registry: TaskRegistry,
        recorder: Recording,
        authority: Authority | None,
        seen: SeenCallers,
        *,
        is_ended: Callable[[Principal], bool],
        clock: Callable[[], float],
        end_answers: Callable[[Callable[[Principal], bool]], None] = lambda _is_chosen: None,
    ) -> None:
        self._registry = registry
        self._recorder = recorder
        self._authority = authority
        self._seen = seen
        self._is_ended = is_ended
        self._clock = clock
        self._end_answers = end_answers
        self._writing: set[asyncio.Task[None]] = set()

    def end(self, signal: Signal) -> None:
        """End leases, tokens and tasks of the callers that a signal names. No later call carries their credentials."""
        leases = 0 if self._authority is None else self._authority.leases.end_callers(signal.covers, "signal")
        self._end_answers(signal.covers)
        tasks = [kept for kept in self._open_tasks() if self._owns(signal, kept)]
        self._end_tasks(tasks)
        log.warning("signals.ended", stream=signal.transmitter, type=signal.type, leases=leases, tasks=len(tasks))

    def end_restored(self, signals: Iterable[Signal]) -> None:
        """End the tasks that a stopped gateway left open although their callers' logins were ended."""
        ended: dict[str, list[Signal]] = {}
        for signal in signals:
            if signal.effect == "end" and not names_session_only(signal.subject):
                for party in next(iter(_parties_of(signal)), ()):
                    ended.setdefault(party, []).append(signal)
        for kept in self._open_tasks() if ended else ():
            about = [signal for party in kept.parties for signal in ended.get(party, ())]
            # Many transmitters count whole seconds.
            if any(int(kept.task.opened) <= signal.at and _names_parties(signal, kept.parties) for signal in about):
                self._end_tasks([kept])

    async def written(self) -> None:
        """Return when the journal has the end of each task."""
        await asyncio.gather(*self._writing)

    def _open_tasks(self) -> Iterable[TaskHistory]:
        now = self._clock()
        return [kept for kept in self._registry.all() if kept.status(now) == "open"]

    def _owns(self, signal: Signal, kept: TaskHistory) -> bool:
        logins = self._seen.of(kept.owner)
        if logins:
            # A task may be used by several logins of its caller. It goes on while one of them does.
            return all(map(self._is_ended, logins)) and any(map(signal.covers, logins))
        return not names_session_only(signal.subject) and _names_parties(signal, kept.parties)

    def _end_tasks(self, tasks: Iterable[TaskHistory]) -> None:
        for kept in tasks:
            task = kept.task
            if task.kind == "implicit":
                # It goes on with the next login, since what it has read still counts. Its open calls lose their tokens.
                if self._authority is not None:
                    self._authority.tokens.end_task(task.id)
                continue
            writing = asyncio.get_running_loop().create_task(
                append_or_log(self._recorder, "task", self._registry.end(task, "cancelled"))
            )
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)


LOGIN_ENDED: Final = reasons.IDENTITY_REVOKED_MEANWHILE.refusal()
"""Of a call that was allowed, and whose login ended before it went on."""


def _names_parties(signal: Signal, parties: tuple[str, ...]) -> bool:
    """Return whether a signal names a task by issuer and account."""
    named = _parties_of(signal)
    return bool(named) and all(not each.isdisjoint(parties) for each in named)


def _parties_of(signal: Signal) -> tuple[frozenset[str], ...]:
    """Return the possible parties of tasks (`Principal.parties`) for each member of the subject that names accounts."""
    if not signal.subject.members:
        return (frozenset(name_party("issuer", issuer, "") for issuer in signal.issuers),)
    found = (
        frozenset(
            name_party(kind, *each.values)
            for each in member.identifiers
            if each.format == "iss_sub"
            for kind in ("agent", "user")
        )
        for member in signal.subject.members
    )
    return tuple(parties for parties in found if parties)
