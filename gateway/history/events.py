"""The events of a task. Pure: no I/O, no clock, no randomness.

A call counts from its reservation on, before policy decides, so that parallel calls cannot race a limit. The release of a
refused call takes its marks back, and leaves a denial if policy denied it. A forwarded call keeps its marks for good.

Events hold keyed digests and fingerprints in the place of values. The fields here, without defaults, are those in the journal
and in snapshots; `fold` folds them. Digests are unsigned 64-bit integers in one run of bytes, ascending and little-endian. JSON has
them as base64 (RFC 4648 section 4): numbers would take more than twice the room.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import Struct, structs

from gateway.history.declared.tables import Mark
from gateway.model.content import ONE_TIME, OneTime
from gateway.model.target import Sensitivity, System

if TYPE_CHECKING:
    from gateway.model.content import Sighting
    from gateway.model.wire import JsonObject

NO_DIGESTS: frozenset[int] = frozenset()


class Touch(NamedTuple):
    """The systems of a call: its own, whether the call may change it, its owner, and the systems behind it. `assumed`: nobody
    labelled the effect of the call, so it counts as a write."""

    audience: str
    write: bool
    tenant: str | None
    environment: str | None
    behind: tuple[str, ...] = ()
    assumed: bool = False

    @property
    def reached(self) -> tuple[str, ...]:
        return (self.audience, *self.behind)

    @property
    def systems(self) -> frozenset[System]:
        return frozenset(System(name, self.tenant, self.environment) for name in self.reached)


# The same few systems are touched again and again: a hit enters no Python function.
shared_touch: Final = lru_cache(maxsize=4096)(Touch)
"""Return the touch of these systems. Equal touches are one object."""


def pack(digests: Iterable[int]) -> bytes:
    """Return digests in the form of events."""
    ordered = sorted(digests)
    return struct.pack(f"<{len(ordered)}Q", *ordered)


def unpack(packed: bytes) -> tuple[int, ...]:
    """Return the digests of an event, in ascending order."""
    return struct.unpack(f"<{len(packed) // 8}Q", packed) if packed else ()


class ShownCredential(NamedTuple):
    """A credential in a reading of the task: its fingerprint, and digests of its parts for finding pieces. `ordinary`: ordinary
    text may have the same value. `one_time`: the credential is good for one login."""

    fingerprint: str
    shingles: frozenset[int] = NO_DIGESTS
    ordinary: bool = False
    one_time: OneTime | None = None


_STORED_NAMES: Final = {
    "destinations_overflow": "crowded",
    "source_results": "fed",
    "has_partial_source": "flooded",
    "told_to_trusted": "said",
    "unread_words": "uttered",
    "words_overflow": "wordy",
    "unrecorded": "told",
}
"""Field → its name in the journal and in snapshots, where that is an older one."""


class JobMark(Struct, frozen=True, omit_defaults=True):
    """A label that a call of another task of the job has read. `label` is `untrusted`, or a sensitivity.

    `audience`, `tenant` and `environment` are the system. `agent` made the call, the `number`th of its task. A reading outside of a
    call has no `call`. `tool` is as in `Reserved`, and `at` the time of the reading in seconds since the epoch.
    """

    label: str
    audience: str
    tenant: str | None
    environment: str | None
    task: str
    agent: str
    number: int
    call: str | None
    tool: str
    at: float

    @property
    def system(self) -> System:
        """Return the system that was read from."""
        return System(self.audience, self.tenant, self.environment)


UNTRUSTED: Final = "untrusted"
"""The label of a mark that stands for untrusted text."""


class _Event(Struct, frozen=True, omit_defaults=True, tag_field="event", tag=str.lower):
    """An event, with its kind in the field `event`."""


class ShowingEvent(_Event, frozen=True, kw_only=True):
    """The part of an event that shows credentials to the task: fingerprint → digests of the parts of the credential.
    `ordinary`: ordinary text may have the same value. `one_time`: the credential is good for one login."""

    credentials: dict[str, bytes] = {}
    ordinary: tuple[str, ...] = ()
    one_time: dict[str, OneTime] = {}


class TouchingEvent(_Event, frozen=True, kw_only=True):
    """The part of an event that touches systems, as in `Touch`."""

    audience: str
    write: bool = False
    tenant: str | None = None
    environment: str | None = None
    behind: tuple[str, ...] = ()
    assumed: bool = False

    @property
    def touch(self) -> Touch:
        """Return the touched systems."""
        return shared_touch(self.audience, self.write, self.tenant, self.environment, self.behind, self.assumed)


class TaskOpened(ShowingEvent, frozen=True, tag="opened"):
    """A declared task. `known` are the digests of the words of its goal and of its contract's destinations, `credentials`
    the credentials in them."""

    known: bytes = b""


class Reserved(TouchingEvent, frozen=True, kw_only=True, rename=_STORED_NAMES):
    """A call that is about to be decided. Made by `new_events.build_reservation`. `tool` is its target (`new_events.name_target`).

    `call` is its decision id. `number` counts the calls of the task from 1. `at` is in seconds since the epoch.
    `destinations` are those outside of the operator's own domains, `None` if the arguments were not read whole. `inside`
    are those in own domains, and `named` those of both that the goal or the contract names. `raises` are the numbers that
    the call raises, by the name of their limit. `destinations_overflow`: the task has more destinations than are kept
    apart. `source_results` are the numbers of the untrusted results with data in the arguments. `has_partial_source`: data
    of results that are not kept whole may be in the arguments too. `links` are the links of results that the call follows.
    `own`: the call says something beyond the goal. `told_to_trusted` are values that the call tells a trusted system.
    `unread_words` are words of the call that the task has not read. `words_overflow`: the call has more of these than are
    kept. `unrecorded` are values of the call that no record has. `exposed` are grams of foreign credentials in the call.
    `mint`, `trusted` and `sensitivity` describe the coming result. `directed`: links in the result may be followed.
    `pointed`: the goal names each text of this reading call. `unnamed` are the systems that the call writes to under
    foreign influence, for the first time and without a name in goal or contract. `facts` are the marks on declared facts.
    `inherited` are the marks of the job that the task takes over with the call.
    """

    call: str
    number: int
    at: float
    sensitivity: Sensitivity
    mint: bool = False
    trusted: bool = False
    destinations: bytes | None = None
    destinations_overflow: bool = False
    credentials: tuple[str, ...] = ()
    source_results: tuple[int, ...] = ()
    has_partial_source: bool = False
    links: bytes = b""
    own: bool = False
    directed: bool = False
    told_to_trusted: bytes = b""
    unread_words: bytes = b""
    words_overflow: bool = False
    exposed: bytes = b""
    named: bytes = b""
    inside: bytes = b""
    raises: dict[str, int] = {}
    pointed: bool = False
    unrecorded: bytes = b""
    unnamed: tuple[str, ...] = ()
    tool: str = ""
    facts: tuple[Mark, ...] = ()
    inherited: tuple[JobMark, ...] = ()

    @property
    def named_outside(self) -> tuple[int, ...]:
        """Return the named destinations outside of own domains."""
        named = unpack(self.named)
        return tuple(digest for digest in unpack(self.destinations or b"") if digest in named)

    @property
    def unnamed_inside(self) -> tuple[int, ...]:
        """Return the destinations in own domains without a name."""
        named = unpack(self.named)
        return tuple(digest for digest in unpack(self.inside) if digest not in named)


class Exposed(TouchingEvent, frozen=True, kw_only=True):
    """A message without a decision, or the part of a call beside its arguments, with grams of foreign credentials."""

    exposed: bytes


class Passed(_Event, frozen=True):
    """An allowed call, recorded in the journal. Its destinations now count as reached."""

    call: str


class Released(_Event, frozen=True):
    """A reserved call that did not go on. `denied`: policy denied the call. A missing verdict and an ask are no denials.
    `asked`: a person has to approve the call first. `codes` are those of the denial."""

    call: str
    denied: bool
    asked: bool = False
    codes: tuple[str, ...] = ()


CallEnd: TypeAlias = Literal["done", "failed", "unknown"]
"""What a call did: `unknown` if its answer was lost, so that the call may have done anything."""


class Settled(_Event, frozen=True):
    """End of a call that was allowed. The journal has it as the outcome of the call."""

    call: str
    end: CallEnd = "done"


class Confirmed(_Event, frozen=True):
    """The end of a call with an unknown outcome, as a later answer or a person tells it.

    `facts` are the marks of the call on declared facts, and `at` is its beginning.
    """

    call: str
    end: Literal["done", "failed"]
    at: float = 0.0
    facts: tuple[Mark, ...] = ()


class Observed(ShowingEvent, frozen=True, kw_only=True):
    """A part of a call's result. Made by `new_events.build_observation`, which leaves out what is known already.

    `tokens` are the digests of its words, as far as there is room; `incomplete` if there was more. `lost`: it may
    also have shown credentials that are not in `credentials`. `confirmed` are known credentials of an untrusted system that a
    trusted result shows as credentials too. `requested`: the system has sent a one-time code; the number of the last call
    before that, or 0. `records` are values of records with a word of the goal. `sampled`: the result had more words than
    are kept. `returned` are labels of written text in the result, each with the call that wrote the text (`returning`).
    `foreign`: words of untrusted results are in the text, so the result gives no ground. `words` are new words of a trusted
    confidential result, for the job.
    """

    call: str
    sensitivity: Sensitivity
    tokens: bytes = b""
    incomplete: bool = False
    lost: bool = False
    links: bytes = b""
    confirmed: tuple[str, ...] = ()
    requested: int = 0
    records: bytes = b""
    sampled: bool = False
    returned: tuple[JobMark, ...] = ()
    foreign: bool = False
    words: bytes = b""


class Reading(TouchingEvent, frozen=True, kw_only=True, tag="read"):
    """A reading outside of an open call, or a part of it. Made by `new_events.build_reading`, which leaves out known content.

    `number` is its place among the calls and readings of the task. A `late` result has the number of its call. `call` is the
    id of the call with this late result, in any task. The touched systems are those of origin. `used` are the credentials of
    the call; `unknown`: the gateway has forgotten the call. All else is as for `Reserved` and `Observed`. A struct has one
    base with fields, so those of `ShowingEvent` are here again.
    """

    number: int
    at: float
    sensitivity: Sensitivity
    trusted: bool = False
    call: str | None = None
    late: bool = False
    mint: bool = False
    unknown: bool = False
    used: tuple[str, ...] = ()
    credentials: dict[str, bytes] = {}
    ordinary: tuple[str, ...] = ()
    one_time: dict[str, OneTime] = {}
    tokens: bytes = b""
    incomplete: bool = False
    lost: bool = False
    confirmed: tuple[str, ...] = ()
    sampled: bool = False
    tool: str = ""
    returned: tuple[JobMark, ...] = ()
    foreign: bool = False
    words: bytes = b""


class NewLabels(Struct, frozen=True, omit_defaults=True):
    """The labels that a target has from now on. `write` and `assumed` are as in `Touch`; `None`: as before.

    `sensitivity` and `untrusted` can only add to what a task has read: its agent still knows the text.
    """

    write: bool | None = None
    assumed: bool = False
    sensitivity: Sensitivity = Sensitivity.PUBLIC
    untrusted: bool = False


class Relabelled(_Event, frozen=True):
    """Other labels of targets, by name. What the task did with these targets is judged anew."""

    tools: dict[str, NewLabels]


class Endorsed(_Event, frozen=True):
    """A person's approval, with which these values are good for the rest of the task. `limits` are the numbers that the
    person was shown, by the name of their limit."""

    values: bytes = b""
    limits: dict[str, int] = {}


class TaskEnded(_Event, frozen=True, tag="ended"):
    """The end of a declared task."""

    how: Literal["completed", "cancelled"]


Event: TypeAlias = (
    TaskOpened
    | Reserved
    | Passed
    | Exposed
    | Released
    | Settled
    | Confirmed
    | Observed
    | Reading
    | Relabelled
    | Endorsed
    | TaskEnded
)


to_fields: Final = cast("Callable[[Event], JsonObject]", msgspec.to_builtins)
"""Return an event as a JSON object with its kind in `event`. Each call makes one, so no Python function stands between."""


def from_fields(fields: JsonObject) -> Event:
    """Return the event that was written so. Raises `ValueError` for anything else; unknown fields are ignored."""
    try:
        event: Event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        raise ValueError(f"the fields of an event {fields.get('event')!r} are damaged: {error}") from error
    if any(len(digests) % 8 for digests in _pack_event(event)):
        raise ValueError(f"the fields of an event {fields.get('event')!r} are damaged: digests have eight bytes each")
    return event


def shown_in(event: TaskOpened | Observed | Reading) -> tuple[ShownCredential, ...]:
    """Return the credentials that an event shows to the task."""
    return tuple(
        ShownCredential(name, frozenset(unpack(parts)), name in event.ordinary, event.one_time.get(name))
        for name, parts in event.credentials.items()
    )


def _pack_event(event: Event) -> Iterator[bytes]:
    """Yield all digests of an event: bytes hold nothing else."""
    for value in structs.asdict(event).values():
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, dict):
            yield from (item for item in cast("dict[str, object]", value).values() if isinstance(item, bytes))


def verdict_of(entry: JsonObject, call: str) -> Passed | Released:
    """Return the event by which the decision in a `call` entry let its call pass, or ended it at once."""
    effect = entry["effect"]
    if effect == "allow":
        return Passed(call)
    denied = effect == "deny" and not entry.get("undecided", False)
    reasons = cast("list[JsonObject]", entry.get("reasons", ())) if denied else ()
    codes = tuple(cast("str", reason["code"]) for reason in reasons)
    return Released(call, denied, asked=effect == "ask", codes=codes)


_ENDS: Final[dict[str, CallEnd]] = {
    "completed": "done",
    "error": "failed",
    "cancelled": "failed",
    "upstream-failed": "failed",
    "refused": "failed",
}


def end_of(outcome: str) -> CallEnd:
    """Return what a call did by the outcome of its `settled` entry. Nobody knows it of an outcome by another name."""
    return _ENDS.get(outcome, "unknown")


def list_ends(event: Released | Settled) -> tuple[str, ...]:
    """Return the states in which a declared fact may count the ended call. An unknown call counts as an open one does."""
    if isinstance(event, Settled):
        return ("unknown", "open") if event.end == "unknown" else (event.end,)
    return ("deny", *event.codes) if event.denied else ("ask",) if event.asked else ()


def list_shown(sightings: Iterable[Sighting]) -> tuple[ShownCredential, ...]:
    """Return the credentials shown by sightings, each once."""
    found = {
        item.fingerprint: ShownCredential(item.fingerprint, item.shingles, item.ordinary, ONE_TIME.get(item.detector))
        for item in sightings
    }
    return tuple(found.values())


class ShownFields(NamedTuple):
    """Credentials in the fields of `ShowingEvent`."""

    credentials: dict[str, bytes]
    ordinary: tuple[str, ...]
    one_time: dict[str, OneTime]


def shown_fields(items: Collection[ShownCredential]) -> ShownFields:
    """Return credentials in the fields of an event."""
    credentials = {item.fingerprint: pack(item.shingles) for item in items}
    ordinary = tuple(item.fingerprint for item in items if item.ordinary)
    return ShownFields(
        credentials, ordinary, {item.fingerprint: item.one_time for item in items if item.one_time is not None}
    )


def make_opening(tokens: Iterable[int], credentials: Collection[ShownCredential] = ()) -> TaskOpened:
    """Return the event of a declared task with the words and credentials of its goal."""
    return TaskOpened(known=pack(tokens), **shown_fields(credentials)._asdict())
