"""The events of a task. Pure: no I/O, no clock, no randomness.

A call counts from its reservation on, before policy decides, so that parallel calls cannot race a limit. The release of a
refused call takes its marks back, and leaves a denial if policy denied it. A forwarded call keeps its marks for good.

Events hold keyed digests and fingerprints in the place of values. `fields` encodes events, `fold` folds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from gateway.model.content import ONE_TIME, OneTime
from gateway.model.target import Effect, Sensitivity, System

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.content import Sighting
    from gateway.model.target import Target

NO_DIGESTS: frozenset[int] = frozenset()
_READ: Final = Effect.READ


class Touch(NamedTuple):
    """The systems of a call: its own, whether the call may change it, its owner, and the systems behind it."""

    audience: str
    write: bool
    tenant: str | None
    environment: str | None
    behind: tuple[str, ...] = ()

    @property
    def reached(self) -> tuple[str, ...]:
        return (self.audience, *self.behind)

    @property
    def systems(self) -> frozenset[System]:
        return frozenset(System(name, self.tenant, self.environment) for name in self.reached)


class Shown(NamedTuple):
    """A credential in a reading of the task: its fingerprint, and digests of its parts for finding pieces. `ordinary`: ordinary
    text may have the same value. `one_time`: the credential is good for one login."""

    fingerprint: str
    shingles: frozenset[int] = NO_DIGESTS
    ordinary: bool = False
    one_time: OneTime | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A task was declared. `known` are the digests of the words of its goal and of its contract's destinations,
    `credentials` what is in them of credentials."""

    known: frozenset[int] = NO_DIGESTS
    credentials: tuple[Shown, ...] = ()


class Reserved(Struct, frozen=True):
    """A call that is about to be decided. Made by `new_events.reserved`.

    `call` is its decision id. `number` counts the calls of the task from 1. `at` is in seconds since the epoch.
    `destinations` are those outside of the operator's own domains, `None` if the arguments were not read whole. `inside` are
    those in own domains, and `named` those of both that the goal or the contract names. `raises` are the
    numbers that the call raises, by the name of their limit. `crowded`: the task has more destinations than are kept
    apart. `fed` are the numbers of the untrusted results with data in the arguments. `flooded`: data of results that are
    not kept whole may be in the arguments too. `links` are the links of results that the call follows. `own`: the call
    says something beyond the goal. `said` are values that the call tells a trusted system. `uttered` are words of the
    call that the task has not read. `wordy`: the call has more of these than are kept. `told` are values of
    the call that no record has. `exposed` are grams of foreign credentials in the call. `mint`, `untrusted` and `sensitivity` describe the coming result. `directed`: links in the
    result may be followed. `pointed`: the goal names each text of this reading call.
    """

    call: str
    number: int
    at: float
    touch: Touch
    mint: bool = False
    untrusted: bool = True
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    destinations: tuple[int, ...] | None = None
    crowded: bool = False
    credentials: tuple[str, ...] = ()
    fed: tuple[int, ...] = ()
    flooded: bool = False
    links: tuple[int, ...] = ()
    own: bool = False
    directed: bool = False
    said: tuple[int, ...] = ()
    uttered: tuple[int, ...] = ()
    wordy: bool = False
    exposed: tuple[int, ...] = ()
    named: tuple[int, ...] = ()
    inside: tuple[int, ...] = ()
    raises: tuple[tuple[str, int], ...] = ()
    pointed: bool = False
    told: tuple[int, ...] = ()

    @property
    def named_outside(self) -> tuple[int, ...]:
        return tuple(digest for digest in self.destinations or () if digest in self.named)

    @property
    def unnamed_inside(self) -> tuple[int, ...]:
        return tuple(digest for digest in self.inside if digest not in self.named)


class Exposed(NamedTuple):
    """A message without a decision, or the part of a call beside its arguments, carries grams of foreign credentials."""

    touch: Touch
    exposed: tuple[int, ...]


class Passed(NamedTuple):
    """Policy allowed a reserved call, and the record has it: what the call reaches is reached."""

    call: str


class Released(NamedTuple):
    """A reserved call did not go on; `denied` if policy denied it. Without a verdict, or with an ask, it is none."""

    call: str
    denied: bool


class Settled(NamedTuple):
    """A reserved call went on and has ended, in whatever way."""

    call: str


class Observed(Struct, frozen=True):
    """A part of a call's result. Made by `new_events.observed`, which leaves out what is known already.

    `tokens` are the digests of its words, as far as there is room; `complete` is false if there was more. `lost`: it may
    also have shown credentials that are not in `credentials`. `confirmed` are known credentials of an untrusted system that a
    trusted result shows as credentials too. `requested`: the system has sent a one-time code; the number of the last call
    before that, or 0. `records` are values of records with a word of the goal. `sampled`: the result had more words than
    are kept.
    """

    call: str
    credentials: tuple[Shown, ...] = ()
    tokens: frozenset[int] = NO_DIGESTS
    complete: bool = True
    sensitivity: Sensitivity = Sensitivity.PUBLIC
    lost: bool = False
    links: frozenset[int] = NO_DIGESTS
    confirmed: tuple[str, ...] = ()
    requested: int = 0
    records: frozenset[int] = NO_DIGESTS
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """A reading outside of an open call, or a part of it. Made by `new_events.read`, which leaves out known content.

    `number` is its place among the calls and readings of the task. A `late` result has the number of its call. `call` is the
    id of the call with this late result, in any task. `touch` has the systems of origin. `used` are the credentials of
    the call; `unknown`: the gateway has forgotten the call. All else is as for `Reserved` and `Observed`.
    """

    number: int
    at: float
    touch: Touch
    untrusted: bool = True
    sensitivity: Sensitivity = Sensitivity.PUBLIC
    call: str | None = None
    late: bool = False
    mint: bool = False
    unknown: bool = False
    used: tuple[str, ...] = ()
    credentials: tuple[Shown, ...] = ()
    tokens: frozenset[int] = NO_DIGESTS
    complete: bool = True
    lost: bool = False
    confirmed: tuple[str, ...] = ()
    sampled: bool = False

    @property
    def audience(self) -> str:
        return self.touch.audience


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A person approved, and with it took these values as good for the rest of the task. `limits` are the numbers that the
    person was shown, by the name of their limit."""

    values: frozenset[int] = NO_DIGESTS
    limits: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A declared task is over."""

    how: Literal["completed", "cancelled"]


Event: TypeAlias = Opened | Reserved | Passed | Exposed | Released | Settled | Observed | Read | Endorsed | Ended


def shown(sightings: Iterable[Sighting]) -> tuple[Shown, ...]:
    """Return the credentials shown by sightings, each once."""
    found = {
        item.fingerprint: Shown(item.fingerprint, item.shingles, item.ordinary, ONE_TIME.get(item.detector))
        for item in sightings
    }
    return tuple(found.values())


def touch_of(target: Target) -> Touch:
    """Return the systems that a call of this target touches. Anything but a read may change something."""
    writes = target.labels.effect is not _READ
    behind = tuple(sorted({*target.aggregates} - {target.audience})) if target.aggregates else ()
    return _touch(target.audience, writes, target.tenant, target.environment, behind)


# The same few systems are touched again and again: a hit enters no Python function.
_touch: Final = lru_cache(maxsize=4096)(Touch)
