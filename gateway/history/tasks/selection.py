"""Selection of the declared task of a request. Pure: no I/O, no clock, no randomness. A client names the task in the
header `Opagate-Task`, or in the message, `_meta["io.opagate/task"]`, by id or token. The message goes to the upstream
unchanged, so the header hides the task's name from the upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway.history.tasks.tokens import MAX_TOKEN
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.model.wire import Message
    from gateway.wire.protocol.headers import HeaderFields

HEADER: Final = b"opagate-task"
META: Final = "io.opagate/task"


def select_task(message: Message | None, fields: HeaderFields) -> str | Reason | None:
    """Return the id or token in the request, `None` without any. Refuse a request with two names, or with an impossible
    name. An empty name is refused too: its caller must not get the implicit task."""
    sent = fields.get(HEADER)
    meta = None if message is None else message.params.get("_meta")
    if isinstance(meta, Mapping) and META in meta:
        value = meta[META]
        if not isinstance(value, str):
            return reasons.TASK_UNKNOWN.reason()
        named = [*_names(sent or ()), value]
    elif sent is None:
        return None
    else:
        named = _names(sent)
    if len(set(named)) > 1:
        return reasons.TASK_AMBIGUOUS.reason(member=META)
    return named[0] if 0 < len(named[0]) <= MAX_TOKEN else reasons.TASK_UNKNOWN.reason()


def _names(values: tuple[bytes, ...]) -> list[str]:
    return [value.decode("latin-1").strip() for value in values]
