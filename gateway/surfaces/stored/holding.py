"""The state folder of a gateway that does not run, held by a command of its account."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.model.errors import StoreError
from gateway.record.journal import storage

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextmanager
def hold_state(state: Path) -> Generator[None]:
    """Keep gateways from starting on a state folder. Raises `JournalError`, also if one runs, and `StoreError`."""
    require_owner(state)
    descriptor = storage.lock(state, "gateway.lock", "uses the state folder")
    try:
        yield
    finally:
        os.close(descriptor)


def require_owner(state: Path) -> None:
    """Refuse any account but the gateway's, whose start would fail on files of others. Raises `StoreError`."""
    try:
        owner = state.stat().st_uid
    except OSError as error:
        raise StoreError(
            f"the state folder {state} cannot be read: {error.strerror}", "name it with --config"
        ) from error
    if owner != os.geteuid():
        raise StoreError(f"the state folder {state} is of account {owner}", "run this as that account")
