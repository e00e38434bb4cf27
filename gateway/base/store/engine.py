"""The forms of what a gateway stores, and the operations of an engine for durable records. Pure: the vocabulary alone.

Every operation is a set of changes, carried out whole or not at all:
- change a record if its version is still `n`: a change with `version=n`
- add a record once, or append to a log after its event `n`: a change of an absent record, with `version=ABSENT`
- claim: a change of an absent record with an end; an ended record counts as absent
- expire: remove the records of a kind whose end is over

Beside records there are logs. An append names the logs that it was decided on, each with its version. It is carried out if
all still have these versions, so a decision is made on exactly the state that its events follow. Other events of it may go to
the ends of further logs, whatever these have.

A later form than this release knows is refused, and never dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from gateway.model.errors import StoreError

ABSENT: Final = 0
"""The version of a record that is not there."""


class Record(NamedTuple):
    """A stored value. No two writes give the same version, also not to a record that was removed between them."""

    id: str
    version: int
    value: bytes


class Change(NamedTuple):
    """A new value of a record, or its removal for `None`. `version` is the expected version; `None` expects nothing.

    `expires` is the end of the record, in seconds since the epoch.
    """

    kind: str
    id: str
    value: bytes | None
    version: int | None = None
    expires: float | None = None


class Log(NamedTuple):
    """A log of events. `owner` is the digest of the owner of a job, so the logs of a job are in one place."""

    owner: bytes
    name: str


class Append(NamedTuple):
    """Events for logs, in their order. `versions` names each log that they depend on; a log counts its events.

    `ends` are the other logs with events of the append. It depends on no version of these.
    """

    versions: Mapping[Log, int]
    events: Sequence[tuple[Log, bytes]]
    ends: frozenset[Log] = frozenset()


Missing: TypeAlias = "Mapping[Log, Sequence[bytes]]"
"""Events that an append did not know, by their log. Empty for an append that was carried out."""
Rewrite: TypeAlias = "Callable[[str, str, bytes], bytes | None]"
"""Makes another form of a value, from its kind, id and present form; `None` leaves the value as it is."""


def find_later(append: Append, versions: Mapping[Log, int]) -> list[Log]:
    """Return the logs with events that an append does not know. Raises `StoreError` for a log behind a named version."""
    for log, named in append.versions.items():
        require_seen(log, versions.get(log, 0), named)
    return [log for log, named in append.versions.items() if versions.get(log, 0) > named]


def require_seen(log: Log, version: int, seen: int) -> None:
    """Raise `StoreError` for a log that has fewer events than this gateway has seen."""
    if version < seen:
        raise StoreError(
            f"the log {log.name} ends at its event {version}, and this gateway has seen event {seen}",
            "find out which confirmed changes the store has lost, such as by a failover",
        )


class Replica(Protocol):
    """A process among those on the same records. `id` names it, and no later process has the same id."""

    @property
    def id(self) -> str: ...

    async def list_living(self) -> frozenset[str]:
        """Return the ids of all processes that use the records. Raises `StoreError`.

        A process that has ended does not come back, and none of its late changes is carried out.
        """
        ...


class OnlyReplica:
    """A process that has the records for itself."""

    def __init__(self, name: str) -> None:
        self.id = name

    async def list_living(self) -> frozenset[str]:
        """Return this process alone."""
        return frozenset({self.id})


class Claim(Replica, Protocol):
    """The right of this process to use the records."""

    def announce(self, about: Mapping[str, str], /) -> None:
        """Tell other processes of policy and settings: name → revision or digest."""
        ...

    def find_differences(self) -> Mapping[str, Sequence[str]]:
        """Return the differences of other processes: process → names of policy and settings."""
        ...

    def find_problem(self) -> StoreError | None:
        """Return the problem of the last renewal, `None` after a success."""
        ...

    def find_end(self) -> StoreError | None:
        """Return the reason to serve no calls, `None` while the claim holds."""
        ...

    def on_lost(self, act: Callable[[], None]) -> None:
        """Call `act` once another gateway has taken over."""
        ...


class Engine(Protocol):
    """An engine that keeps records by kind and id. Each method raises `StoreError`."""

    async def read(self, kind: str, identifier: str, /) -> Record | None:
        """Return a record, `None` if it is not there or has ended."""
        ...

    async def read_some(self, kind: str, identifiers: Sequence[str], /) -> Sequence[Record]:
        """Return the records of these ids that are there and have not ended, by one query."""
        ...

    async def list(self, kind: str, /) -> list[Record]:
        """Return the records of a kind, in the order of their ids."""
        ...

    async def list_versions(self, kind: str, /) -> dict[str, int]:
        """Return the versions of the records of a kind by their ids, without the values."""
        ...

    async def count(self, kind: str, /) -> int:
        """Return the number of records of a kind."""
        ...

    async def survey(self) -> dict[tuple[str, str], int]:
        """Return the number of records by their kind and the id of the key that sealed them. Nothing is made or changed."""
        ...

    async def read_all(self) -> list[Change]:
        """Return the records of all kinds that have not ended, each as the change to write it. Nothing is made or changed."""
        ...

    async def change(self, *changes: Change) -> int | None:
        """Carry out all changes, and return the new version. Return `None`, and change nothing, for another version than expected.

        The changes are on disk when this returns. A cancelled caller goes after that.
        """
        ...

    async def append(self, append: Append, /) -> Missing:
        """Append all events if the logs have the named versions, and nothing otherwise. Return the events beyond these versions.

        A log without such events is one that has to be left to another process: see `has_turn`. An append without events gives a
        turn back.

        Raises `StoreError` for a log that is behind a named version, since confirmed events were lost.
        """
        ...

    async def find_version(self, log: Log, /) -> int:
        """Return the number of events of a log. Questions that come together are one query."""
        ...

    async def has_turn(self, log: Log, /) -> bool:
        """Return whether no other process is before this one in the line of a log.

        A process whose append was refused stands in that line. The others leave the log to the first one for a tenth of a second.
        """
        ...

    async def read_log(self, log: Log, after: int = 0, /) -> list[bytes]:
        """Return the events of a log after a version."""
        ...

    async def expire(self, kind: str, /) -> None:
        """Remove the records of a kind that have ended."""
        ...

    async def rewrite(self, change: Rewrite, /, *, unless: bytes) -> int:
        """Rewrite each value that does not begin with `unless`, and return their number. Versions and ends stay."""
        ...

    def close(self) -> None:
        """Close the engine. The next use opens it again."""
        ...


class StoredForm(NamedTuple):
    """A stored form. `number` is its present form, and `lost` says what goes without its content.

    `is_derived`: another stored form has its content, and the gateway makes it again.
    """

    name: str
    place: str
    number: int
    lost: str
    is_derived: bool = False


class CheckedForm(NamedTuple):
    """A form as found on disk. `records` is their number, and `problem` is what stops a gateway."""

    form: StoredForm
    records: int
    state: Literal["ok", "warn", "fail"] = "ok"
    problem: str = ""
    remedy: str = ""
