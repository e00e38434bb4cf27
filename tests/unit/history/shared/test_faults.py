"""Faults of the database and of the way there, under calls at three gateways.

Each call meanwhile is answered or refused in time, the gateways come back by themselves, and what their clients saw is
linearizable. No denial is added, and none is lost.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import statistics
import subprocess
import time
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import psutil
import pytest

from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_connection import Server
from gateway.model.errors import HistoryError
from tests.gateway_process import free_port
from tests.servers.serving import stop as stop_process
from tests.unit.base.store.postgresql_server import USER, PostgresServer
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.races import Call, call_until, is_linearizable, reached
from tests.unit.history.shared.replicas import LIMIT, Replica

DEADLINE: Final = 0.15
"""Seconds that a call waits for the database."""
NEVER: Final = 300.0
"""Seconds after which an event never comes: a busy machine answers a call within the deadline only now and then."""
MARGIN: Final = 15.0
"""Seconds more for the slowest call."""
OUTAGE: Final = 0.6
"""Seconds of a fault, or more until a call has met it."""

Fault: TypeAlias = "Callable[[PostgresServer], AsyncGenerator[None]]"


async def stopped(server: PostgresServer) -> AsyncGenerator[None]:
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


async def killed(server: PostgresServer) -> AsyncGenerator[None]:
    server.kill()
    yield
    server.start()


async def restarted(server: PostgresServer) -> AsyncGenerator[None]:
    """Restart it as an upgrade does: it takes no new connections, and ends the present ones."""
    server.processes()[0].send_signal(signal.SIGINT)
    yield
    server.wait()
    server.start()


async def read_only(server: PostgresServer) -> AsyncGenerator[None]:
    await server.execute("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    yield
    await server.execute("alter system reset default_transaction_read_only", "select pg_reload_conf()")


async def without_connections(server: PostgresServer) -> AsyncGenerator[None]:
    """Take each connection that the server has, also those of the gateways."""
    taken: list[Any] = [await server.connect(server.url)]
    gateways = "from pg_stat_activity where application_name = 'opagate'"
    while not taken[1:] or await taken[0].fetchval(f"select count(*) {gateways}"):
        await taken[0].execute(f"select pg_terminate_backend(pid) {gateways}")
        found = await asyncio.gather(*(server.connect(server.url) for _ in range(16)), return_exceptions=True)
        taken += [each for each in found if not isinstance(each, BaseException)]
        # Those of the terminated ones are free only now.
        await asyncio.sleep(0.01)
    yield
    for connection in taken:
        connection.terminate()


async def locked_out(server: PostgresServer) -> AsyncGenerator[None]:
    """Let the role in no more, as a wrong password does."""
    place = server.data / "pg_hba.conf"
    before = place.read_text("utf-8")
    place.write_text(f"local all {USER} reject\n", "utf-8")
    main = server.processes()[0]
    main.send_signal(signal.SIGHUP)
    for child in main.children():
        if "opagate postgres [local]" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGTERM)
    yield
    place.write_text(before, "utf-8")
    main.send_signal(signal.SIGHUP)


@pytest.fixture
def database() -> Generator[PostgresServer]:
    server = PostgresServer("max_connections=16")
    try:
        yield server.make()
    finally:
        with suppress(psutil.NoSuchProcess):
            server.signal(signal.SIGCONT)
        server.remove()


@pytest.mark.parametrize("fault", [stopped, killed, restarted, read_only, without_connections, locked_out])
async def test_gateways_outlast_a_fault_of_the_database(fault: Fault, database: PostgresServer, porcupine_path: Path):
    steps = fault(database)
    calls = await call_through(database.url, lambda: anext(steps), lambda: anext(steps, None), is_broken=True)

    assert is_linearizable(porcupine_path, [calls])


async def test_a_failover_to_a_synchronous_standby_loses_nothing(database: PostgresServer, porcupine_path: Path):
    standby = await asyncio.to_thread(database.copy)
    await database.execute("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
    url = f"postgresql://{USER}@/postgres?host={database.folder},{standby.folder}&target_session_attrs=read-write"

    async def kill() -> None:
        database.kill()

    async def promote() -> None:
        standby.run("pg_ctl", "promote", "-D", str(standby.data))

    try:
        calls = await call_through(url, kill, promote, is_broken=True)
    finally:
        standby.remove()

    assert is_linearizable(porcupine_path, [calls])


async def test_gateways_outlast_a_full_disk(porcupine_path: Path):
    server = PostgresServer("max_wal_size=32MB", "min_wal_size=32MB")
    with small_disk(server.folder):
        filler = server.folder / "filler"

        async def fill() -> None:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 8192)

        async def empty() -> None:
            filler.unlink()
            if server.processes()[0].status() == "zombie":
                server.start()

        try:
            calls = await call_through(server.make().url, fill, empty, is_broken=False)
        finally:
            server.kill()
    server.remove()

    assert is_linearizable(porcupine_path, [calls])


@contextmanager
def small_disk(folder: Path) -> Generator[None]:
    """Put a disk of 96 MB in the place of a folder."""
    command = ["mount", "-t", "tmpfs", "-o", f"size=96m,mode=0700,uid={folder.stat().st_uid}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a disk of its own needs the rights to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# --- the way to the database ---------------------------------------------------------------------------


class Toxiproxy:
    """A proxy before a database, on loopback."""

    def __init__(self, port: int, listen: int, upstream: int) -> None:
        self._api = f"http://127.0.0.1:{port}/proxies"
        self.listen = listen
        self.ask("POST", "", {"name": "database", "listen": f"127.0.0.1:{listen}", "upstream": f"127.0.0.1:{upstream}"})

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()


@pytest.fixture
def proxied(toxiproxy_path: Path, tmp_path: Path) -> Generator[tuple[PostgresServer, Toxiproxy]]:
    """A database on a port, behind a proxy."""
    control, upstream, listen = free_port(), free_port(), free_port()
    server = PostgresServer(port=upstream)
    with (tmp_path / "toxiproxy.log").open("wb") as log:
        process = subprocess.Popen([toxiproxy_path, "-port", str(control)], stdout=log, stderr=log)
    try:
        server.make()
        end = time.monotonic() + NEVER
        while True:
            try:
                proxy = Toxiproxy(control, listen, upstream)
            except OSError as error:
                refused = getattr(error, "reason", error)
                if getattr(refused, "errno", None) != errno.ECONNREFUSED or time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                break
        yield server, proxy
    finally:
        stop_process(process)
        server.remove()


TOXICS: Final[dict[str, dict[str, Any]]] = {
    "slow": {"type": "latency", "attributes": {"latency": 1000}},
    "silent": {"type": "timeout", "attributes": {"timeout": 0}},
    "reset": {"type": "reset_peer", "attributes": {"timeout": 0}},
    "cut in the middle": {"type": "limit_data", "attributes": {"bytes": 20000}},
    "narrow": {"type": "bandwidth", "attributes": {"rate": 1}},
}


@pytest.mark.parametrize("name", TOXICS)
async def test_gateways_outlast_a_fault_of_the_way(
    name: str, proxied: tuple[PostgresServer, Toxiproxy], porcupine_path: Path
):
    _, proxy = proxied

    async def poison() -> None:
        body = TOXICS[name] | {"name": "toxic", "stream": "downstream"}
        await asyncio.to_thread(proxy.ask, "POST", "/database/toxics", body)

    async def heal() -> None:
        await asyncio.to_thread(proxy.ask, "DELETE", "/database/toxics/toxic")

    url = f"postgresql://{USER}@127.0.0.1:{proxy.listen}/postgres"
    calls = await call_through(url, poison, heal, is_broken=name != "cut in the middle")

    assert is_linearizable(porcupine_path, [calls])


async def call_through(
    url: str, fault: Callable[[], Awaitable[None]], mend: Callable[[], Awaitable[None]], *, is_broken: bool
) -> list[Call]:
    """Make calls at three gateways before, during and after a fault. Return the calls after the checks of each fault."""
    replicas = [Replica(name, PostgresStore(Server(url, DEADLINE)), time.time, patience=DEADLINE) for name in "abc"]
    done, calls, delays = asyncio.Event(), list[Call](), list[float]()

    def has(*answers: str, since: int) -> bool:
        return any(call["begun"] > since and call["answer"] in answers for call in calls)

    async with AsyncExitStack() as stack:
        for replica in replicas:
            stack.push_async_callback(replica.close)
        working = asyncio.gather(call_until(replicas, done, calls), measure(done, delays))
        stack.push_async_callback(asyncio.wait, {working})
        stack.callback(done.set)
        await asyncio.sleep(OUTAGE)
        begun = time.monotonic_ns()
        await fault()
        await asyncio.sleep(OUTAGE)
        await until(lambda: not is_broken or has("failed", "unknown", since=begun))
        broken = time.monotonic_ns()
        await mend()
        mended = time.monotonic_ns()
        for replica in replicas:
            await until_known(replica)
        await until(lambda: has("allowed", "refused", since=mended))
        done.set()
        await working
        facts = [await until_known(replica) for replica in replicas]

    failed = [call for call in calls if call["answer"] in {"failed", "unknown"}]
    took = [(call["ended"] - call["begun"]) / 1e9 for call in failed]
    assert not took or statistics.median(took) <= 2 * max(delays)
    assert max(took, default=0.0) <= 2 * max(delays) + MARGIN
    assert not is_broken or not [
        c for c in calls if c["begun"] > broken - 3e8 and c["ended"] < broken and c not in failed
    ]
    assert len(reached([calls])) <= LIMIT
    assert facts[0] == facts[1] == facts[2]
    assert facts[0]["denials"] == sum(call["answer"] == "refused" for call in calls)
    return calls


async def measure(done: asyncio.Event, delays: list[float]) -> None:
    """Note the time that a deadline takes on this machine, again and again until an event."""
    while not done.is_set():
        begun = time.monotonic()
        await asyncio.sleep(DEADLINE)
        delays.append(time.monotonic() - begun)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(NEVER):
        while not holds():
            await asyncio.sleep(0.02)


async def until_known(replica: Replica) -> dict[str, object]:
    """Return what a gateway knows, once the database has what happened here."""
    async with asyncio.timeout(NEVER):
        while True:
            with suppress(HistoryError):
                found = await replica.facts()
                if await replica.log.confirm(AGENT.key) and not found["in_flight"]:
                    return found
            await asyncio.sleep(0.02)
