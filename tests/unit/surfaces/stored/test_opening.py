"""The durable records in PostgreSQL, by the setting `store`: held by one gateway, and never left behind in a file."""

from __future__ import annotations

import asyncio
import builtins
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.base.store.engine import Change
from gateway.base.store.postgresql_claim import PostgresClaim
from gateway.base.store.sqlite import SqliteStore
from gateway.calls.pipeline.readiness import list_problems
from gateway.config import Configuration, keys
from gateway.config.secret_texts import secret_texts, secret_variables
from gateway.model.errors import ConfigurationError, StoreError
from gateway.surfaces.cli.file_checks import look_at_store
from gateway.surfaces.cli.keys import find_keys
from gateway.surfaces.cli.state import _forget, move_all
from gateway.surfaces.stored.backup import back_up, restore
from gateway.surfaces.stored.check import check_state
from gateway.surfaces.stored.opening import copy_records, find_server
from tests.unit.base.store.postgresql_server import PostgresServer
from tests.unit.harness import Bench, bench, call
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.replicas import Replica
from tests.unit.operating import perform

STORE = "store: {kind: postgresql, url: '${STORE_URL}', deadline: 20s}\n"
MARGIN = 5.0
"""Seconds that a busy machine may add."""
FAR = "postgresql://opagate:secret-word@db.example/opagate"


