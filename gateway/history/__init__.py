"""The history of a task. `events` defines its events, `new_events` makes those that depend on earlier ones, and `fold`
folds all into the `state`. `facts` reads the state, and `relevance` tells which content the state can still use.
`embedded` keeps the tasks of this process, and `states` their states. `durable` keeps them beyond the process (`codec` and
`store` in snapshots, `events` in the journal)."""

from gateway.history.durable import Rebuilt, Restored, lost_end, rebuild, restore, rewind, snapshot
from gateway.history.embedded import History, Reservation
from gateway.history.store import Store

__all__ = [
    "History",
    "Rebuilt",
    "Reservation",
    "Restored",
    "Store",
    "lost_end",
    "rebuild",
    "restore",
    "rewind",
    "snapshot",
]
