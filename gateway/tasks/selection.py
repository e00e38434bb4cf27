"""Which declared task a request is for. Pure: no I/O, no clock, no randomness.

A client names it in a header, `Opagate-Task`, or in the message, `_meta["io.opagate/task"]`: by its id or by its token.
The message goes on to the upstream as it is; who does not want the upstream to know the task's name uses the header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway.model.decision import Reason
from gateway.tasks.tokens import MAX_TOKEN

if TYPE_CHECKING:
    from gateway.model.wire import Headers, Message

HEADER: Final = b"opagate-task"
META: Final = "io.opagate/task"

_AMBIGUOUS: Final = Reason(
    "task/ambiguous", "The request names more than one task.", f"Name it once: in Opagate-Task or in _meta[{META!r}]."
)
_UNREADABLE: Final = Reason("task/unknown", "There is no such task of yours.", "Open one with POST /tasks.")


def selected(message: Message | None, headers: Headers) -> str | Reason | None:
    """The id or token that the request names, `None` if it names none. A refusal if it names two, or something that
    cannot be a name: an empty one too, so that nobody gets the implicit task who asked for another."""
    named: list[str] = [value.decode("latin-1").strip() for name, value in headers if name == HEADER]
    meta = None if message is None else message.params.get("_meta")
    if isinstance(meta, Mapping) and META in meta:
        value = meta[META]
        if not isinstance(value, str):
            return _UNREADABLE
        named.append(value)
    if not named:
        return None
    if len(set(named)) > 1:
        return _AMBIGUOUS
    return named[0] if 0 < len(named[0]) <= MAX_TOKEN else _UNREADABLE
