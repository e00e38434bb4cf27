"""The history of this process: its parts, built together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.history.exposure import Exposures
from gateway.history.ledger import TaskLedger
from gateway.history.origins import Teller
from gateway.history.registry import TaskRegistry, new_task_id
from gateway.history.states import TaskStates

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import HistorySettings
    from gateway.history.origins import Origins
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
    origins: Origins | None = None,
) -> History:
    """Return an empty history.

    `conceal` takes the credentials out of a task's goal before it is written; by default no goal is written. `origins`
    hears which credentials systems have shown to the kept tasks.
    """
    states, exposures, teller = TaskStates(conceal), Exposures(), Teller(origins)
    tasks = TaskRegistry(settings, states, teller, exposures, new_id=new_id)
    return History(tasks, TaskLedger(tasks, states, teller, exposures, clock=clock), states)
