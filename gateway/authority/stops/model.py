"""Stops and the calls that they cover. Pure: the time is an argument.

Names are compared as they stand, like identities everywhere else: no pattern, no other spelling. Without an issuer, a name counts at
every issuer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import Struct

from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.caller import Principal
    from gateway.model.decision import Refusal
    from gateway.model.wire import Json, JsonObject

Scope: TypeAlias = Literal["agent", "user", "task", "upstream", "all"]
SCOPES: Final[tuple[Scope, ...]] = ("agent", "user", "task", "upstream", "all")
CAPACITY: Final = 1_000
"""Stops at once."""
_Key: TypeAlias = tuple[str, str]


Party: TypeAlias = tuple[str, str]
"""A name and its issuer."""


class Parties(Struct, frozen=True):
    """The names behind a request. Its delegation chain is of agents. Without a user, the caller may be the person."""

    agents: tuple[Party, ...]
    user: Party

    @classmethod
    def of(cls, principal: Principal) -> Parties:
        """Return the names behind a caller's requests."""
        issuer = principal.issuer
        actors = tuple((actor.id, actor.issuer or issuer) for actor in principal.delegation)
        user = principal.id if principal.user is None else principal.user.id
        return cls(((principal.id, issuer), *actors), (user, issuer))


class Selection(Struct, frozen=True, forbid_unknown_fields=True):
    """The calls that a stop covers. `name` is empty for `all`. `issuer` is for agents and users; `None` is every issuer."""

    scope: Scope
    name: str = ""
    issuer: str | None = None

    def covers(self, parties: Parties, upstream: str | None = None, task: str | None = None) -> bool:
        """Return whether a request is of these. A request may name no system, and no task."""
        match self.scope:
            case "all":
                return True
            case "upstream":
                return upstream == self.name
            case "task":
                return task == self.name
            case _:
                named = parties.agents if self.scope == "agent" else (parties.user,)
                return any(name == self.name and self.issuer in {None, issuer} for name, issuer in named)


class Stop(Struct, frozen=True):
    """A stop in force. `until` is its end, `None` until it is resumed. Times are in seconds since the epoch.

    `is_recorded`: the journal has the stop. `by` names the operator.
    """

    id: str
    chosen: Selection
    at: float
    until: float | None
    reason: str
    by: dict[str, str]
    is_recorded: bool = False
    format: Literal[1] = 1


class StopRegister:
    """The stops in force, found by the names of a request."""

    def __init__(self) -> None:
        self.stops: dict[str, Stop] = {}
        """By id, for reading. A request asks about nothing while there are none."""
        self._by_name: dict[_Key, dict[str, Stop]] = {}

    def __iter__(self) -> Iterator[Stop]:
        return iter(tuple(self.stops.values()))

    def put(self, stop: Stop) -> None:
        """Put a stop into force, in the place of the same stop."""
        self.stops[stop.id] = stop
        self._by_name.setdefault((stop.chosen.scope, stop.chosen.name), {})[stop.id] = stop

    def remove(self, identifier: str) -> Stop | None:
        """Take a stop out of force, and return it."""
        stop = self.stops.pop(identifier, None)
        if stop is not None:
            key = stop.chosen.scope, stop.chosen.name
            others = self._by_name[key]
            del others[identifier]
            if not others:
                del self._by_name[key]
        return stop

    def find(self, principal: Principal, upstream: str | None = None, task: str | None = None) -> Stop | None:
        """Return a stop that covers a request, `None` if none does."""
        return self.find_for(Parties.of(principal), upstream, task) if self.stops else None

    def find_for(self, parties: Parties, upstream: str | None = None, task: str | None = None) -> Stop | None:
        """Return a stop that covers a request by its agent, user, task or upstream."""
        for key in _keys(parties, upstream, task):
            for stop in self._by_name.get(key, {}).values():
                if stop.chosen.covers(parties, upstream, task):
                    return stop
        return None


def refuse(stop: Stop) -> Refusal:
    """Return the refusal of a request that a stop covers. Callers learn its id, and not its reason."""
    return reasons.STOP_IN_FORCE.refusal(what=_WHAT[stop.chosen.scope], id=stop.id)


_WHAT: Final[Mapping[Scope, str]] = {
    "agent": "this agent",
    "user": "the calls for this user",
    "task": "this task",
    "upstream": "the calls to this system",
    "all": "all calls",
}


class ListedStop(TypedDict):
    """A stop as operators see it. Times are in seconds since the epoch."""

    id: str
    scope: Scope
    name: NotRequired[str]
    issuer: NotRequired[str]
    at: float
    until: NotRequired[float]
    reason: str
    by: dict[str, str]


def describe_stop(stop: Stop) -> JsonObject:
    """Return a stop for people, and for the record."""
    fields: dict[str, Json] = {
        "id": stop.id,
        "scope": stop.chosen.scope,
        "name": stop.chosen.name or None,
        "issuer": stop.chosen.issuer,
        "at": stop.at,
        "until": stop.until,
        "reason": stop.reason,
        "by": dict(stop.by),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _keys(parties: Parties, upstream: str | None, task: str | None) -> Iterable[_Key]:
    """Yield the selections without issuers that may cover a request."""
    yield "all", ""
    yield from (("agent", name) for name, _ in parties.agents)
    yield "user", parties.user[0]
    if upstream is not None:
        yield "upstream", upstream
    if task is not None:
        yield "task", task
