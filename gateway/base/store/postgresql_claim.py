"""The claim of a gateway on a database: a row with an end, renewed again and again. The server's clock counts its time.

The removal of the row ends its gateway, and nothing else does. The rows of its writers go with it, so late statements
change nothing. Other gateways remove the row some seconds after its time. They must have been steady themselves: an outage of the
database ends the time of all rows, and each gateway first renews its own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import structlog

from gateway.base.store.postgresql_connection import Link, Raced, transact
from gateway.base.store.postgresql_schema import require_schema
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

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
STEADY: Final = 5.0
"""Seconds without a gap between renewals, after which a gateway removes the ended claims of others."""
_GAP: Final = 3.0
"""Seconds between two renewals that are a gap. A gateway of the same journal that is silent for so long has ended."""
_LOOK: Final = 0.5

_MUTEX: Final = "select number from opagate_format for update"
_ALL: Final = """
select id, name, journal, deployment, is_alone, until, until > clock_timestamp() as is_alive,
  extract(epoch from clock_timestamp() - until)::float8 + $1 as silence from opagate_gateways
"""
_PRESENT: Final = "select id from opagate_gateways"
_BURY: Final = "delete from opagate_gateways where id = any($1::text[])"
_BURY_ENDED: Final = "delete from opagate_gateways where until <= clock_timestamp()"
_TAKE: Final = """
insert into opagate_gateways (id, name, journal, deployment, is_alone, until, about)
values ($1, $2, $3, $4, false, clock_timestamp() + make_interval(secs => $5), $6)
"""
_RENEW: Final = """
with renewed as (update opagate_gateways set until = clock_timestamp() + make_interval(secs => $2), about = $3
  where id = $1 returning id)
