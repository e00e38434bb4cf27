"""Stops of operators and signals of identity providers: the refusal of requests, and the end of all that callers have."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from gateway.authority.signals.register import SignalRegister
from gateway.authority.signals.set import TYPE, SetFault, check_claims
from gateway.authority.signals.subjects import names_session_only
from gateway.authority.stops.model import Parties, StopRegister, refuse
from gateway.authority.stops.switch import StopEffects
from gateway.calls.pipeline.record import append_or_log
from gateway.identity import jose
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons
from gateway.model.caller import name_party
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from gateway.authority.approvals.desk import Desk
    from gateway.authority.approvals.model import Question
    from gateway.authority.lending import Authority
    from gateway.authority.signals.receiver import SignalReceiver, SignalStream
    from gateway.authority.signals.register import Signal
    from gateway.authority.stops.model import Selection, Stop
    from gateway.authority.stops.switch import StopSwitch
    from gateway.calls.pipeline.record import RecordPlace
    from gateway.calls.response.open_answers import OpenAnswers
    from gateway.history import TaskRegistry
    from gateway.history.task_history import TaskHistory
    from gateway.identity.jose import Jws
    from gateway.identity.keys import IssuerKeys
    from gateway.model.caller import Principal
    from gateway.model.decision import Refusal
    from gateway.model.task import Task

# --- stops -----------------------------------------------------------------------------------------------


log = structlog.get_logger("gateway.revocation")


@dataclass(frozen=True, slots=True)
class Stops:
    """The stops in force, and the switch of operators; `None` where nobody operates the gateway."""

    register: StopRegister = field(default_factory=StopRegister)
    switch: StopSwitch | None = None

    def refuse(self, principal: Principal, upstream: str | None = None, task: Task | None = None) -> Refusal | None:
        """Return the refusal of a stopped request, `None` if it may go on. The stop of a task stops all tasks below it."""
        stop = self.register.find(principal, upstream, None if task is None else task.id)
        if stop is None and task is not None and task.parent is not None:
            found = (self.register.find(principal, upstream, above) for above in task.parent.path)
            stop = next((each for each in found if each is not None), None)
        return None if stop is None else refuse(stop)


class StopEnder:
    """Ends what a new stop covers. `authority` is `None` without leased credentials, `desk` without people.

    `end_processes` ends the processes whose every call a stop covers, and returns their number. `list_below` returns the ids of the
    tasks below a task.
    """

    def __init__(
        self,
        answers: OpenAnswers,
        authority: Authority | None,
        desk: Desk | None,
        end_processes: Callable[[Selection], Awaitable[int]],
        list_below: Callable[[str], Iterable[str]],
    ) -> None:
        self._answers = answers
        self._authority = authority
        self._desk = desk
        self._end_processes = end_processes
        self._list_below = list_below

    async def end(self, stop: Stop) -> StopEffects:
        """End leases, answers under way, processes and open questions. Leases and answers end in this turn of the event loop."""
        covers = self._build_test(stop.chosen)
        # The end of a lease cuts its answers too. Their callers hear of the stop, so the answers come first.
        answers = self._answers.cut(lambda each: covers(Parties.of(each.principal), each.upstream, each.task))
        leases = 0 if self._authority is None else _end_leases(self._authority, covers)
        questions = 0 if self._desk is None else await _withdraw_questions(self._desk, covers)
        return StopEffects(leases, answers, questions, await self._end_processes(stop.chosen))

    def _build_test(self, chosen: Selection) -> _Covers:
        """Return the test whether a selection covers work: that of a task covers the tasks below it, too."""
        below = frozenset(self._list_below(chosen.name) if chosen.scope == "task" else ())
        return lambda parties, upstream, task: chosen.covers(parties, upstream, chosen.name if task in below else task)


_Covers: TypeAlias = "Callable[[Parties, str, str | None], bool]"


def _end_leases(authority: Authority, covers: _Covers) -> int:
    """End the leases under a selection. Leases without grounds are of the gateway's own listings."""
    leases = authority.leases
    permitted = [
        lease
        for lease, grounds in leases.permitted()
        if covers(Parties.of(grounds.principal), lease.upstream, lease.task)
    ]
    others = Parties((), ("", ""))
    ended = leases.end(permitted, "operator")
    return ended + leases.end_all(lambda lease: covers(others, lease.upstream, lease.task), "operator")


