"""A connection to PostgreSQL: opened on use, refused by name if the server is unsafe, and never waited for beyond a deadline.

A late statement is not cancelled on the server: asyncpg would open another connection to ask for that, without a bound.
The connection is dropped instead.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import asyncpg

from gateway.model.errors import OutcomeUnknown, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Result = TypeVar("Result")

_OLDEST: Final = 150000
"""The oldest release that the gateway takes, as in `server_version_num`."""
_UNSAFE_WITH_STANDBY: Final = ("local", "remote_write")
_READ_ONLY: Final = "25006"
_COMPLETION_UNKNOWN: Final = "40003"
_ABOUT: Final = """
select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding,
  extract(epoch from clock_timestamp())::float8 as now,
  current_setting('transaction_read_only') as transaction_read_only,
  current_setting('synchronous_commit', true) as synchronous_commit,
  current_setting('synchronous_standby_names', true) as synchronous_standby_names,
  current_setting('fsync', true) as fsync, current_setting('full_page_writes', true) as full_page_writes
"""
_FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_RACES: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
)


class Raced(Exception):
    """A transaction that changed nothing, since another gateway was in between. It may be tried again."""


class Connection(Protocol):
    """The part of asyncpg's connection that the gateway uses."""

    async def execute(self, query: str, /, *args: Any) -> str:
        """Carry out a statement, and return its tag."""
        ...

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:
        """Return the rows of a statement. A row is read by position and by name."""
        ...

    async def fetchval(self, query: str, /, *args: Any) -> Any:
        """Return the first value of the first row, `None` without rows."""
        ...

    def is_closed(self) -> bool:
        """Return whether the connection has ended."""
        ...

    def terminate(self) -> None:
        """Drop the connection. A statement under way fails."""
        ...


@dataclass(slots=True)
class Losses:
    """The number of lost connections that wrote. The server behind them may be no primary any more."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server with its time limits in seconds.

    `deadline` is for what a call waits for, `patience` for the work of a start or a sweep, and `opening` for a new connection.
    """

    url: str
    deadline: float = 0.15
    patience: float = 10.0
    opening: float = 1.0
    clock_skew: float = 1.0
    losses: Losses = field(default_factory=Losses, init=False, compare=False)

    @property
    def name(self) -> str:
        """Return the server and its database, without a password."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2] or 'the local socket'}{parts.path}"

    def make_late_error(self, seconds: float) -> StoreError:
        """Return the error of an operation that was not carried out in its time."""
        return StoreError(
            f"PostgreSQL at {self.name} did not answer within {seconds * 1000:.0f} ms",
            "find out why the server is slow or cannot be reached",
        )

    def make_lost_error(self) -> StoreError:
        """Return the error of a gateway whose claim another gateway took over."""
        return StoreError(f"another gateway took over PostgreSQL at {self.name}", "start this gateway again")

    def make_error(self, error: BaseException) -> StoreError:
        """Return the error of an operation that was not carried out."""
        return StoreError(
            f"PostgreSQL at {self.name} cannot be used: {describe(error)}",
            "see the log of the server, and the setting `url`",
        )


def describe(error: BaseException) -> str:
    """Return an error in one line, without the details, which may have values of records."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error.args[0]).splitlines()[0] if error.args and error.args[0] else type(error).__name__


