"""Logs in PostgreSQL. The head of each log, locked in the order of the keys, has the number of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.base.store.engine import Log, find_later
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.base.store.engine import Append, Missing
    from gateway.base.store.postgresql_connection import Connection

READ: Final = """
select event from opagate_events where owner = $1 and name = $2 and version > $3 order by version
"""
_LOCK: Final = """
select owner, name, version from opagate_logs
where (owner, name) in (select * from unnest($1::bytea[], $2::text[])) order by owner, name for update
"""
_OPEN: Final = """
insert into opagate_logs (owner, name, version) select * from unnest($1::bytea[], $2::text[], $3::bigint[])
"""
_RAISE: Final = """
update opagate_logs as l set version = n.version
from unnest($1::bytea[], $2::text[], $3::bigint[]) as n (owner, name, version)
where l.owner = n.owner and l.name = n.name
"""
_ADD: Final = """
insert into opagate_events (owner, name, version, event)
select * from unnest($1::bytea[], $2::text[], $3::bigint[], $4::bytea[])
"""


async def append_all(appends: Sequence[Append], connection: Connection) -> list[Missing | Exception]:
    """Carry out appends in their order, each whole or not at all. A log that another gateway opens meanwhile is a race."""
    logs = sorted({log for append in appends for log in append.versions})
    rows = await connection.fetch(_LOCK, *_columns(logs, 2))
    stored = {Log(row["owner"], row["name"]): row["version"] for row in rows}
    versions = dict.fromkeys(logs, 0) | stored
    events: list[tuple[bytes, str, int, bytes]] = []
    behind = [_judge(append, versions, events) for append in appends]
    opened = [(*log, versions[log]) for log in logs if log not in stored]
    raised = [(*log, versions[log]) for log in logs if stored.get(log, versions[log]) != versions[log]]
    for statement, written in ((_OPEN, opened), (_RAISE, raised), (_ADD, events)):
        if written:
            await connection.execute(statement, *_columns(written, len(written[0])))
    return [
        later if isinstance(later, StoreError) else await _read_missing(append.versions, later, connection)
        for append, later in zip(appends, behind, strict=True)
    ]


def _judge(
    append: Append, versions: dict[Log, int], events: list[tuple[bytes, str, int, bytes]]
) -> list[Log] | StoreError:
    """Add the events of an append if its versions are the present ones. Return the logs with events that it does not know."""
    try:
        later = find_later(append, versions)
    except StoreError as error:
        return error
    for log, event in () if later else append.events:
        versions[log] += 1
        events.append((log.owner, log.name, versions[log], event))
    return later


async def _read_missing(named: Mapping[Log, int], later: Sequence[Log], connection: Connection) -> Missing:
    return {log: [row["event"] for row in await connection.fetch(READ, *log, named[log])] for log in later}


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return the columns of rows, as the parameters of `unnest`."""
    return [[row[column] for row in rows] for column in range(width)]