async def _withdraw_questions(desk: Desk, covers: _Covers) -> int:
    """Withdraw the open questions, and the unused approvals, of calls under a selection. A held call hears of it at once."""
    withdrawn = 0
    for approval in desk.list_open():
        question = approval.question
        if not covers(_parties_of_question(question), question.target.partition("/")[0], question.task):
            continue
        try:
            withdrawn += await desk.withdraw(approval.id, "stopped")
        except GatewayError as error:
            log.error("stop.question-left", id=approval.id, problem=error.message)  # noqa: TRY400 - the message says it all
    return withdrawn


def _parties_of_question(question: Question) -> Parties:
    """Return the names behind a question. It has no issuers of delegates, so the caller's own stands for these."""
    asker = question.requester
    agents = tuple((name, asker.issuer) for name in (asker.id, *asker.delegates))
    return Parties(agents, (asker.user or asker.id, asker.issuer))


# --- signals ---------------------------------------------------------------------------------------------


_TYPES: Final = frozenset({TYPE})


@dataclass(frozen=True, slots=True)
class VerifiedStream:
    """A stream with the keys of its transmitter. `authorization` is the required header of a push, if there is one.

    `is_pushed`: the transmitter posts its events to the gateway.
    """

    stream: SignalStream
    keys: IssuerKeys
    algorithms: frozenset[str]
    is_pushed: bool
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals in force, and their receiver with its streams; `None`: no identity provider sends any."""

    register: SignalRegister = field(default_factory=SignalRegister)
    receiver: SignalReceiver | None = None
    sources: tuple[VerifiedStream, ...] = ()


async def take_token(
    receiver: SignalReceiver, source: VerifiedStream, token: bytes, clock: Callable[[], float]
) -> SetFault | None:
    """Take the event of a token. Return `None` once it is recorded, else the fault of the token.

    Raises `GatewayError` if the event cannot be verified or recorded now.
    """
    jws = _read_token(source, token)
    if isinstance(jws, SetFault):
        return jws
    keys = await source.keys.find(jws.kid, jws.alg)
    if not any(jose.signed_by(jws, key) for key in keys):
        return SetFault("invalid_key", "the signature is of no key that the transmitter publishes")
    event = check_claims(jws.claims, source.stream.rules, clock())
    return event if isinstance(event, SetFault) else await receiver.take(source.stream, event, jws.signed)


def _read_token(source: VerifiedStream, token: bytes) -> Jws | SetFault:
    """Return a token before its signature is verified, else the fault of its form or its header."""
    if not token.isascii():
        return _MALFORMED
    jws = jose.read_jws(token.decode("ascii"))
    if isinstance(jws, CredentialFault):
        return SetFault("invalid_request", jws.detail)
    if jws.typ not in _TYPES:
        return SetFault("invalid_request", f"the token's typ is not {TYPE}")
    if jws.claims.get("iss") != source.stream.rules.issuer:
        return SetFault("invalid_issuer", "iss is not the transmitter of this stream")
    fault = jose.check_header(jws, source.algorithms, _TYPES)
    return jws if fault is None else SetFault("invalid_request", fault.detail)


_MALFORMED: Final = SetFault("invalid_request", "the body is not one token in compact form")


# --- ended logins ----------------------------------------------------------------------------------------


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
        recorder: RecordPlace,
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
        return [kept for kept in self._registry.all() if self._registry.trees.status(kept, now) == "open"]

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
            if kept.ended is not None:
                continue  # it ended with a task above it
            for fields in self._registry.end(task, "cancelled"):
                writing = asyncio.get_running_loop().create_task(append_or_log(self._recorder, "task", fields))
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