def is_refusal(error: BaseException) -> bool:
    """Return whether the server answered that a statement failed. It has then changed nothing, and the connection is whole."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    sqlstate, severity = getattr(error, "sqlstate", None), getattr(error, "severity_en", None)
    return severity == "ERROR" and sqlstate != _COMPLETION_UNKNOWN


async def transact(connection: Connection, work: Callable[[], Awaitable[Result]], server: Server) -> Result:
    """Do work in a transaction. Raises `OutcomeUnknown` if the commit got no answer. Any other error means that nothing changed.

    Raises `Raced` if another gateway was in between.
    """
    await connection.execute("begin")
    try:
        result = await work()
    except BaseException as error:
        if not connection.is_closed():
            await connection.execute("rollback")
        if isinstance(error, _RACES):
            raise Raced from error
        raise
    if await confirm(connection.execute("commit"), server) != "COMMIT":
        raise StoreError(f"PostgreSQL at {server.name} took a transaction back", "see the log of the server")
    return result


async def confirm(answer: Awaitable[Result], server: Server) -> Result:
    """Wait for the answer to a statement that commits. Raises `OutcomeUnknown` if none comes, and `Raced`."""
    try:
        return await answer
    except _FAILURES as error:
        if isinstance(error, _RACES):
            raise Raced from error
        if is_refusal(error):
            raise
        raise OutcomeUnknown(
            f"PostgreSQL at {server.name} gave no answer to a commit: {describe(error)}",
            "the gateway reads the records again before it uses them",
        ) from error


class Link:
    """A connection for one piece of work at a time, opened on use and again after a failure.

    `prepare` is done with each new connection. A link that `writes` tells of a lost connection. Another one then opens its own
    anew, since a deposed primary goes on answering whoever reads.
    """

    def __init__(
        self, server: Server, prepare: Callable[[Connection], Awaitable[None]], *, writes: bool = True
    ) -> None:
        self._server = server
        self._prepare = prepare
        self._writes = writes
        self._losses = server.losses.count
        self._turn = asyncio.Lock()
        self._opening: asyncio.Task[Connection] | None = None

    async def run(self, work: Callable[[Connection], Awaitable[Result]], until: float) -> Result:
        """Do work until a time of the event loop. Raises `StoreError`, and the errors of the server for one statement."""
        began = asyncio.get_running_loop().time()
        if began >= until:
            raise self._server.make_late_error(self._server.deadline)
        try:
            async with asyncio.timeout_at(until):
                await self._turn.acquire()
        except TimeoutError:
            raise self._server.make_late_error(until - began) from None
        try:
            self._follow()
            connection = self._find_open() or await self._wait_for_opening(began, until)
            return await self._finish(connection, work, began, until)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Drop the connection. The next use opens it again."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            opening.result().terminate()
        opening.cancel()

    def _follow(self) -> None:
        """Drop this connection after a writing connection was lost."""
        if self._losses != self._server.losses.count:
            self._losses = self._server.losses.count
            if not self._writes:
                self.close()

    def _lose(self) -> None:
        self._server.losses.count += self._writes
        self.close()

    async def _finish(
        self, connection: Connection, work: Callable[[Connection], Awaitable[Result]], began: float, until: float
    ) -> Result:
        try:
            return await finish(connection, work, until)
        except TimeoutError:
            self._lose()
            raise self._server.make_late_error(until - began) from None
        except _FAILURES as error:
            if not is_refusal(error) or getattr(error, "sqlstate", None) == _READ_ONLY:
                self._lose()
            raise self._server.make_error(error) from error

    def _find_open(self) -> Connection | None:
        opening = self._opening
        return opening.result() if opening is not None and opening.done() and not _is_lost(opening) else None

    async def _wait_for_opening(self, began: float, until: float) -> Connection:
        """Return the open connection. An opening that takes longer than its caller waits goes on for the next caller."""
        if self._opening is not None and self._opening.done() and _is_lost(self._opening):
            self._lose()
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="connection to PostgreSQL")
            self._opening.add_done_callback(_note_end)
        await asyncio.wait({self._opening}, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        if not self._opening.done():
            raise self._server.make_late_error(until - began)
        try:
            return self._opening.result()
        except TimeoutError:
            raise self._server.make_late_error(self._server.opening) from None
        except _FAILURES as error:
            raise self._server.make_error(error) from error

    async def _open(self) -> Connection:
        server = self._server
        until = asyncio.get_running_loop().time() + server.opening
        connect = cast("Callable[..., Awaitable[Connection]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
        settings = {
            "application_name": "opagate",
            "lock_timeout": f"{server.deadline * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": f"{server.patience * 1000:.0f}ms",
        }
        connection = await connect(server.url, timeout=server.opening, server_settings=settings)
        try:
            await finish(connection, self._make_ready, until)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _make_ready(self, connection: Connection) -> None:
        await require_safe(connection, self._server)
        await self._prepare(connection)


def _note_end(opening: asyncio.Task[Connection]) -> None:
    """Take note of a failure that no caller waits for any more."""
    if not opening.cancelled():
        opening.exception()


def _is_lost(opening: asyncio.Task[Connection]) -> bool:
    """Return whether an opening failed, or its connection is closed."""
    return opening.cancelled() or opening.exception() is not None or opening.result().is_closed()


async def finish(connection: Connection, work: Callable[[Connection], Awaitable[Result]], until: float) -> Result:
    """Do work with a connection. Drop the connection if the work is late. Raises `TimeoutError`, and the errors of the work."""
    task = asyncio.ensure_future(work(connection))
    try:
        done, _ = await asyncio.wait({task}, timeout=max(0.0, until - asyncio.get_running_loop().time()))
    except asyncio.CancelledError:
        connection.terminate()
        await asyncio.wait({task})
        raise
    if done:
        return task.result()
    connection.terminate()
    await asyncio.wait({task})
    error = task.exception()
    if error is None or isinstance(error, StoreError):
        return task.result()
    raise TimeoutError from error


async def require_safe(connection: Connection, server: Server) -> None:
    """Refuse a server that could lose confirmed changes, or whose clock differs. Raises `StoreError`."""
    before = time.time()
    rows = await connection.fetch(_ABOUT)
    after = time.time()
    found = dict(rows[0])
    ahead = found["now"] - after if found["now"] > after else min(0.0, found["now"] - before)
    for is_unsafe, problem, remedy in _find_dangers(found, ahead, server.clock_skew):
        if is_unsafe:
            raise StoreError(f"PostgreSQL at {server.name} is not safe: {problem}", remedy)


def _find_dangers(found: dict[str, Any], ahead: float, skew: float) -> Iterator[tuple[bool, str, str]]:
    """Yield each danger: whether the server has it, its name and the remedy. `ahead` is the lead of the server's clock in seconds."""
    version, encoding, commit = found["version"], found["encoding"], found["synchronous_commit"]
    yield version < _OLDEST, f"its version is {version // 10000}", f"use PostgreSQL {_OLDEST // 10000} or later"
    yield encoding != "UTF8", f"server_encoding is {encoding}", "make a database with the encoding UTF8"
    yield (
        found["transaction_read_only"] != "off",
        "it is read-only, such as a standby",
        "name the primary in `url`, or add target_session_attrs=read-write",
    )
    for name in ("fsync", "full_page_writes"):
        yield found[name] == "off", f"{name} is off", f"set {name} = on: a crash would lose or damage records"
    yield commit == "off", "synchronous_commit is off", "set it to on: a crash would lose confirmed records"
    yield (
        commit in _UNSAFE_WITH_STANDBY and bool(found["synchronous_standby_names"]),
        f"synchronous_commit is {commit}, beside a synchronous standby",
        "set it to on: a failover would lose confirmed records",
    )
    yield abs(ahead) > skew, f"its clock is {ahead:+.1f} s from the gateway's", "set both clocks by NTP"
