"""The reasons that the gateway itself gives, from `reasons.json`: one entry a text. Policy's reasons stand in the rules.

An entry has the code, the words, the HTTP status and the JSON-RPC error code. Codes are part of the interface. Each entry is an
attribute of this module; `names.py` has their names for type checkers. docs/reference/reasons.md is generated from the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from gateway.model.reasons.names import *  # noqa: F403 - the names of the entries
from gateway.model.reasons.text import EntryText, RefusalText, reason_of, sentence

__all__ = ["RefusalText", "entries", "names", "reason_of", "sentence", "status_of"]


def entries() -> tuple[RefusalText, ...]:
    """Return the table."""
    return tuple(_TABLE.values())


def names() -> tuple[str, ...]:
    """Return the names of the entries."""
    return tuple(_TABLE)


def status_of(code: str) -> int:
    """Return the HTTP status of a code; 403 for a code of another table."""
    return _STATUSES.get(code, 403)


def _read_table() -> dict[str, RefusalText]:
    written = Path(__file__).with_name("reasons.json").read_bytes()
    sections = msgspec.json.decode(written, type=dict[str, dict[str, EntryText]])
    return {name: entry.read() for section in sections.values() for name, entry in section.items()}


_TABLE: Final = _read_table()
_STATUSES: Final = {entry.code: entry.status for entry in _TABLE.values()}
globals().update(_TABLE)
