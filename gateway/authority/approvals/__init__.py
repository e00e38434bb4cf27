"""Approvals: a call with a question to people waits, and passes once after a yes.

`model` has the records, `state` their changes, `rules` the requirements on people, `digest` the binding of a yes to one
call. `desk` keeps the open questions; `store` keeps the questions over a restart.
"""

from gateway.authority.approvals.desk import Desk, Times

__all__ = ["Desk", "Times"]
