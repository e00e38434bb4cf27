"""What a task has done: `events` fold into a state, `facts` reads it, `embedded` keeps the states of this process."""

from gateway.history.embedded import History

__all__ = ["History"]
