"""Logs in PostgreSQL. The head of each log, locked in the order of the keys, has the number of its events.

All appends that wait are one statement, so no trip of the network passes while heads are locked.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.base.store.engine import Log, find_later

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.base.store.engine import Append, Missing
    from gateway.base.store.postgresql_connection import Connection

READ: Final = """
select event from opagate_events where owner = $1 and name = $2 and version > $3 order by version
"""
# A head that another gateway inserts meanwhile is a unique violation, and then nothing is written. A name without a version
# fits any head, so several appends may add to the end of one log. A gateway whose append does not fit stands in line, and the
# others leave the log to the first one of the line. A dead one loses its turn after 100 ms, whatever the others append. After
# several dead ones, each refusal takes one out of the line. An append without events is no wish for a turn.
APPEND: Final = """
with writer as materialized (select id from opagate_writers where id = $1 for share),
named as materialized (
  select * from unnest($3::int[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[]) with ordinality
  as n (number, owner, name, version, added, place)),
locked as materialized (
  select owner, name, version, line, turn_until from opagate_logs
  where (owner, name) in (select owner, name from named) order by owner, name for update),
held as materialized (
  select *, case when turn_until <= clock_timestamp() then line[2:] else line end as present from locked),
fitting as materialized (
  select n.number from named as n left join held as h on h.owner = n.owner and h.name = n.name
  where exists (select from writer) group by n.number
  having bool_and(n.version is null or (n.version = coalesce(h.version, 0) and coalesce(h.present[1], $2) = $2))),
grown as materialized (
  select n.owner, n.name, max(h.version) as before, coalesce(max(h.version), 0) + sum(n.added)::bigint as version,
    array_remove(max(h.present), $2) as line
  from named as n join fitting as f on f.number = n.number left join held as h on h.owner = n.owner and h.name = n.name
  group by n.owner, n.name),
raised as (
  update opagate_logs as l set version = g.version, line = g.line,
    turn_until = case when g.line[1] = l.line[1] then l.turn_until else clock_timestamp() + interval '100 ms' end
  from grown as g where l.owner = g.owner and l.name = g.name and g.before is not null),
lined as (
  update opagate_logs as l set line = case when $2 = any (h.present) then h.present else h.present || $2 end,
    turn_until = case when h.present = h.line and h.line <> '{}' then h.turn_until
      else clock_timestamp() + interval '100 ms' end
  from named as n join held as h on h.owner = n.owner and h.name = n.name
  where l.owner = h.owner and l.name = h.name and n.version is not null and exists (select from writer)
    and n.number in (select number from named where added > 0)
    and n.number not in (select number from fitting) and (not $2 = any (h.present) or h.present <> h.line)),
opened as (
  insert into opagate_logs (owner, name, version)
  select owner, name, version from grown where before is null order by owner, name),
added as (
  insert into opagate_events (owner, name, version, event)
  select n.owner, n.name,
    coalesce(g.before, 0) + row_number() over (partition by n.owner, n.name order by e.position), e.event
  from unnest($8::int[], $9::bytea[]) with ordinality as e (place, event, position) join named as n on n.place = e.place
  join fitting as f on f.number = n.number join grown as g on g.owner = n.owner and g.name = n.name
  order by 1, 2, 3)
select exists (select from writer) as is_known, array(select number from fitting) as fitting
"""
_PLACES: Final = """
select owner, name, version, coalesce(line[1], $1) = $1 or turn_until <= clock_timestamp() as is_free
from opagate_logs where (owner, name) in (select * from unnest($2::bytea[], $3::text[]))
"""


class Place(NamedTuple):
    """The number of events of a log. `is_free`: no other gateway is before this one in its line."""

    version: int
    is_free: bool


def parameters(appends: Sequence[Append]) -> list[list[Any]]:
    """Return the parameters of `APPEND` for appends that depend on no common log. An event has the place of its log in `named`."""
    named: list[tuple[Any, ...]] = []
    events: list[tuple[int, bytes]] = []
    for number, append in enumerate(appends):
        versions: dict[Log, int | None] = {**append.versions, **dict.fromkeys(append.ends)}
        added = Counter(log for log, _ in append.events)
        places = {log: place for place, log in enumerate(versions, len(named) + 1)}
        named += [(number, *log, version, added[log]) for log, version in versions.items()]
        events += [(places[log], event) for log, event in append.events]
    return [*_columns(named, 5), *_columns(events, 2)]


def split(numbers: Sequence[int], appends: Sequence[Append]) -> tuple[list[int], list[int]]:
    """Return the numbers of appends for one statement, and the numbers of the rest, for later statements.

    A log that an append depends on is in no other append of the statement.
    """
    seen, ends = set[Log](), set[Log]()
    apart: list[int] = []
    rest: list[int] = []
    for number in numbers:
        logs, further = appends[number].versions.keys(), appends[number].ends
        (rest if (seen | ends) & logs or seen & further else apart).append(number)
        seen |= logs
        ends |= further
    return apart, rest


async def find_places(gateway: str, logs: Sequence[Log], connection: Connection) -> list[Place]:
    """Return the place of each log for a gateway."""
    rows = await connection.fetch(_PLACES, gateway, *_columns(set(logs), 2))
    found = {Log(*row[:2]): Place(*row[2:]) for row in rows}
    return [found.get(log, Place(0, is_free=True)) for log in logs]


async def read_missing(append: Append, connection: Connection) -> Missing:
    """Return the events that a refused append does not know, none if it was another gateway's turn.

    Raises `StoreError` for a log behind a named version.
    """
    logs = tuple(append.versions)
    places = await find_places("", logs, connection)
    later = find_later(append, {log: place.version for log, place in zip(logs, places, strict=True)})
    found = {log: [row["event"] for row in await connection.fetch(READ, *log, append.versions[log])] for log in later}
    return found or dict.fromkeys(logs, ())


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return the columns of rows, as the parameters of `unnest`."""
    listed = list(rows)
    return [[row[column] for row in listed] for column in range(width)]
