"""A whole history, made of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.history.exposure import Exposures, OriginReporter
from gateway.history.jobs import Jobs
from gateway.history.ledger import TaskLedger
from gateway.history.log import HistoryLog, JournalAsLog
from gateway.history.registry import TaskRegistry, new_task_id
from gateway.history.states import TaskStates

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import HistorySettings
    from gateway.history.exposure import OriginListener
    from gateway.history.task_history import TaskHistory


class History(Struct, frozen=True):
    """The parts of a history. `tasks` opens, finds and forgets tasks, and `ledger` has the events of each. `states` has
    their states, for snapshots."""

    tasks: TaskRegistry
    ledger: TaskLedger
    states: TaskStates


def build_history(
    settings: HistorySettings,
    *,
    clock: Callable[[], float],
    new_id: Callable[[], str] = new_task_id,
    conceal: Callable[[str, TaskHistory], str] = lambda _goal, _kept: "",
    origins: OriginListener | None = None,
    log: HistoryLog | None = None,
) -> History:
    """Return an empty history. `log` has its events; by default the journal is its log.

    `conceal` takes the credentials out of a task's goal before it is written; by default no goal is written. `origins`
    hears which credentials systems have shown to the kept tasks.
    """
    states, exposures, teller = TaskStates(conceal), Exposures(), OriginReporter(origins)
    states.jobs = Jobs(settings.warm.total_seconds())
    log = JournalAsLog(states) if log is None else log
    tasks = TaskRegistry(settings, states, teller, exposures, log, new_id=new_id)
    return History(tasks, TaskLedger(tasks, states, teller, exposures, log, clock=clock), states)
