"""What a task has done. `events` says what happens in one, `new_events` makes those that depend on what was before, `fold`
folds all of them into the `state`, `facts` reads that, `relevance` says what more the state can use. `embedded` keeps the
states of this process, `durable` makes them outlive it (`fields` in the journal, `dump` and `store` in snapshots).
"""

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
