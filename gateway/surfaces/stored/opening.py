"""The durable records of a configuration: opened to be looked at, or held by one process. They are in a file or in PostgreSQL."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic_core import to_json

from gateway.base.concurrency.background import Job
from gateway.base.keys.key_ring import KeyRing, key_id
from gateway.base.store.engine import ABSENT
from gateway.base.store.sqlite import SqliteStore
from gateway.config import keys
from gateway.config.values import is_loopback
from gateway.history.shared_accounts import ACCOUNTS
from gateway.history.shared_forms import SNAPSHOTS as TASKS
from gateway.model.errors import ConfigurationError, StoreError
from gateway.surfaces.stored.local_postgresql import has_local

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from gateway.base.store.engine import Claim, Engine
    from gateway.base.store.postgresql_connection import Server
    from gateway.config import Configuration
    from gateway.config.keys import Keys

_VERIFIED: Final = ("verify-ca", "verify-full")
_PORTS: Final = 2**16
_ALIKE: Final = (
    "enforce",
    "observe_until",
    "upstreams",
    "inspection",
    "directory",
    "history",
    "approvals",
    "authority",
    "limits",
)
"""The settings by which gateways decide: two that differ decide one call in two ways."""
_COPYING: Final = 60.0
"""Seconds for a copy of all records."""


class HeldRecords(NamedTuple):
    """The records in the hands of this process. A file has no claim: the lock of the state folder is enough."""

    engine: Engine
    claim: Claim | None = None


def describe_settings(configuration: Configuration) -> dict[str, str]:
    """Return the digests of the settings that gateways on one database should have alike. Secrets do not count."""
    return {name: hashlib.sha256(to_json(getattr(configuration, name))).hexdigest()[:16] for name in _ALIKE}


def find_place(configuration: Configuration) -> str:
    """Return the place of the durable records, for people."""
    return keys.RECORDS if configuration.store is None else "PostgreSQL"


def look_at_records(configuration: Configuration, clock: Callable[[], float] = time.time) -> Engine:
    """Return the records, to be read as they are: nothing is made or brought up to date. Raises `ConfigurationError`."""
    if configuration.store is None:
        return SqliteStore(configuration.state / keys.RECORDS, clock)
    server = find_server(configuration)
    from gateway.base.store.postgresql import PostgresStore  # noqa: PLC0415 - needs the extra

    return PostgresStore(server, clock, may_make=False)


@asynccontextmanager
async def hold_records(
    configuration: Configuration, found: Keys, clock: Callable[[], float] = time.time
) -> AsyncGenerator[HeldRecords]:
    """Hold the records until the block ends. The keys `chain` tell gateways apart, and the key `fingerprints` tells deployments apart.

    Raises `ConfigurationError` and `StoreError`, also if another gateway holds them.
    """
    if configuration.store is None:
        _require_no_workers(configuration)
        engine = SqliteStore(configuration.state / keys.RECORDS, clock)
        try:
            yield HeldRecords(engine)
        finally:
            engine.close()
        return
    require_moved(configuration)
    async with _hold_database(configuration, find_server(configuration), found, clock) as held:
        yield held


@asynccontextmanager
async def _hold_database(
    configuration: Configuration, server: Server, found: Keys, clock: Callable[[], float]
) -> AsyncGenerator[HeldRecords]:
    from gateway.base.store.postgresql import PostgresStore  # noqa: PLC0415 - needs the extra
    from gateway.base.store.postgresql_claim import PostgresClaim  # noqa: PLC0415 - needs the extra

    name = f"{socket.gethostname()} ({configuration.listen})"
    journals = [key_id(key) for key in found.chain.keys]
    claim = PostgresClaim(server, name, journals, deployment=key_id(found.fingerprints))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(claim.release)
        await claim.take()
        stack.push_async_callback(Job.begin_repeating(claim.keep, "claim of the database").stop)
        engine = PostgresStore(server, clock, claim=claim.id)
        stack.callback(engine.close)
        yield HeldRecords(engine, claim)


def find_server(configuration: Configuration) -> Server:
    """Return the server of the setting `store`. Raises `ConfigurationError` for an address without safety on the way there."""
    try:
        from gateway.base.store.postgresql_connection import Server  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the setting `store` needs a package that is not there: {error.name}", "pip install 'opagate[postgresql]'"
        ) from error
    settings = configuration.store
    if settings is None:
        raise ConfigurationError("the configuration names no database", "set store: {kind: postgresql, url: …}")
    url = settings.url.get_secret_value()
    for problem, remedy in _find_faults(url):
        raise ConfigurationError(f"store.url: {problem}", remedy)
    return Server(url, deadline=settings.deadline.total_seconds())


def _find_faults(url: str) -> Iterator[tuple[str, str]]:
    """Yield the faults of an address, each with its remedy. The address has a password, so no text shows it."""
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query, strict_parsing=bool(parts.query))
        places = [_split_place(place) for place in parts.netloc.rpartition("@")[2].split(",") if place]
        hosts = [host for host, _ in places]
        ports = [port for _, port in places if port]
    except ValueError:
        parts, asked, hosts, ports = urlsplit(""), {}, [], []
    if "@" in parts.path or parts.fragment:
        yield (
            "a sign of its password ends the name of the host, so the rest of the password would be shown",
            "write `/`, `?`, `#` and `@` of the password as %2F, %3F, %23 and %40",
        )
        return
    hosts += [host for named in asked.get("host", ()) for host in named.split(",")]
    ports += [port for named in asked.get("port", ()) for port in named.split(",")]
    if parts.scheme not in {"postgresql", "postgres"} or not hosts:
        yield "it is no address of PostgreSQL with a host", "write postgresql://USER:PASSWORD@HOST/DATABASE"
        return
    if not all(re.fullmatch(r"\d{1,5}", port, re.ASCII) and int(port) < _PORTS for port in ports):
        yield "a port is no number up to 65535", "write HOST:PORT, such as db.example:5432"
        return
    is_far = any(not host.startswith("/") and not is_loopback(host.strip("[]")) for host in hosts)
    # The driver takes the last value of a name.
    if is_far and asked.get("sslmode", [""])[-1] not in _VERIFIED:
        yield (
            "the way to the server is open: whoever is on it could change stops, ended logins and leases",
            "add sslmode=verify-full to the address, and sslrootcert=FILE for authorities of your own",
        )


def _split_place(place: str) -> tuple[str, str]:
    """Return the host and the port of a place in an address. The host may be IPv6 in brackets."""
    head, bracket, tail = place.rpartition("]")
    host, _, port = tail.partition(":")
    return head + bracket + host, port


def require_moved(configuration: Configuration) -> None:
    """Refuse to leave the records of the state folder behind: their leases would stay open, and their stops be over."""
    records = configuration.state / keys.RECORDS
    if records.exists():
        raise StoreError(
            f"the durable records are still in {records}, and the setting `store` names PostgreSQL",
            "move them with `opagate journal state move`",
        )


def _require_no_workers(configuration: Configuration) -> None:
    """Refuse a gateway alone after workers: their leases would stay open, and their stops be over."""
    if has_local(configuration.state):
        raise StoreError(
            f"the durable records are in the database of workers, in {configuration.state}",
            "start with `opagate up --workers 1`, or with more workers",
        )


async def move_records(configuration: Configuration, found: Keys) -> int:
    """Copy the records of the state folder to a database without records. Return their number. Raises `GatewayError`."""
    place = configuration.state / keys.RECORDS
    if configuration.store is None or not place.exists():
        raise StoreError(
            f"there is nothing to move: `store` is not set, or there is no {place}",
            "name the database in `store` first",
        )
    with closing(SqliteStore(place)) as source:
        server = replace(find_server(configuration), deadline=_COPYING, patience=_COPYING)
        async with _hold_database(configuration, server, found, time.time) as held:
            return await copy_records(source, held.engine)


async def copy_records(source: Engine, target: Engine) -> int:
    """Copy all records to an engine without records, whole or not at all. Return their number. Raises `StoreError`.

    Logs are not copied. So what a gateway has read of them is not, either: it would wait for their later events forever.
    """
    if await target.survey():
        raise StoreError(
            "there are records already in the database", "name another one, or another schema by search_path"
        )
    changes = [change for change in await source.read_all() if change.kind not in {TASKS.name, ACCOUNTS.name}]
    await target.change(*(change._replace(version=ABSENT) for change in changes))
    return len(changes)


async def require_known_records(engine: Engine, kinds: frozenset[str], seals: KeyRing[bytes]) -> None:
    """Refuse records of kinds that this release does not know, and a database of other sealing keys. Raises `StoreError`."""
    found = await engine.survey()
    if unknown := sorted({kind for kind, _ in found} - kinds):
        raise StoreError(
            f"a later release of the gateway wrote records of the kind {', '.join(unknown)}", "start that release"
        )
    is_shared = not isinstance(engine, SqliteStore)
    if found and is_shared and not {seal for _, seal in found} & {key_id(key) for key in seals.keys}:
        raise StoreError(
            f"the {sum(found.values())} records in PostgreSQL are sealed with another key than that of this gateway",
            "put the sealing key of the gateway before into the state folder, or name it by keys.sealing",
        )
