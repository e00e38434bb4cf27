"""The shared engine: servers that die, stop, answer late or are unsafe, and commits without an answer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from types import SimpleNamespace

import pytest

from gateway.base.store import postgresql_connection
from gateway.base.store.engine import ABSENT, Append, Change, Log
from gateway.base.store.postgresql import AT_ONCE, PostgresStore
from gateway.base.store.postgresql_connection import Server
from gateway.base.store.postgresql_schema import FORMAT, STEPS
from gateway.model.errors import OutcomeUnknown, StoreError
from tests.unit.base.store.cutting_proxy import CuttingProxy, Manner
from tests.unit.base.store.postgresql_server import USER, PostgresServer

PATIENT = {"deadline": 30.0, "patience": 30.0, "opening": 30.0}
"""Times for tests about results: their machine may be busy."""
MARGIN = 20.0
"""Seconds that a busy machine may add to a deadline. A wait without a bound would be far longer."""


@pytest.fixture
async def stores() -> AsyncGenerator[list[PostgresStore]]:
    """Give a list of engines, which are closed at the end."""
    opened: list[PostgresStore] = []
    yield opened
    for store in opened:
        store.close()
    await asyncio.sleep(0)


def open_store(stores: list[PostgresStore], url: str, **times: float) -> PostgresStore:
    stores.append(PostgresStore(Server(url, **(times or PATIENT))))
    return stores[-1]


async def value_of(store: PostgresStore, identifier: str = "a") -> bytes | None:
    found = await store.read("k", identifier)
    return None if found is None else found.value


# --- a commit without an answer ------------------------------------------------------------------------


@pytest.fixture
async def proxy(postgresql: PostgresServer) -> AsyncGenerator[CuttingProxy]:
    proxy = await CuttingProxy(postgresql.folder).start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def proxy_url(proxy: CuttingProxy, postgresql: PostgresServer, schema_url: str) -> str:
    return schema_url.replace(str(postgresql.folder), str(proxy.folder))


@pytest.mark.parametrize(("manner", "value"), [("cut the answer", b"2"), ("cut the commit", b"1")])
async def test_a_read_tells_the_outcome_of_a_commit_without_an_answer(
    stores: list[PostgresStore], proxy: CuttingProxy, proxy_url: str, manner: Manner, value: bytes
):
    store = open_store(stores, proxy_url)
    await store.change(Change("k", "a", b"1"))
    proxy.manner = manner
    with pytest.raises(OutcomeUnknown, match="gave no answer to a commit"):
        await store.change(Change("k", "a", b"2"))

    assert await value_of(store) == value
    await store.change(Change("k", "a", b"3"))
    assert await value_of(store) == b"3"


@pytest.mark.parametrize(("manner", "events"), [("cut the answer", [b"1", b"cut"]), ("cut the commit", [b"1"])])
async def test_a_read_tells_the_outcome_of_an_append_without_an_answer(
    stores: list[PostgresStore], proxy: CuttingProxy, proxy_url: str, manner: Manner, events: list[bytes]
):
    store, log = open_store(stores, proxy_url), Log(b"o" * 16, "task")
    await store.append(Append({log: 0}, [(log, b"1")]))
    proxy.manner, proxy.marker = manner, b"cut"
    with pytest.raises(OutcomeUnknown):
        await store.append(Append({log: 1}, [(log, b"cut")]))

    assert await store.read_log(log) == events
    assert await store.append(Append({log: len(events)}, [(log, b"later")])) == {}


async def test_no_read_answers_while_a_commit_may_still_arrive(
    stores: list[PostgresStore], proxy: CuttingProxy, proxy_url: str
):
    store = open_store(stores, proxy_url, deadline=1.0, patience=30.0, opening=30.0)
    await store.expire("k")
    await store.change(Change("k", "a", b"1"))
    proxy.manner = "hold the commit"
    with pytest.raises(OutcomeUnknown):
        await store.change(Change("k", "a", b"2"))
    await proxy.held.wait()

    with pytest.raises(StoreError, match="did not answer within"):
        await store.read("k", "a")
    proxy.released.set()
    assert [record.value for record in await store.list("k")] == [b"2"]


async def test_a_connection_that_ended_while_idle_is_opened_again(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    store = open_store(stores, schema_url)
    await store.change(Change("k", "a", b"1"))
    await value_of(store)
    await postgresql.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'opagate'"
    )

    found = await asyncio.gather(value_of(store), store.change(Change("k", "b", b"2")), return_exceptions=True)
    assert not any(isinstance(each, OutcomeUnknown) for each in found)
    assert await value_of(store) == b"1"


async def test_an_append_that_arrives_after_the_read_writes_nothing(
    stores: list[PostgresStore], proxy: CuttingProxy, proxy_url: str
):
    store, log = open_store(stores, proxy_url, deadline=1.0, patience=30.0, opening=30.0), Log(b"o" * 16, "task")
    await store.expire("k")
    await store.append(Append({log: 0}, [(log, b"1")]))
    proxy.manner, proxy.marker = "hold the commit", b"cut"
    with pytest.raises(OutcomeUnknown):
        await store.append(Append({log: 1}, [(log, b"cut")]))
    await proxy.held.wait()

    assert await store.read_log(log) == [b"1"]
    proxy.released.set()
    await proxy.finished.wait()
    assert await store.read_log(log) == [b"1"]


# --- servers that die, stop and come back ----------------------------------------------------------------


async def test_a_killed_server_loses_no_finished_change_and_leaves_no_half_of_one(
    stores: list[PostgresStore], own_server: PostgresServer
):
    store = open_store(stores, own_server.url, deadline=30.0, patience=30.0, opening=30.0)
    finished: set[str] = set()
    enough = asyncio.Event()

    async def write() -> None:
        for number in range(100_000):
            name = f"{number:08d}"
            await store.change(Change("k", name, b"x"), Change("twin", name, b"x"))
            finished.add(name)
            if number == 100:
                enough.set()

    writers = asyncio.ensure_future(write())
    await enough.wait()
    own_server.kill()
    with pytest.raises(StoreError):
        await writers
    own_server.start()

    records, twins = await store.list("k"), await store.list("twin")
    assert finished <= {record.id for record in records}
    assert [record.id for record in records] == [record.id for record in twins]


async def test_an_engine_goes_on_after_a_restart_of_its_server(stores: list[PostgresStore], own_server: PostgresServer):
    store = open_store(stores, own_server.url)
    await store.change(Change("k", "a", b"1"))
    own_server.kill()
    with pytest.raises(StoreError):
        await store.change(Change("k", "a", b"2"))
    with pytest.raises(StoreError, match="cannot be used"):
        await store.read("k", "a")
    own_server.start()

    assert await value_of(store) == b"1"
    assert await store.change(Change("k", "a", b"3")) is not None


async def test_a_stopped_server_is_late_and_its_work_is_known_afterwards(
    stores: list[PostgresStore], own_server: PostgresServer
):
    store = open_store(stores, own_server.url, deadline=0.15, patience=30.0, opening=30.0)
    witness = open_store(stores, own_server.url)
    version = await witness.change(Change("k", "a", b"1"))
    await store.list("k")
    await store.expire("k")
    own_server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"did not answer within|gave no answer"):
            await store.change(Change("k", "a", b"2", version=version))
        with pytest.raises(StoreError, match="did not answer within"):
            await store.read("k", "a")
        took = time.monotonic() - began
    finally:
        own_server.signal(signal.SIGCONT)

    assert took < 2 * 0.15 + MARGIN
    (record,) = await store.list("k")
    assert await witness.read("k", "a") == record


# --- many gateways ---------------------------------------------------------------------------------------


async def test_gateways_that_make_the_tables_at_the_same_time_agree(stores: list[PostgresStore], schema_url: str):
    engines = [open_store(stores, schema_url) for _ in range(6)]
    found = await asyncio.gather(*(each.change(Change("k", "a", b"1", version=ABSENT)) for each in engines))

    assert len([version for version in found if version is not None]) == 1


async def test_a_writer_that_another_gateway_forgot_goes_on(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    store = open_store(stores, schema_url)
    await store.change(Change("k", "a", b"1"))
    await postgresql.execute("delete from opagate_writers", url=schema_url)

    assert await store.change(Change("k", "a", b"2")) is not None
    assert await value_of(store) == b"2"


async def test_tables_of_an_earlier_form_are_brought_up_to_date(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    form = "create table opagate_format (one int primary key check (one = 1), number int not null)"
    connection = await postgresql.connect(schema_url)
    await connection.execute(f"{STEPS[0]}; {form}; insert into opagate_format values (1, 1)")
    await connection.execute("insert into opagate_records values ('k', 'a', 7, 'x', null)")
    await connection.close()
    store = open_store(stores, schema_url)

    assert await store.read("k", "a") == ("a", 7, b"x")
    assert await store.read_log(Log(b"o", "task")) == []
    assert await postgresql.execute("select number from opagate_format", url=schema_url) == [(FORMAT,)]


async def test_crossing_sets_of_changes_end_without_a_deadlock(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    one, other = (open_store(stores, schema_url) for _ in range(2))
    await asyncio.gather(one.expire("k"), other.expire("k"))
    changes = [Change("k", f"{number:02d}", b"x") for number in range(21)]
    waiting = "select 1 from pg_locks where not granted"
    operator = await postgresql.connect(schema_url)
    await operator.execute("begin; insert into opagate_records values ('k', '10', 1, '', null)")
    crossing = asyncio.gather(one.change(*changes), other.change(*changes[::-1]))
    while len(await operator.fetch(waiting)) < 2:
        await asyncio.sleep(0)
    await operator.execute("rollback")
    await operator.close()

    assert None not in await crossing
    assert "deadlock detected" not in (postgresql.folder / "log").read_text("utf-8")


async def test_changes_that_come_while_the_server_works_share_transactions(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    store = open_store(stores, schema_url)
    await store.change(Change("k", "first", b"x"))
    versions = await asyncio.gather(*(store.change(Change("k", f"{n:03d}", b"x")) for n in range(3 * AT_ONCE)))
    rows = await postgresql.execute("select count(distinct xmin::text) from opagate_records", url=schema_url)

    assert len(set(versions)) == 3 * AT_ONCE
    assert rows[0][0] == 1 + 3


async def test_a_cancelled_caller_goes_after_its_write(stores: list[PostgresStore], schema_url: str):
    store = open_store(stores, schema_url)
    change = asyncio.ensure_future(store.change(Change("k", "a", b"1")))
    await asyncio.sleep(0)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    assert await store.count("k") == 1


# --- servers that are refused ----------------------------------------------------------------------------


async def require_refused(store: PostgresStore, problem: str) -> None:
    with pytest.raises(StoreError, match=problem):
        await store.list("k")
    with pytest.raises(StoreError, match=problem):
        await store.change(Change("k", "a", b"1"))


async def test_a_standby_is_refused(stores: list[PostgresStore], own_server: PostgresServer):
    await open_store(stores, own_server.url).change(Change("k", "a", b"1"))
    standby = own_server.copy()
    try:
        await require_refused(open_store(stores, standby.url), "not safe: it is read-only, such as a standby")
    finally:
        standby.remove()


async def test_a_reading_connection_leaves_a_deposed_primary_with_the_writing_one(
    stores: list[PostgresStore], own_server: PostgresServer
):
    standby = await asyncio.to_thread(own_server.copy)
    try:
        hosts = f"{own_server.folder},{standby.folder}"
        store = open_store(stores, f"postgresql://{USER}@/postgres?host={hosts}&target_session_attrs=read-write")
        await store.change(Change("k", "a", b"before"))
        assert await value_of(store) == b"before"
        await asyncio.to_thread(standby.run, "pg_ctl", "promote", "-w", "-D", str(standby.data))
        # The deposed one goes on to answer the reads of present sessions.
        await own_server.execute("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
        with suppress(StoreError):
            while True:
                await store.change(Change("k", "b", b"unseen"))
        await store.change(Change("k", "a", b"after"))

        assert await value_of(store) == b"after"
    finally:
        standby.remove()


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_a_crash_would_damage_is_refused(
    stores: list[PostgresStore], own_server: PostgresServer, setting: str
):
    own_server.kill()
    own_server._settings = (f"{setting}=off",)
    own_server.start()
    await require_refused(open_store(stores, own_server.url), f"not safe: {setting} is off")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"synchronous_commit": "off"}, "synchronous_commit is off"),
        ({"default_transaction_read_only": "on"}, "it is read-only"),
    ],
)
async def test_an_unsafe_session_is_refused(
    stores: list[PostgresStore], schema_url: str, settings: dict[str, str], problem: str
):
    url = schema_url + "".join(f"&{name}={value}" for name, value in settings.items())
    await require_refused(open_store(stores, url), problem)


async def test_a_commit_that_does_not_reach_the_synchronous_standby_is_refused(
    stores: list[PostgresStore], own_server: PostgresServer
):
    own_server.kill()
    own_server._settings = ("synchronous_standby_names=*",)
    own_server.start()
    store = open_store(stores, own_server.url + "&synchronous_commit=local")
    await require_refused(store, "synchronous_commit is local, beside a synchronous standby")


async def test_an_old_server_is_refused(stores: list[PostgresStore], schema_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgresql_connection, "_OLDEST", 990000)
    await require_refused(open_store(stores, schema_url), "its version is 18")


@pytest.mark.parametrize(("shift", "shown"), [(-5.0, r"\+5.0 s"), (5.0, r"-5.0 s")])
async def test_clocks_that_differ_are_refused(
    stores: list[PostgresStore], schema_url: str, monkeypatch: pytest.MonkeyPatch, shift: float, shown: str
):
    monkeypatch.setattr(postgresql_connection, "time", SimpleNamespace(time=lambda: time.time() + shift))
    await require_refused(open_store(stores, schema_url), f"its clock is {shown} from the gateway's")


async def test_another_encoding_is_refused(stores: list[PostgresStore], postgresql: PostgresServer):
    await postgresql.execute("create database latin encoding 'LATIN1' locale 'C' template template0")
    url = postgresql.url.replace("/postgres?", "/latin?")
    await require_refused(open_store(stores, url), "server_encoding is LATIN1")


async def test_a_role_without_a_right_is_refused(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    await open_store(stores, schema_url).change(Change("k", "a", b"1"))
    schema = schema_url.rpartition("=")[2]
    await postgresql.execute(
        f"create role {schema} login",
        f"grant usage on schema {schema} to {schema}",
        f"grant select on all tables in schema {schema} to {schema}",
    )
    store = open_store(stores, schema_url.replace(f"{USER}@", f"{schema}@"))
    await require_refused(store, "the role lacks a right .its role may not insert in opagate_records")


async def test_a_role_that_cannot_make_the_tables_is_refused(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    schema = schema_url.rpartition("=")[2]
    await postgresql.execute(f"create role {schema} login", f"grant usage on schema {schema} to {schema}")
    store = open_store(stores, schema_url.replace(f"{USER}@", f"{schema}@"))
    await require_refused(store, "the role lacks a right .permission denied for schema")


async def test_tables_of_a_later_release_are_refused_and_kept(
    stores: list[PostgresStore], postgresql: PostgresServer, schema_url: str
):
    await open_store(stores, schema_url).change(Change("k", "a", b"1"))
    await postgresql.execute(f"update opagate_format set number = {FORMAT + 1}", url=schema_url)
    await require_refused(open_store(stores, schema_url), "a later release of the gateway")

    rows = await postgresql.execute("select value from opagate_records", url=schema_url)
    assert [bytes(row[0]) for row in rows] == [b"1"]


async def test_a_missing_database_is_an_error_with_its_name(stores: list[PostgresStore], postgresql: PostgresServer):
    store = open_store(stores, postgresql.url.replace("/postgres?", "/nothing?"))
    await require_refused(store, r"/nothing cannot be used: database \"nothing\" does not exist")


async def test_each_of_many_callers_of_a_stopped_server_is_refused_in_time(
    stores: list[PostgresStore], own_server: PostgresServer
):
    store, log = open_store(stores, own_server.url, deadline=0.15, patience=30.0, opening=30.0), Log(b"o", "task")
    await store.expire("k")
    await store.list("k")
    own_server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = await asyncio.gather(
            *(store.change(Change("k", f"{number}", b"x")) for number in range(300)),
            *(store.append(Append({log: 0}, [(log, b"x")])) for _ in range(300)),
            *(store.read("k", f"{number}") for number in range(300)),
            return_exceptions=True,
        )
        took = time.monotonic() - began
    finally:
        own_server.signal(signal.SIGCONT)

    assert {isinstance(each, StoreError) for each in found} == {True}
    assert took < 0.15 + MARGIN
    assert len(await store.list("k")) in {0, AT_ONCE}


async def test_no_error_shows_the_password(stores: list[PostgresStore]):
    store = open_store(stores, "postgresql://opagate:s3cret@127.0.0.1:1/records")
    with pytest.raises(StoreError, match=r"PostgreSQL at 127.0.0.1:1/records cannot be used") as raised:
        await store.list("k")
    assert "s3cret" not in raised.value.message + raised.value.remedy
