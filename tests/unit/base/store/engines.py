"""Both engines, opened by the place of their records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.base.store.engine import Engine
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_connection import Server
from gateway.base.store.sqlite import SqliteStore

Opened = Callable[[], Engine]

PATIENCE: Final = 30.0
"""Seconds for each operation: these tests are about results, and their machine may be busy."""


def open_store(place: str, clock: Callable[[], float]) -> Engine:
    if place.startswith("postgresql:"):
        return PostgresStore(Server(place, PATIENCE, PATIENCE, PATIENCE), clock)
    return SqliteStore(Path(place), clock)
