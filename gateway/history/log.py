"""The log behind the history of tasks: the place where an event has to be before anything rests on it.

An event is folded at once, so calls on one event loop see one another whole. `confirm` then waits for the log. A gateway
alone has its journal as the log, and each caller waits for its own entry there. Gateways that share a store have the logs
of the store (`shared`). Another gateway may have been first there. Then the event is taken back, and made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.history.events import Confirmed, Released, Reserved, Settled
from gateway.model.facts import NO_DECLARED_FACTS

if TYPE_CHECKING:
    from gateway.history.declared.marks import AccountReading
    from gateway.history.declared.tables import Tables
    from gateway.history.events import Event
    from gateway.history.states import TaskStates
    from gateway.history.task_history import TaskHistory
    from gateway.model.facts import DeclaredFacts


class HistoryLog(Protocol):
    """A log of all tasks. `owner` is the key of the principal that a task is bound to."""

    @property
    def is_shared(self) -> bool:
        """Return whether other gateways append to the log."""
        ...

    def note(self, kept: TaskHistory, event: Event | None, used: float | None, /) -> None:
        """Take in a folded event, or the begin of a task for `None`. `used` is the time at which the event used the task."""
        ...

    def has_begun(self, owner: str, task_id: str, /) -> bool:
        """Return whether the log has the begin of a kept task."""
        ...

    def shed(self) -> None:
        """Let tasks leave memory beyond a limit. The log has these tasks."""
        ...

    async def catch_up(self, owner: str, /) -> None:
        """Fold the events of other gateways up to now. Raises `HistoryError`."""
        ...

    def expect_facts(self, reading: AccountReading, /) -> None:
        """Take the declared facts of a call from the accounts at the place of its reservation."""
        ...

    async def read_facts(self, reading: AccountReading, /) -> DeclaredFacts:
        """Return these facts. Raises `HistoryError`."""
        ...

    async def read_tables(self, account: str, /) -> Tables | None:
        """Return the declared facts of an account up to now, `None` if it has none. Raises `HistoryError`."""
        ...

    async def confirm(self, owner: str, /) -> bool:
        """Wait until the log has the latest event of an owner. Return whether it does: the event may depend on a state that
        another gateway has changed, and is then taken back. Raises `HistoryError`."""
        ...


class JournalAsLog:
    """The log of a gateway alone. The journal gets each event from its caller, so there is no second write."""

    is_shared = False

    def __init__(self, states: TaskStates) -> None:
        self._states = states

    def note(self, _kept: TaskHistory, event: Event | None, _used: float | None, /) -> None:
        """Fold the event into the accounts of its call, and leave it to the journal."""
        if isinstance(event, Reserved):
            if event.facts:
                self._states.accounts.reserve(event)
        elif isinstance(event, Released | Settled):
            self._states.accounts.close(event)
        elif isinstance(event, Confirmed):
            self._states.accounts.correct(event)

    def has_begun(self, _owner: str, _task_id: str, /) -> bool:
        """Return true: no other gateway has a task of its own."""
        return True

    def shed(self) -> None:
        """Do nothing: states leave memory for the snapshots (`TaskStates.shed`)."""

    async def catch_up(self, _owner: str, /) -> None:
        """Return at once: no other gateway has events."""

    def expect_facts(self, _reading: AccountReading, /) -> None:
        """Do nothing: the accounts are in memory (`TaskStates.accounts`)."""

    async def read_facts(self, _reading: AccountReading, /) -> DeclaredFacts:
        """Return no facts: the reservation has all."""
        return NO_DECLARED_FACTS

    async def read_tables(self, account: str, /) -> Tables | None:
        """Return the facts of an account in memory."""
        return self._states.accounts.tables(account)

    async def confirm(self, _owner: str, /) -> bool:
        """Return at once: no other gateway can be first."""
        return True
