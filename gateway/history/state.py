"""The state of a task, and its bounds. Pure: no I/O, no clock, no randomness.

Beyond a bound a fact becomes unknown, or counts too much. A state never forgets:

- A word belongs to the first untrusted result that held it. When no more words or results can be kept apart, each later
  call counts as one that carries the rest (`partial_carried_to`).
- More destinations than `MAX_DESTINATIONS` count as `ENDLESS`.
- Of credentials beyond `MAX_CREDENTIALS` the marks are kept (see `model.shingles`). When one that a result revealed has no
  room even so, or was not told apart from others, its system is in `lost`.
- Words of trusted results and endorsements beyond the bound are not kept: more is asked, not less.

The sets of systems, tenants and environments need no bound: there are no more than the configuration has.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from heapq import nsmallest
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct, field

from gateway.history.declared.tables import Mark, Table, Tables
from gateway.history.events import NO_DIGESTS, UNTRUSTED, JobMark, Reserved, Touch
from gateway.model.content import OneTime
from gateway.model.target import Sensitivity, System

MAX_TOKENS: Final = 32_768
"""Words of untrusted results kept apart: some eighty results of 4 KB. Each takes about 130 bytes."""
MAX_RESULTS: Final = 4_096
"""Untrusted results kept apart."""
MAX_READS: Final = 256
"""Untrusted results whose calls people are told by name, the latest. Of earlier ones people are told the system alone."""
MAX_RESULT_TOKENS: Final = 2_048
"""Words of one result: the journal writes them down, and this makes a line of 22 KB."""
MAX_TRUSTED: Final = 16_384
"""Words of trusted results, of the goal and of the contract."""
MAX_TOLD_TO_TRUSTED: Final = 4_096
"""Values told to trusted systems that are kept apart. One more says that there are too many."""
MAX_RECORDED: Final = 16_384
"""Values of records with a word of the goal. Values beyond these give no ground."""
MAX_UNRECORDED: Final = 4_096
"""Values of calls that stood in no record. After one more no result gives ground to a record."""
MAX_UNREAD_WORDS: Final = 1_024
"""Words of calls that the task had read nowhere. Results after the first call beyond it give no plain word."""
MAX_UNREAD_WORDS_IN_CALL: Final = 64
"""Such words of one call: the journal writes them down."""
MAX_ENDORSED: Final = 4_096
"""A person would have to approve as many calls."""
MAX_DESTINATIONS: Final = 1_024
"""Far above each limit that a policy can mean."""
MAX_CREDENTIALS: Final = 1_024
"""Each takes up to 7 KB in memory, with 64 shingles, and 700 bytes in the journal."""
MAX_MARKED: Final = 8_192
"""Credentials beyond these, of which the marks are kept: each takes 250 bytes, and 25 in the journal."""
MAX_EXPOSED: Final = 4_096
"""Grams that a task has carried to other systems than their own: of some hundred credentials nearly half."""
MAX_LINKS: Final = 6
"""Links that a task may be pointed at before none of them is followed any more. Which of them are read, each once, in which
order and with which of two schemes, is one of 75,973 ways: 16 bits, less than a code of six digits."""
ENDLESS: Final = 2**53 - 1
"""The largest whole number that each JSON reader reads alike (RFC 8259 section 6): above any limit."""
MAX_PRESENTED: Final = 1_024
"""Credentials of unknown origin. For those beyond it only the call that first had them is not known."""

MAX_UNKNOWN: Final = 1_024
"""Calls of unknown outcome that are kept apart. Of earlier ones no answer and no person settles the outcome any more."""
MAX_TOOLS: Final = 1_024
"""Targets that are remembered by name, so that new labels judge them anew."""

_RANK: Final = {sensitivity: rank for rank, sensitivity in enumerate(Sensitivity)}
CONFIDENTIAL: Final = (Sensitivity.CONFIDENTIAL, Sensitivity.RESTRICTED)
"""A tuple, since a set asks each sensitivity for its hash, which is a function in Python."""
Key = TypeVar("Key")
LazySet: TypeAlias = AbstractSet[Key]
"""A set that is made when it first has something in it: most tasks never need one, and an empty one takes 216 bytes."""


class KnownCredential(NamedTuple):
    """A credential of known origin: the place of its first sighting. `depth` is fixed then, since in a graph with cycles a longest
    path would grow with each round. `ordinary`: ordinary text may have the same value. `untrusted`: the result of an
    untrusted system showed the credential. `confirmed`: a trusted system showed the credential too. `one_time`: it is good
    for one login. `pointed`: the goal names the source."""

    origin: Literal["result", "user"]
    audience: str | None = None
    call: int | None = None
    depth: int = 0
    minted: bool = False
    ordinary: bool = False
    untrusted: bool = False
    confirmed: bool = False
    one_time: OneTime | None = None
    pointed: bool = False


class UntrustedRead(NamedTuple):
    """A call with an untrusted result, as people are told of it: its decision id, its tool (`new_events.name_target`), and its
    beginning. A reading outside of a call has no id."""

    call: str | None
    tool: str
    audience: str
    at: float


_STORED_NAMES: Final = {
    "told_to_trusted": "said",
    "unread_words": "uttered",
    "words_overflowed_at": "wordy",
    "unrecorded": "told",
    "partial_carried_to": "flood",
    "partial_sources": "unkept",
}
"""Field → its name in snapshots, where that is an older one."""


class Undecided(Struct, omit_defaults=True, rename=_STORED_NAMES):
    """Marks of the calls under decision, as counts. Nearly always empty. `fold` counts calls in and out."""

    calls: dict[str, None] = field(default_factory=dict[str, None])
    touched: dict[Touch, int] = field(default_factory=dict[Touch, int])
    destinations: dict[int, int] = field(default_factory=dict[int, int])
    inside: dict[int, int] = field(default_factory=dict[int, int])
    carried_to: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    partial_carried_to: dict[str, int] = field(default_factory=dict[str, int])


class UnknownCall(Struct, frozen=True, array_like=True):
    """A call of unknown outcome: its beginning, and its marks on declared facts."""

    at: float
    facts: tuple[Mark, ...] = ()


class TaskState(Struct, omit_defaults=True, rename=_STORED_NAMES):
    """The state of a task, and its form in snapshots. Each counter counts open and settled calls."""

    number: int = 0
    """The highest number of a call or a reading so far."""
    settled: int = 0
    denials: int = 0
    approvals: int = 0
    ended: Literal["completed", "cancelled"] | None = None

    open: dict[str, Reserved] = field(default_factory=dict[str, Reserved])
    touched: dict[Touch, int] = field(default_factory=dict[Touch, int])
    used: dict[str, dict[Touch, int]] = field(default_factory=dict[str, dict[Touch, int]])
    """Target (`new_events.name_target`) → its touches → calls; 0 for a reading alone."""
    unknown: dict[str, UnknownCall] = field(default_factory=dict[str, "UnknownCall"])
    """Calls of unknown outcome, in the order of their ends."""
    busy: dict[str, int] = field(default_factory=dict[str, int])
    """Audience → open calls."""
    last: dict[str, float] = field(default_factory=dict[str, float])
    """Audience → when the last settled call to it began."""

    declared: Tables = field(default_factory=dict[str, Table])
    """The declared facts of the task: fact with the digest of its declaration → its table."""
    undecided: Undecided = field(default_factory=Undecided)
    """What the calls under decision would reach."""
    approved: dict[str, int] = field(default_factory=dict[str, int])
    """Name of a limit → number up to which a person approved it for the task."""

    destinations: dict[int, int] = field(default_factory=dict[int, int])
    """Destinations outside of the operator's own domains."""
    named: dict[int, int] = field(default_factory=dict[int, int])
    """Those of `destinations` that the goal or the contract names."""
    inside: dict[int, int] = field(default_factory=dict[int, int])
    """Destinations inside of the operator's own domains that neither the goal nor the contract names."""
    unnamed: dict[str, int] = field(default_factory=dict[str, int])
    """System without a name in goal or contract → calls that were the first to write to it under foreign influence."""
    destinations_overflowed: int = 0
    uninspected_calls: int = 0
    """Calls whose arguments were not looked at whole."""

    credentials: dict[str, KnownCredential] = field(default_factory=dict[str, KnownCredential])
    shingles: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    """Known credential → digests of its parts."""
    lost: LazySet[str] = frozenset()
    """Audiences that have shown credentials which are not kept."""
    exposed: dict[str, dict[int, int]] = field(default_factory=dict[str, dict[int, int]])
    """Audience → gram of another system's credential → calls that carried it there."""
    code_requests: dict[str, int] = field(default_factory=dict[str, int])
    """Audience that waits for a one-time code → the last call before the audience said so."""
    given_codes: dict[str, str] = field(default_factory=dict[str, str])
    """One-time code → the first audience other than its own that got it."""
    presented: dict[str, int] = field(default_factory=dict[str, int])
    """Credential of unknown origin → the first call that had it."""

    trusted: LazySet[int] = NO_DIGESTS
    told_to_trusted: dict[int, int] = field(default_factory=dict[int, int])
    """Value → calls that told it to a trusted system after something untrusted was read: who repeats it gives no ground."""
    unread_words: dict[int, int] = field(default_factory=dict[int, int])
    """Word that the task had read nowhere → calls that said it: a system that repeats it knows it from the task."""
    words_overflowed_at: int = 0
    """The first call that said more such words than are kept, or 0. A refused call counts too."""
    endorsed: LazySet[int] = NO_DIGESTS
    records: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """Audience → values in its records with a word of the goal: ground for arguments that select a record there."""
    sampled: bool = False
    """Whether an untrusted result had more words than are kept."""
    unrecorded: dict[int, int] = field(default_factory=dict[int, int])
    """Value that stood in no record before → calls that told it: a system that repeats it knows it from the task."""
    tokens: dict[int, int] = field(default_factory=dict[int, int])
    """Word → the first untrusted result that held it."""
    results: dict[int, str] = field(default_factory=dict[int, str])
    """Untrusted result with words in `tokens` → its audience."""
    reads: dict[int, UntrustedRead] = field(default_factory=dict[int, UntrustedRead])
    """Number → its call with an untrusted result, at most `MAX_READS`."""
    made: LazySet[int] = NO_DIGESTS
    """Those of `results` that answered a call of the task which changed something."""
    sources: LazySet[str] = frozenset()
    """The audiences in `results`."""
    kept: dict[str, int] = field(default_factory=dict[str, int])
    """Open call → words of its result kept so far."""
    carried_to: dict[int, dict[str, int]] = field(default_factory=dict[int, dict[str, int]])
    """Untrusted result → audience that its data went to → calls."""
    spread_histogram: dict[int, int] = field(default_factory=dict[int, int])
    """Number of audiences → results that went to so many."""
    partial_carried_to: dict[str, int] = field(default_factory=dict[str, int])
    """Audience → calls after a result that is not kept whole."""
    partial_sources: LazySet[str] = frozenset()
    """Audiences of the results that are not kept whole."""

    links: LazySet[int] = NO_DIGESTS
    """Links in untrusted results that the goal pointed at, while the task had said nothing of its own that could have come
    back; one more than `MAX_LINKS` says that there are too many."""
    followed: dict[int, int] = field(default_factory=dict[int, int])
    """Link → calls that follow it."""
    off_goal_calls: int = 0
    """Calls that said something which the goal does not."""

    untrusted_systems: LazySet[str] = frozenset()
    """Systems that something untrusted was read from, or may have been: all behind an aggregator."""
    confidentiality: Sensitivity = Sensitivity.PUBLIC
    confidential_systems: LazySet[System] = frozenset()
    """Systems that something confidential was read from, or may have been: all behind an aggregator."""

    inherited: list[JobMark] = field(default_factory=list[JobMark])
    """The marks that the task took over from its job. Their systems are among those above, as if the task itself had read there."""

    @property
    def untrusted(self) -> bool:
        """Return whether the task has read something untrusted, or another task of its job has."""
        return bool(self.untrusted_systems)

    @property
    def concerns_caller(self) -> bool:
        """Return whether other tasks of the caller are affected: a system has shown a credential, or got a piece of one."""
        shown = any(known.audience is not None for known in self.credentials.values())
        return shown or bool(self.lost or self.exposed)


def is_marked(state: TaskState, mark: JobMark) -> bool:
    """Return whether a task has the label of a mark already, by its own reading or another mark."""
    if mark.label == UNTRUSTED:
        return mark.audience in state.untrusted_systems
    sensitivity = Sensitivity(mark.label)
    is_known = sensitivity not in CONFIDENTIAL or mark.system in state.confidential_systems
    return is_known and _RANK[sensitivity] <= _RANK[state.confidentiality]


def open_call(state: TaskState, call: str) -> Reserved:
    try:
        return state.open[call]
    except KeyError:
        raise ValueError(f"no open call {call}") from None


def higher(one: Sensitivity, other: Sensitivity) -> Sensitivity:
    """Return the higher of two sensitivities."""
    return one if _RANK[one] >= _RANK[other] else other


def smallest(tokens: frozenset[int], room: int) -> frozenset[int]:
    return tokens if len(tokens) <= room else frozenset(nsmallest(room, tokens))