select id, name, about, until <= clock_timestamp() as is_over, exists (select from renewed) as is_renewed
from opagate_gateways
"""


class _Holder(NamedTuple):
    """A gateway whose claim hinders this gateway from starting. `renewed` is the last renewal of a twin.

    A twin has the same journal key, such as the gateway before a crash.
    """

    name: str
    renewed: object = None


class PostgresClaim:
    """The claim of one process. `name` is for people. `journals` are the ids of the keys of its journal, the newest first.

    A gateway takes the former claim of its own journal once that was silent, such as after a crash. Gateways of another
    `deployment` may not use the database meanwhile. Nor may any beside a gateway of an earlier release that kept state to itself
    (`is_alone` in its row). `monotonic` gives seconds.
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
        self._until = self._renewed = self._steady_since = float("-inf")
        self._problem: StoreError | None = None
        self._is_lost = False
        self._on_lost: Callable[[], None] | None = None
        self._about: dict[str, str] = {}
        self._differences: dict[str, tuple[str, ...]] = {}

    async def take(self, wait: float = WAIT) -> None:
        """Take the claim, and wait for the claim of another gateway to end. Raises `StoreError`, which names the other one."""
        end, twins = self._monotonic() + wait, dict[str, object]()
        while (holder := await self._try_take()) is not None:
            if holder.renewed is not None:
                if twins.setdefault(holder.name, holder.renewed) != holder.renewed:
                    raise StoreError(
                        f"the gateway {holder.name} uses PostgreSQL at {self._server.name} with the `chain` key of this one",
                        "give each gateway a `chain` key and a state folder of its own: remove the copied key, or stop the other one",
                    )
            elif self._monotonic() >= end:
                raise StoreError(
                    f"the gateway {holder.name} uses PostgreSQL at {self._server.name}, and lets no other gateway like this beside it",
                    "give both the same key `fingerprints`; or end that gateway, and this one starts within 15 s",
                )
            log.info("store.waiting", holder=holder.name)
            await asyncio.sleep(_LOOK)

    async def keep(self) -> None:
        """Renew the claim after a while."""
        await asyncio.sleep(RENEWAL)
        await self.renew()

    async def renew(self) -> None:
        """Renew the claim, and note a failure. A claim that another gateway removed does not come back."""
        if self._is_lost:
            return
        asked = self._monotonic()
        try:
            rows = await self._run(self._renew, RENEWAL)
        except StoreError as error:
            if self._problem is None:
                log.error("store.unreachable", problem=error.message)  # noqa: TRY400 - the message says it all
            self._problem = error
            return
        if not rows or not rows[0]["is_renewed"]:
            self._note_loss()
            return
        if self._problem is not None:
            log.info("store.reached")
        self._note_hold(asked)
        self._compare([row for row in rows if row["id"] != self.id and not row["is_over"]])
        if asked - self._steady_since >= STEADY and any(row["is_over"] for row in rows if row["id"] != self.id):
            with suppress(StoreError):  # the next renewal tries again
                await self._run(lambda connection: connection.execute(_BURY_ENDED), RENEWAL)

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
        """Return the ids of all gateways with a claim. A gateway that is not among them changes nothing any more.

        Raises `StoreError`, also if the claim of this gateway is gone.
        """
        rows = await self._run(lambda connection: connection.fetch(_PRESENT), self._server.deadline)
        living = frozenset(row["id"] for row in rows)
        if self.id not in living:
            raise self._server.make_lost_error()
        return living

    def announce(self, about: Mapping[str, str]) -> None:
        """Tell other gateways, with the next renewal, of policy and settings: name → revision or digest."""
        self._about.update(about)

    def find_differences(self) -> Mapping[str, Sequence[str]]:
        """Return the differences at the last renewal: gateway → names of policy and settings."""
        return self._differences

    def find_problem(self) -> StoreError | None:
        """Return the problem of the last renewal, `None` after a success."""
        return self._problem

    def find_end(self) -> StoreError | None:
        """Return the reason to serve no calls, `None` while the claim holds."""
        if not self._is_lost and self._monotonic() < self._until:
            return None
        return self._problem or self._server.make_late_error(HELD)

    def _note_hold(self, asked: float) -> None:
        """Note a claim that was asked for at a time."""
        if asked - self._renewed > _GAP:
            self._steady_since = asked
        self._renewed, self._until, self._problem = asked, asked + HELD, None

    def _note_loss(self) -> None:
        self._is_lost = True
        self._problem = self._server.make_lost_error()
        log.error("store.lost", problem=self._problem.message)
        if self._on_lost is not None:
            self._on_lost()

    def _compare(self, others: Iterable[Any]) -> None:
        """Find what other gateways have otherwise, and tell the log of changes."""
        found: dict[str, tuple[str, ...]] = {}
        for row in others:
            about: dict[str, str] = json.loads(row["about"] or "{}")
            unlike = tuple(name for name, value in self._about.items() if about.get(name, value) != value)
            if unlike:
                found[str(row["name"])] = unlike
        if found != self._differences:
            self._differences = found
            if found:
                log.warning("store.differs", gateways={name: [*each] for name, each in found.items()})
            else:
                log.info("store.alike")

    async def _try_take(self) -> _Holder | None:
        """Take the claim. Return another gateway with a claim, `None` after a success."""
        asked = self._monotonic()
        try:
            holder = await self._run(self._transact, self._server.patience)
        except Raced:
            return _Holder("that starts or ends at this moment")
        if holder is None:
            self._note_hold(asked)
        return holder

    async def _transact(self, connection: Connection) -> _Holder | None:
        return await transact(connection, partial(self._take, connection), self._server)

    async def _take(self, connection: Connection) -> _Holder | None:
        await connection.fetch(_MUTEX)
        gone: list[str] = []
        for row in await connection.fetch(_ALL, HELD + _MARGIN):
            is_own = row["journal"] in self._journals
            if is_own and row["silence"] < _GAP:
                return _Holder(str(row["name"]), row["until"])
            excludes = row["is_alone"] or row["deployment"] != self._deployment
            if excludes and row["is_alive"] and not is_own:
                return _Holder(str(row["name"]))
            if is_own or excludes:
                gone.append(row["id"])
        await connection.execute(_BURY, gone)
        about = json.dumps(self._about)
        await connection.execute(_TAKE, self.id, self._name, self._journals[0], self._deployment, HELD + _MARGIN, about)
        return None

    async def _renew(self, connection: Connection) -> list[Any]:
        return await connection.fetch(_RENEW, self.id, HELD + _MARGIN, json.dumps(self._about))

    async def _run(self, work: Callable[[Connection], Awaitable[Result]], seconds: float) -> Result:
        return await self._link.run(work, asyncio.get_running_loop().time() + seconds)
