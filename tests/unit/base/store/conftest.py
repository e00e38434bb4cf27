"""A PostgreSQL that the tests of one module share, with a schema of its own for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.unit.base.store.postgresql_server import PostgresServer


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server.make()
    finally:
        server.remove()


@pytest.fixture
async def schema_url(postgresql: PostgresServer) -> str:
    """Return the address of a schema that no other test uses."""
    name = f"test_{secrets.token_hex(6)}"
    await postgresql.execute(f"create schema {name}")
    return f"{postgresql.url}&search_path={name}"
