"""Requests of operators and approvers to the operations of the control interface, without a socket."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.control.operations import Control, Operation, OperatorName
from gateway.model.decision import Reason
from gateway.surfaces.app.control import OPERATIONS

OPERATOR = OperatorName("olga")


def new_control() -> Control:
    """Return a control interface with the operations of every gateway, and no handlers."""
    return Control(OPERATIONS)


async def perform(control: Control, do: str, by: Any = OPERATOR, **fields: Any) -> Any:
    """Return the answer to a request as a client reads it, or the code of its refusal. An answer has its declared type."""
    operation = control.find(do)
    assert isinstance(operation, Operation)
    found = await control.perform(operation, msgspec.json.encode(fields), by)
    if isinstance(found, Reason):
        return found.code
    sent = msgspec.json.encode(found)
    msgspec.json.decode(sent, type=operation.answer)
    return msgspec.json.decode(sent)