@pytest.fixture
def store(schema_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the setting of a database without tables."""
    monkeypatch.setenv("STORE_URL", schema_url)
    monkeypatch.setattr(PostgresClaim, "take", partialmethod(PostgresClaim.take, wait=0.0))
    return STORE


@asynccontextmanager
async def gateway(folder: Path, more: str) -> AsyncGenerator[Bench]:
    """Run a gateway in a folder that may not be there yet."""
    make_folder(folder)
    async with bench(folder, more=more) as there:
        yield there


def make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)


async def stop(there: Bench, name: str = "triage") -> None:
    await perform(
        there.gateway.control, "stops/stop", chosen={"scope": "agent", "name": name}, reason="it mails strangers"
    )


async def list_stops(there: Bench) -> list[str]:
    return [each["name"] for each in await perform(there.gateway.control, "stops/list")]


def lend_key(name: keys.Name, source: Path, target: Path) -> None:
    """Give another gateway a key, as gateways of one deployment have it."""
    (target / "state").mkdir(mode=0o700, parents=True, exist_ok=True)
    key = target / "state" / keys.FILES[name]
    key.write_bytes((source / "state" / keys.FILES[name]).read_bytes())
    key.chmod(0o600)


async def until(holds: Callable[[], object]) -> None:
    """Wait for what a gateway does by itself."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def states(found: Configuration) -> dict[str, str]:
    return {each.form.name: each.state for each in await check_state(found) if each.state != "ok"}


@pytest.mark.parametrize(
    "url",
    [
        FAR,
        f"{FAR}?sslmode=require",
        "postgresql://opagate:secret-word@db.example:5432x/opagate?sslmode=verify-full",
        "postgresql://opagate:secret-word@db.example:65536/opagate?sslmode=verify-full",
        "postgresql://opagate:secret-word@[::1]:port/opagate",
        "postgresql://opagate:secret-word@one.example:5432,two.example:next/opagate?sslmode=verify-full",
        "postgresql://opagate:secret-word@/opagate?host=/run/postgresql&port=-1",
        f"{FAR}?sslmode=prefer&sslmode=disable",
        f"{FAR}?sslmode=verify-full&sslmode=disable",
        "postgresql://opagate:1/secret-word@db.example/opagate?sslmode=verify-full",
        "postgresql://localhost:1?secret-word@db.example/opagate",
        "postgresql://opagate:1#secret-word@db.example/opagate?sslmode=verify-full",
        "postgresql://opagate:x/secret-word@localhost/opagate",
        "postgresql://opagate:secret-word@127.0.0.1,db.example:5432/opagate",
        "postgresql://opagate:secret-word@/opagate?host=/run/pg,db.example",
        "postgresql://opagate:secret-word@localhost/opagate?host=db.example",
        "postgresql://opagate:secret-word@/opagate",
        "postgresql:///opagate",
        "mysql://opagate:secret-word@127.0.0.1/opagate",
        "secret-word",
        "postgresql://opagate:secret-word@[::1/opagate",
    ],
)
def test_an_open_way_to_the_server_is_refused_without_a_word_of_its_address(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORE_URL", url)
    settings = config.parse(STORE, base=Path())
    assert "secret-word" not in repr(settings)

    with pytest.raises(ConfigurationError) as caught:
        find_server(settings)
    assert "secret-word" not in f"{caught.value.message} {caught.value.remedy}"


@pytest.mark.parametrize(
    "url",
    [
        f"{FAR}?sslmode=verify-full",
        f"{FAR}?sslmode=verify-ca&sslrootcert=/ca.pem",
        "postgres://opagate@localhost:5432/opagate",
        "postgresql://opagate@[::1]:5432/opagate",
        "postgresql://opagate@/opagate?host=/run/pg",
        "postgresql://opagate@one.example:5432,two.example:5432/opagate?sslmode=verify-full&target_session_attrs=read-write",
    ],
)
def test_a_way_that_nobody_else_is_on_is_taken(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORE_URL", url)

    server = find_server(config.parse(STORE, base=Path()))
    assert (server.url, server.deadline) == (url, 20.0)
    assert "secret-word" not in server.name


def test_a_literal_address_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="a literal secret is refused"):
        config.parse(STORE.replace("${STORE_URL}", FAR), base=tmp_path)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORE_URL", "postgresql://localhost/opagate")
    monkeypatch.delitem(sys.modules, "gateway.base.store.postgresql_connection")
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(ConfigurationError, match="a package that is not there: asyncpg") as caught:
        find_server(config.parse(STORE, base=Path()))
    assert caught.value.remedy == "pip install 'opagate[postgresql]'"


def test_a_gateway_with_a_file_needs_no_driver(monkeypatch: pytest.MonkeyPatch):
    present = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        assert name != "asyncpg"
        return present(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.startswith("gateway.surfaces.stored")]:
        monkeypatch.delitem(sys.modules, name)
    __import__("gateway.surfaces.stored.opening")


async def test_a_stop_is_in_force_at_the_gateway_that_takes_over_on_another_machine(tmp_path: Path, store: str):
    async with gateway(tmp_path / "one", store) as there:
        await stop(there)
    assert not (tmp_path / "one/state" / keys.RECORDS).exists()
    lend_key("sealing", tmp_path / "one", tmp_path / "two")

    async with gateway(tmp_path / "two", store) as there:
        assert await list_stops(there) == ["triage"]
        assert await states(there.configuration) == {}


async def test_a_second_gateway_is_refused_by_the_name_of_the_first(tmp_path: Path, store: str):
    async with gateway(tmp_path / "one", store) as there:
        await stop(there)
        lend_key("sealing", tmp_path / "one", tmp_path / "two")
        with pytest.raises(StoreError, match=r"the gateway \S+ \(127\.0\.0\.1:8080\) uses PostgreSQL"):
            async with gateway(tmp_path / "two", store):
                pytest.fail("it started")
        assert await list_stops(there) == ["triage"]


async def test_a_gateway_without_the_sealing_key_of_the_records_is_refused(tmp_path: Path, store: str):
    async with gateway(tmp_path / "one", store) as there:
        await stop(there)

    with pytest.raises(StoreError, match=r"the [0-9]+ records in PostgreSQL are sealed with another key"):
        async with gateway(tmp_path / "two", store):
            pytest.fail("it started")


async def test_a_gateway_whose_claim_is_over_serves_no_call_and_says_so(
    tmp_path: Path, store: str, postgresql: PostgresServer, schema_url: str
):
    async with gateway(tmp_path, store) as there:
        assert (await there.ask(call())).status == 200
        claim = there.gateway.claim
        assert claim is not None
        await postgresql.execute("delete from opagate_gateways", url=schema_url)
        await claim.renew()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

        answer = await there.ask(call())
        assert (answer.status, answer.codes) == (503, ["records/unavailable"])
        parts = there.gateway
        problems = list_problems(
            parts.policy, parts.journal, parts.identities, parts.tls, parts.served, claim=parts.claim
        )
        assert "another gateway took over" in problems["store"]
        refused = await perform(there.gateway.control, "stops/stop", chosen={"scope": "agent", "name": "a"}, reason="a")
        assert refused == "records/unavailable"


async def test_records_of_a_file_are_moved_and_never_left_behind(tmp_path: Path, store: str):
    async with gateway(tmp_path, "") as there:
        await stop(there)
    settings = config.parse(there_text(there, store), base=tmp_path)
    with pytest.raises(StoreError, match="still in") as caught:
        async with gateway(tmp_path, store):
            pytest.fail("it started")
    assert "opagate journal state move" in caught.value.remedy
    with pytest.raises(StoreError, match="still in"):
        await look_at_store(settings)

    count, aside = await move_all(settings)
    assert (count, aside.exists(), (tmp_path / "state" / keys.RECORDS).exists()) == (1, True, False)
    async with gateway(tmp_path, store) as again:
        assert await list_stops(again) == ["triage"]
        await stop(again, "other")
    aside.rename(tmp_path / "state" / keys.RECORDS)
    with pytest.raises(StoreError, match="there are records already"):
        await move_all(settings)
    assert (tmp_path / "state" / keys.RECORDS).exists()


def there_text(there: Bench, store: str) -> str:
    return (
        f"{{state: {there.configuration.state}, journal: {{path: {there.configuration.journal.path}}}, {store[:-1]}}}"
    )


async def test_commands_find_the_records_in_the_database(
    tmp_path: Path, store: str, postgresql: PostgresServer, schema_url: str
):
    locked = f"{store}catalogue: {{trust: locked}}\n"
    settings = config.parse(f"{{state: state, {store[:-1]}}}", base=tmp_path)
    (empty,) = await look_at_store(settings)
    assert "0 records; several gateways may use it" in empty.found
    tables = "select count(*) from pg_tables where schemaname = current_schema"
    assert await postgresql.execute(tables, url=schema_url) == [(0,)]
    async with gateway(tmp_path, locked) as there:
        await stop(there)
        (found,) = await look_at_store(there.configuration)
        assert "1 record;" in found.found
        uses = {each.key: each.used for each in await find_keys(there.configuration)}
        assert uses["sealing"] == "1 record"
    await postgresql.execute("update opagate_records set value = value || 'x'", url=schema_url)
    assert await states(there.configuration) == {"stop": "fail"}
    with pytest.raises(StoreError, match="1 records of the kind 'stop' cannot be read"):
        async with gateway(tmp_path, locked):
            pytest.fail("it started")

    forgotten = await _forget(there.configuration, "all")
    assert len(forgotten["ids"]) == 1
    assert await states(there.configuration) == {}
    async with gateway(tmp_path, locked) as again:
        assert await list_stops(again) == []
        assert [entry["record"] for entry in again.entries("forgotten")] == ["stop"]


async def test_a_copy_has_the_records_of_the_database_and_comes_back_by_a_move(
    tmp_path: Path, store: str, postgresql: PostgresServer, schema_url: str
):
    async with gateway(tmp_path, store) as there:
        await stop(there)
        await back_up(there.configuration, tmp_path / "copy", with_keys=True, now=1.0)
    (tmp_path / "state").rename(tmp_path / "gone")
    (tmp_path / "catalogue.lock").unlink(missing_ok=True)
    await postgresql.execute("delete from opagate_records", url=schema_url)
    restore(there.configuration, tmp_path / "copy")

    assert (await move_all(there.configuration))[0] > 1, "a stop, and pins of first use"
    async with gateway(tmp_path, store) as again:
        assert await list_stops(again) == ["triage"]
        assert [entry["made"] for entry in again.entries("restored")] == ["1970-01-01T00:00:01.000Z"]


async def test_callers_go_on_with_new_tasks_in_a_copy_of_the_records(tmp_path: Path):
    """The logs of their tasks are not in the copy, so neither is what depends on the logs."""
    before, after = SqliteStore(tmp_path / "before.db"), SqliteStore(tmp_path / "after.db")
    replica = Replica("a", before)
    for _ in range(300):
        assert await replica.call("github")
    assert await replica.log.confirm(AGENT.key)
    await replica.close()
    assert await before.count("history")
    await before.change(Change("lease", "one", b"sealed"))

    assert await copy_records(before, after) == 1

    restored = Replica("b", after)
    assert await restored.call("github")
    assert (await restored.facts())["calls"] == 1
    await restored.close()


async def test_two_gateways_know_each_others_stops_within_a_second(tmp_path: Path, store: str):
    async with gateway(tmp_path / "one", store) as one:
        for name in ("sealing", "fingerprints"):
            lend_key(name, tmp_path / "one", tmp_path / "two")
        async with gateway(tmp_path / "two", store) as two:
            assert (await two.ask(call())).status == 200
            stopped = await perform(one.gateway.control, "stops/stop", chosen={"scope": "all"}, reason="a test")
            began = time.monotonic()
            await until(lambda: len(two.gateway.stops.register.stops) == 1)
            assert time.monotonic() - began < 1 + MARGIN
            assert (await two.ask(call())).codes == ["stop/in-force"]

            await perform(two.gateway.control, "stops/resume", id=stopped["stop"]["id"], reason="mended")
            assert (await two.ask(call())).status == 200
            await until(lambda: not one.gateway.stops.register.stops)
            assert (await one.ask(call())).status == 200


async def test_an_operator_stops_a_task_at_a_gateway_that_never_saw_it(tmp_path: Path, store: str):
    async with gateway(tmp_path / "one", store) as one:
        for name in ("sealing", "fingerprints"):
            lend_key(name, tmp_path / "one", tmp_path / "two")
        async with gateway(tmp_path / "two", store) as two:
            assert (await one.ask(call())).status == 200
            (task,) = {entry["task"]["id"] for entry in one.entries("call")}
            chosen = {"scope": "task", "name": task}
            stopped = await perform(two.gateway.control, "stops/stop", chosen=chosen, reason="a test")
            assert stopped != "stop/target"
            await until(lambda: one.gateway.stops.register.stops)
            assert (await one.ask(call())).codes == ["stop/in-force"]


async def test_gateways_with_other_fingerprints_are_not_beside_each_other(tmp_path: Path, store: str):
    async with gateway(tmp_path / "one", store):
        lend_key("sealing", tmp_path / "one", tmp_path / "two")
        with pytest.raises(StoreError, match="lets no other gateway like this beside it"):
            async with gateway(tmp_path / "two", store):
                pytest.fail("it started")


@pytest.mark.parametrize(
    "url",
    [FAR.replace("secret-word", "secret%2Dword"), f"{FAR.replace(':secret-word', '')}?password=secret%2Dword"],
    ids=["before the host", "in the query"],
)
def test_the_password_of_the_database_is_a_secret_of_the_gateway(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORE_URL", url)
    settings = config.parse(STORE, base=Path())

    assert "secret-word" in {secret.text for secret in secret_texts(settings)}
    assert secret_variables(settings, {"STORE_URL": url, "PGPASSWORD": "secret-word"}) == ("STORE_URL", "PGPASSWORD")
