"""The database that workers bring with them, in the state folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import psutil
import pytest

from gateway import config
from gateway.base.store.engine import Change
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_connection import Server
from gateway.config.keys import load
from gateway.model.errors import ConfigurationError, StoreError
from gateway.surfaces.stored.local_postgresql import LocalPostgres, has_local
from gateway.surfaces.stored.opening import find_server, hold_records
from tests.unit.base.store.postgresql_server import BY_NOBODY, find_programs

PATIENCE: Final = 30.0


class OtherAccount(LocalPostgres):
    """The server, run by another account where the tests run as root."""

    def _find_programs(self) -> Path:
        return find_programs() if BY_NOBODY else super()._find_programs()


@pytest.fixture
def state() -> Generator[Path]:
    # The path of a Unix socket has at most 107 bytes, so this is no folder of pytest.
    folder = Path(tempfile.mkdtemp(prefix="state-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def local(state: Path) -> Generator[LocalPostgres]:
    made = OtherAccount(state, BY_NOBODY)
    yield made
    made.stop()


def open_engine(local: LocalPostgres) -> PostgresStore:
    settings = config.Configuration.model_validate({"store": local.settings}, context={"base": Path(), "secrets": True})
    return PostgresStore(Server(find_server(settings).url, PATIENCE, PATIENCE, PATIENCE))


async def test_the_database_is_made_once_and_keeps_its_records(local: LocalPostgres, state: Path):
    assert not has_local(state)
    local.start()
    assert has_local(state)
    first = open_engine(local)
    assert await first.change(Change("stop", "one", b"sealed"))
    first.close()
    local.stop()
    assert local.process is None

    local.start()
    again = open_engine(local)
    assert await again.count("stop") == 1
    again.close()


async def test_no_other_account_reaches_the_database(local: LocalPostgres):
    local.start()

    assert local.folder.stat().st_mode & 0o077 == 0
    (socket,) = local.folder.glob(".s.PGSQL.*[0-9]")
    assert socket.stat().st_mode & 0o077 == 0
    assert local.process is not None
    assert psutil.Process(local.process).net_connections("tcp") == []


async def test_a_killed_database_starts_again_with_its_records(local: LocalPostgres):
    local.start()
    engine = open_engine(local)
    assert await engine.change(Change("stop", "one", b"sealed"))
    engine.close()
    assert local.process is not None
    psutil.Process(local.process).kill()
    psutil.Process(local.process).wait()

    local.note_end(-9)

    again = open_engine(local)
    assert await again.count("stop") == 1
    again.close()


def test_the_server_of_a_killed_parent_is_replaced(local: LocalPostgres, state: Path):
    before = OtherAccount(state, BY_NOBODY)
    before.start()
    assert before.process is not None
    left = psutil.Process(before.process)
    try:
        local.start()

        assert left.wait(PATIENCE) == 0, "it ended in order"
        assert local.process is not None
        assert psutil.Process(local.process).status() != psutil.STATUS_ZOMBIE
        local.stop()
        assert list(local.folder.glob(".s.PGSQL.*")) == [], "no server is left"
    finally:
        before.stop()


async def test_a_gateway_alone_does_not_leave_the_records_of_workers_behind(local: LocalPostgres, state: Path):
    local.start()
    settings = config.parse(f"state: {state}\njournal: {{path: {state}/journal}}\n", base=state)

    with pytest.raises(StoreError, match="the durable records are in the database of workers"):
        async with hold_records(settings, load(settings, begun=False)):
            pytest.fail("it started")


@pytest.mark.parametrize("name", ["s" * 120])
def test_a_folder_that_is_too_long_for_a_socket_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ConfigurationError, match="too long for a Unix socket"):
        LocalPostgres(tmp_path / name).start()


def test_root_is_told_to_run_the_gateway_by_another_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(ConfigurationError, match="PostgreSQL does not run as root"):
        LocalPostgres(tmp_path).start()
