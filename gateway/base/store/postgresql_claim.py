"""The claim of a gateway on a database: a row with an end, renewed again and again. The server's clock counts its time.

The rows of a gateway's writers go with its claim. So a gateway that lost its claim changes nothing, also by a late statement.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from gateway.base.store.postgresql_connection import Link, Raced, transact
from gateway.base.store.postgresql_schema import require_schema
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from gateway.base.store.postgresql_connection import Connection, Server

log = structlog.get_logger("gateway.store")

Result = TypeVar("Result")

HELD: Final = 10.0
"""Seconds for which a gateway relies on its claim, from the moment that it asked for it."""
_MARGIN: Final = 2.0
"""Seconds more before another gateway may take over: an answer may have been on its way."""
RENEWAL: Final = 1.0
"""Seconds between two renewals, and the most that one may take."""
WAIT: Final = 15.0
"""Seconds that a start waits for the claim of another gateway to end."""
_LOOK: Final = 0.5

_MUTEX: Final = "select number from opagate_format for update"
_ALL: Final = (
    "select id, name, journal, deployment, is_alone, until > clock_timestamp() as is_alive from opagate_gateways"
)
_LIVING: Final = "select id from opagate_gateways where until > clock_timestamp()"
_BURY: Final = "delete from opagate_gateways where id = any($1::text[])"
_BURY_ENDED: Final = "delete from opagate_gateways where id = any($1::text[]) and until <= clock_timestamp()"
_TAKE: Final = """
insert into opagate_gateways (id, name, journal, deployment, is_alone, until)
values ($1, $2, $3, $4, false, clock_timestamp() + make_interval(secs => $5))
"""
_RENEW: Final = """
update opagate_gateways set until = clock_timestamp() + make_interval(secs => $2)
where id = $1 and until > clock_timestamp() returning id
"""
_COME_BACK: Final = _RENEW.replace(
    "until > clock_timestamp()",
    "not exists (select from opagate_gateways as other where other.id <> $1 and other.until > clock_timestamp())",
)
"""A claim that has ended comes back only beside no other one: others may have acted on its end."""
_STAYED: Final = "select count(*) from opagate_gateways where id = any($1::text[])"


class PostgresClaim:
    """The claim of one process. `name` is for people. `journals` are the ids of the keys of its journal, the newest first.

    A gateway with one of these keys takes its own former claim at once, such as after a crash. Gateways of another `deployment`
    may not use the database meanwhile. Nor may any beside a gateway of an earlier release that kept state to itself (`is_alone`
    in its row). `monotonic` gives seconds.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        journals: Sequence[str],
        *,
        deployment: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = secrets.token_hex(16)
        self._server = server
        self._name = name
        self._journals = tuple(journals)
        self._deployment = deployment
        self._monotonic = monotonic
        self._link = Link(server, partial(require_schema, server=server))
        self._until = float("-inf")
        self._problem: StoreError | None = None
        self._is_lost = False
        self._on_lost: Callable[[], None] | None = None

    async def take(self, wait: float = WAIT) -> None:
        """Take the claim, and wait for the claim of another gateway to end. Raises `StoreError`, which names the other one."""
        end = self._monotonic() + wait
        while (holder := await self._try_take()) is not None:
            if self._monotonic() >= end:
                raise StoreError(
                    f"the gateway {holder} uses PostgreSQL at {self._server.name}, and lets no other gateway like this beside it",
                    "give both the same key `fingerprints`; or end that gateway, and this one starts within 15 s",
                )
            log.info("store.waiting", holder=holder)
            await asyncio.sleep(_LOOK)

    async def keep(self) -> None:
        """Renew the claim after a while."""
        await asyncio.sleep(RENEWAL)
        await self.renew()

    async def renew(self) -> None:
        """Renew the claim, and note a failure. A lost claim does not come back."""
        if self._is_lost:
            return
        asked = self._monotonic()
        try:
            found = await self._run(self._renew, RENEWAL)
        except Raced:
            return
        except StoreError as error:
            if self._problem is None:
                log.error("store.unreachable", problem=error.message)  # noqa: TRY400 - the message says it all
            self._problem = error
            return
        if not found:
            self._is_lost = True
            self._problem = self._server.make_lost_error()
            log.error("store.lost", problem=self._problem.message)
            if self._on_lost is not None:
                self._on_lost()
            return
        if self._problem is not None:
            log.info("store.reached")
        self._until, self._problem = asked + HELD, None

    async def release(self) -> None:
        """Give the claim to the next gateway, and close. Without an answer, the claim ends by itself."""
        try:
            await self._run(lambda connection: connection.execute(_BURY, [self.id]), RENEWAL)
        except StoreError as error:
            log.warning("store.unreleased", problem=error.message)
        self._link.close()

    def on_lost(self, act: Callable[[], None]) -> None:
        """Call `act` once another gateway has taken over."""
        self._on_lost = act

    async def list_living(self) -> frozenset[str]:
        """Return the ids of all gateways with a claim. A claim that has ended does not come back beside this one.

        Raises `StoreError`, also if this claim has ended: then no gateway may act on the end of another.
        """
        rows = await self._run(lambda connection: connection.fetch(_LIVING), self._server.deadline)
        living = frozenset(row["id"] for row in rows)
        if self.id not in living:
            raise StoreError("the claim of this gateway has ended", "it is renewed within a second, or lost for good")
        return living

    async def bury(self, ended: Collection[str], /) -> None:
        """Have ended gateways change nothing any more. Raises `StoreError`.

        The removal waits for their writes under way. A claim with a renewal after all stays, and that is an error.
        """
        names = list(ended)

        async def work(connection: Connection) -> int:
            await connection.execute(_BURY_ENDED, names)
            return await connection.fetchval(_STAYED, names)

        if await self._run(work, self._server.deadline):
            raise StoreError("a gateway that seemed to have ended has renewed its claim", "try again")

    def find_problem(self) -> StoreError | None:
        """Return the problem of the last renewal, `None` after a success."""
        return self._problem

    def find_end(self) -> StoreError | None:
        """Return the reason to serve no calls, `None` while the claim holds."""
        if not self._is_lost and self._monotonic() < self._until:
            return None
        return self._problem or self._server.make_late_error(HELD)

    async def _try_take(self) -> str | None:
        """Take the claim. Return the name of another gateway with a claim, `None` after a success."""
        asked = self._monotonic()
        try:
            holder = await self._run(self._transact, self._server.patience)
        except Raced:
            return "that starts or ends at this moment"
        if holder is None:
            self._until = asked + HELD
        return holder

    async def _transact(self, connection: Connection) -> str | None:
        return await transact(connection, partial(self._take, connection), self._server)

    async def _take(self, connection: Connection) -> str | None:
        await connection.fetch(_MUTEX)
        found = await connection.fetch(_ALL)
        others = [row for row in found if row["is_alive"] and row["journal"] not in self._journals]
        for row in others:
            if row["is_alone"] or row["deployment"] != self._deployment:
                return str(row["name"])
        alive = {row["id"] for row in others}
        gone = [row["id"] for row in found if row["id"] not in alive]
        await connection.execute(_BURY, gone)
        await connection.execute(_TAKE, self.id, self._name, self._journals[0], self._deployment, HELD + _MARGIN)
        return None

    async def _renew(self, connection: Connection) -> bool:
        found = await connection.fetch(_RENEW, self.id, HELD + _MARGIN)
        return bool(found) or await transact(connection, partial(self._come_back, connection), self._server)

    async def _come_back(self, connection: Connection) -> bool:
        """Renew a claim that has ended. Gateways take turns to look for other gateways."""
        await connection.fetch(_MUTEX)
        return bool(await connection.fetch(_COME_BACK, self.id, HELD + _MARGIN))

    async def _run(self, work: Callable[[Connection], Awaitable[Result]], seconds: float) -> Result:
        return await self._link.run(work, asyncio.get_running_loop().time() + seconds)
