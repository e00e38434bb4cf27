"""The history of a task. `events` defines its events, `new_events` makes those that depend on earlier ones, and `fold`
folds all into the `state`. `facts` reads the state. `registry` keeps the tasks, `ledger` the events of each, and `states`
their states in memory or in the store. `log` is the interface of a log. The journal is the log of a gateway alone, and
`durable` folds it again, from the snapshots of `store`. `shared` is the log in a store of several gateways."""

from gateway.history.building import History, build_history
from gateway.history.durable import Rebuilt, Restored, lost_end, rebuild, restore, rewind, snapshot
from gateway.history.ledger import Reservation, TaskLedger
from gateway.history.registry import TaskRegistry
from gateway.history.store import Store

__all__ = [
    "History",
    "Rebuilt",
    "Reservation",
    "Restored",
    "Store",
    "TaskLedger",
    "TaskRegistry",
    "build_history",
    "lost_end",
    "rebuild",
    "restore",
    "rewind",
    "snapshot",
]
