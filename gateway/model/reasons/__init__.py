"""The table of the reasons that the gateway itself gives, one entry a text. Policy's reasons stand in the rules.

An entry has the code, the words, the HTTP status and the JSON-RPC error code. Codes are part of the interface.
docs/reference/reasons.md is generated from this table.
"""

from __future__ import annotations

from typing import Final

from gateway.model.reasons.authority import *  # noqa: F403 - the modules are the sections of one table
from gateway.model.reasons.brokers import *  # noqa: F403 - as above
from gateway.model.reasons.callers import *  # noqa: F403 - as above
from gateway.model.reasons.console import *  # noqa: F403 - as above
from gateway.model.reasons.failures import *  # noqa: F403 - as above
from gateway.model.reasons.requests import *  # noqa: F403 - as above
from gateway.model.reasons.text import RefusalText, reason_of, sentence

__all__ = ["RefusalText", "entries", "reason_of", "sentence", "status_of"]


def entries() -> tuple[RefusalText, ...]:
    """Return the table."""
    return tuple(value for value in globals().values() if isinstance(value, RefusalText))


def status_of(code: str) -> int:
    """Return the HTTP status of a code; 403 for a code of another table."""
    return _STATUSES.get(code, 403)


_STATUSES: Final = {entry.code: entry.status for entry in entries()}
