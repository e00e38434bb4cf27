"""Inspection of calls, results and declarations with the rules and keys of one deployment. The gateway and a replay
share this inspector, and see the same. Pure; limits bound time and memory for any arguments."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple, cast

from msgspec import Struct, structs

from gateway.base.json.walk import Leaves, leaves
from gateway.base.text_cache import SHORT
from gateway.inspection.arguments import (
    MAX_CHARACTERS,
    NO_CREDENTIALS,
    ArgumentDetector,
    add_authority,
    at,
    show_credentials,
)
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import (
    NOTHING,
    ActiveSuppressions,
    Finding,
    Inspection,
    KnownShingles,
    StandIn,
    Suppressions,
)
from gateway.inspection.credentials.forms import decode_words, string
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.stream import Scanner
from gateway.inspection.data_taint import DataTaintSearch
from gateway.inspection.destinations.directory import EMPTY, Directory
from gateway.inspection.destinations.find import followable, may_follow_links, texts
from gateway.inspection.destinations.normalise import fold_text
from gateway.inspection.results import ResultInspector, ResultWords, build_code_requests, names_request, together
from gateway.inspection.words import words as text_words
from gateway.inspection.words.declared import dictation, find_named_systems, unnamed_values
from gateway.inspection.words.grounds import Grounds, grounds
from gateway.inspection.words.records import ResultRecords, told_values
from gateway.inspection.words.words import IsForeign, OwnParts, foreign, identity_of, parts_of_texts
from gateway.model.call import Call
from gateway.model.caller import Principal
from gateway.model.content import EVERYTHING, CallContent, Relevance, ResultContent
from gateway.model.target import Effect, Role
from gateway.model.task import Contract, Ground, Task
from gateway.model.wire import Json, JsonObject

MAX_WORDS: Final = 4_096
"""Characters of arguments whose words are looked for whatever is wanted of them."""
MAX_TOKENS: Final = 1_024
"""Words of one call that are kept: those with the smallest digests, so that nobody without the key can choose which,
and so that two texts with the same words keep the same."""

BEGINNINGS: Final = (64, 256)
"""Characters in which a word is looked for first, and then, where one is enough."""
MAX_LOOKED_UP: Final = 32
"""Values of a call for which it is asked whether the goal names them all."""
_MEMBER: Final = re.compile(r"[A-Za-z_-]{1,32}")
"""The name of a parameter. Any other may be a text that somebody chose."""
MAX_TOLD_CHARACTERS: Final = 65_536
"""Characters that are looked through for the values which a call tells a trusted system: a few tenths of a second."""
_TOO_MANY_VALUES: Final = range(8_192)
"""More values than history keeps apart: they stand for all that there are."""
_NONE: Final[frozenset[int]] = frozenset()


@dataclass(slots=True)
class Inspector:
    """`key` is the deployment's, for the digests that history keeps in the place of values; `detector` finds
    credentials. Safe to share: `records` alone changes, with the labels of tools."""

    key: bytes = field(repr=False)
    detector: Detector
    suppressions: Suppressions = field(default_factory=Suppressions)
    directory: Directory = field(default=EMPTY, repr=False)
    own_domains: tuple[str, ...] = ()
    """Domains of the operator. A domain stands for those below it too."""
    records: bool = False
    """Whether a tool of the deployment has an argument with the role `record`."""

    def call(
        self,
        call: Call,
        task: Task,
        seen: Mapping[str, frozenset[int]],
        handles: Mapping[str, StandIn] = MappingProxyType({}),
        *,
        suppressions: ActiveSuppressions | None = None,
        relevance: Relevance = EVERYTHING,
        index: CredentialIndex | None = None,
        caller: Principal | None = None,
        walked: Leaves | None = None,
    ) -> CallContent:
        """Return the content of the arguments. The words of the caller's identity are not foreign. `walked` are the leaves of
        the arguments, if they were made before.

        `seen` has the credentials that the task was shown (`TaskLedger.seen`), and `index` the same as an index. The call is
        searched for them in every form. `handles` maps the handles in the arguments to their credentials. `suppressions` has the
        suppressions in force (`suppressions.of`), and `relevance` the words that matter (`TaskLedger.relevance`).
        """
        return analyse(
            call,
            Terms(
                self.key,
                task.goal if task.ground is None else task.ground.goal,
                task.contract if task.ground is None else _own_contract(task, task.ground),
                relevance,
                self.directory,
                self.own_domains,
                self.records,
                caller,
            ),
            _CallDetector(self.detector, handles, suppressions, seen)
            if handles or suppressions is not None
            else self.detector,
            index or seen or None,
            walked,
        )

    def result(
        self,
        call: Call,
        task: Task,
        *,
        suppressions: ActiveSuppressions | None = None,
        seen: Container[str] = (),
        words: bool = True,
        looks: bool = False,
    ) -> ResultInspector:
        """Return the inspector of a call's streaming result. `suppressions` and `seen` are as for `call`; `words` is whether
        its words matter (`TaskLedger.keeps_words`), and `looks` whether text may return in it (`TaskLedger.looks_for_text`)."""
        target = call.target
        trusted = target.trust == "trusted"
        goal = task.goal if task.ground is None else task.ground.goal
        links = goal is not None and may_follow_links(call, goal)
        # A completion repeats what it was told by its nature, and code in a sandbox can say anything: they ground nothing.
        grounds_nothing = trusted and (call.action == "completion/complete" or target.labels.in_sandbox)
        is_read = (words or links or looks) and not grounds_nothing
        scanner = Scanner(self.detector)
        # A reading by another name than these asks for no code: `build_code_requests` would say so of each call.
        name, reads = target.name, target.labels.effect is Effect.READ
        may_ask = not reads or len(name) > SHORT or names_request(name)
        return ResultInspector(
            ResultWords(self.key, trusted=trusted, links=links, looks=looks) if is_read else None,
            _SuppressingScanner(scanner, suppressions, seen) if suppressions is not None else scanner,
            build_code_requests(target) if may_ask else None,
            self.result_records(call, task) if self.records else None,
            DataTaintSearch() if target.is_agent else None,
        )

    def result_records(self, call: Call, task: Task) -> ResultRecords | None:
        """Return the observer of records in a result; `None` for a call whose records ground nothing, such as a completion."""
        if not self.records or task.goal is None or call.action == "completion/complete":
            return None
        made = call.target.labels.effect is Effect.WRITE
        goal = task.goal if task.ground is None else task.ground.goal
        return ResultRecords(self.key, grounds(goal, None, self.directory), made=made)

    def passing(
        self,
        *,
        trusted: bool,
        words: bool,
        looks: bool = False,
        is_agent: bool = False,
        suppressions: ActiveSuppressions | None = None,
        seen: Container[str] = (),
    ) -> ResultInspector:
        """Return the inspector of data read outside of an open call; without `words`, for credentials alone. `looks` is as for `result`,
        and `is_agent` that an agent answers."""
        scanner = Scanner(self.detector)
        return ResultInspector(
            ResultWords(self.key, trusted=trusted, looks=looks) if words else None,
            _SuppressingScanner(scanner, suppressions, seen) if suppressions is not None else scanner,
            taint=DataTaintSearch() if is_agent and words else None,
        )

    def spots(self, text: str) -> list[tuple[int, int, str]]:
        """Return the credentials in a text, for the record: begin, end and `rule:fingerprint` of each."""
        data = text.encode("utf-8", "surrogatepass")
        found: list[tuple[int, int, str]] = []
        read = at = 0
        for hit in self.detector.whole_hits(data):
            if hit.start < read:
                continue
            start = at + len(data[read : hit.start].decode("utf-8", "surrogatepass"))
            at = start + len(data[hit.start : hit.end].decode("utf-8", "surrogatepass"))
            read = hit.end
            found.append((start, at, f"{hit.detector}:{self.detector.fingerprints.of(hit.value, hit.host)}"))
        return found

    def declared(self, goal: str | None, contract: Contract | None) -> ResultContent:
        """Return the content of the user's declaration at the opening of a task. It counts as the user's own words."""
        inspector = ResultInspector(ResultWords(self.key, trusted=True), Scanner(self.detector))
        given = "\n".join((goal or "", *((contract.destinations or ()) if contract else ())))
        return together((inspector.feed(json.dumps(given).encode()), inspector.finish())) or ResultContent()

    def find_ground(self, goal: str | None, contract: Contract | None, is_foreign: IsForeign) -> Ground | None:
        """Return the part of a declaration without foreign words; `None` if it has none."""
        given = None if contract is None else contract.destinations
        own = None if goal is None else text_words.cut_words(goal, self.key, is_foreign)
        kept = (
            None
            if given is None
            else tuple(one for one in given if text_words.cut_words(one, self.key, is_foreign) == one)
        )
        return None if (own, kept) == (goal, given) else Ground(own, kept)


def _own_contract(task: Task, ground: Ground) -> Contract | None:
    """Return the contract of a task with the destinations that give ground."""
    return None if task.contract is None else replace(task.contract, destinations=ground.destinations)


@dataclass(frozen=True, slots=True)
class _CallDetector:
    """A detector that knows the contents of handles and the ignored values."""

    detector: Detector
    handles: Mapping[str, StandIn]
    suppressions: ActiveSuppressions | None
    seen: Container[str]

    def word_of(self, fingerprint: str, text: str, /) -> str | None:
        return self.detector.word_of(fingerprint, text)

    def inspect_leaves(
        self, walked: Leaves, roles: Mapping[str, Role], known: KnownShingles | CredentialIndex | None = None, /
    ) -> Inspection:
        found = self.detector.inspect_leaves(walked, roles, known, handles=self.handles)
        return (
            replace(found, findings=_drop_suppressed(found.findings, self.suppressions, self.seen))
            if self.suppressions is not None
            else found
        )


@dataclass(frozen=True, slots=True)
class _SuppressingScanner:
    """A scanner without what is taken for no credential."""

    scanner: Scanner
    suppressions: ActiveSuppressions
    seen: Container[str]

    @property
    def incomplete(self) -> bool:
        return self.scanner.incomplete

    def feed(self, chunk: bytes, /) -> tuple[Finding, ...]:
        return _drop_suppressed(self.scanner.feed(chunk), self.suppressions, self.seen)

    def finish(self, chunk: bytes = b"", /) -> tuple[Finding, ...]:
        return _drop_suppressed(self.scanner.finish(chunk), self.suppressions, self.seen)


def _drop_suppressed(
    found: tuple[Finding, ...], suppressions: ActiveSuppressions, seen: Container[str]
) -> tuple[Finding, ...]:
    return tuple(item for item in found if not suppressions.covers(item, seen))


# --- the content of a call ---------------------------------------------------------------------------


class Terms(Struct, frozen=True):
    """The terms of an inspection. All digests have the deployment's `key`. `goal` and `contract` are of the task.
    `relevance` says which words matter. `directory` and `own_domains` are the operator's. `caller` makes the call.
    `records`: the deployment has tools that select records.
    """

    key: bytes
    goal: str | None
    contract: Contract | None
    relevance: Relevance = EVERYTHING
    directory: Directory = EMPTY
    own_domains: tuple[str, ...] = ()
    records: bool = False
    caller: Principal | None = None


class _Words(NamedTuple):
    """Digests of a call's foreign words, of all words if the call is short, and of words told to a trusted system."""

    tokens: frozenset[int]
    words: frozenset[int] | None
    said: frozenset[int]


def analyse(
    call: Call,
    terms: Terms,
    detector: ArgumentDetector | None = None,
    known: KnownShingles | CredentialIndex | None = None,
    walked: Leaves | None = None,
) -> CallContent:
    """Return the content of `call`. `known` has the credentials that the task has seen, or `None` for none. `walked` are
    the leaves of the arguments, if they were made before."""
    key, goal, contract, relevance = terms.key, terms.goal, terms.contract, terms.relevance
    given = grounds(goal, None if contract is None else contract.destinations, terms.directory)
    target, walked = call.target, leaves(call.arguments) if walked is None else walked
    labels, shown = target.labels, NO_CREDENTIALS
    if detector is not None and (found := detector.inspect_leaves(walked, labels.roles, known)) is not NOTHING:
        shown = show_credentials(call, found, detector, given, key)
    named: bool | None = False
    if labels.effect is Effect.READ and (given.caseless or not walked.found or not walked.found[0].is_text):
        named = _named(walked, given)
    text, whole = ("\n".join(walked.texts), True) if walked.complete else _text(call.arguments)
    own = () if relevance.words == "none" else _own_parts(given, terms)
    words = _words(text, relevance, key, own, tells=relevance.told and target.trust == "trusted")
    content = CallContent(
        sightings=shown.sightings,
        accounts=_accounts(given, text) if given.accounts else given.accounts,
        tokens=words.tokens,
        complete=whole and shown.complete,
        has_off_goal_text=named is False,
        pointed=named is True,
        to_named_place=bool(shown.sightings) and _names_place(call, given),
        follows_goal=named is True and may_follow_links(call, goal),
        words=words.words,
        told_values=words.said,
        pieces=shown.pieces,
    )
    if goal is not None or contract is not None or terms.records:
        content = _add_goal(content, call, terms, given)
    return add_authority(content, call, given, key, terms.own_domains) if labels.roles else content


def _add_goal(content: CallContent, call: Call, terms: Terms, given: Grounds) -> CallContent:
    """Return the content of a call with what goal, contract and records say about its values."""
    key, contract = terms.key, terms.contract
    is_read = call.target.labels.effect is Effect.READ
    return structs.replace(
        content,
        unnamed=None if contract is None else unnamed_values(call, contract, given, key),
        dictated=None if terms.goal is None or is_read else dictation(call, given),
        told=told_values(call.arguments, given, key) if terms.records and terms.relevance.told else {},
        named_systems=frozenset() if is_read else find_named_systems(call.target, contract, given),
    )


def _own_parts(given: Grounds, terms: Terms) -> OwnParts:
    """Return the parts of words that the user, the caller's identity and the operator gave."""
    identity = parts_of_texts((*terms.own_domains, *(() if terms.caller is None else identity_of(terms.caller))))
    return (given.parts, identity, terms.directory.parts)


def _words(text: str, relevance: Relevance, key: bytes, own: OwnParts, *, tells: bool) -> _Words:
    tokens = _NONE if relevance.words == "none" else _enough(text, relevance, key, own)
    encoded = decode_words(text) if tokens is None or tells else ""
    said: set[bytes] | None = None
    if tokens is None or len(text) <= MAX_WORDS:
        said = text_words.distinctive(text)
        if encoded:
            said |= text_words.distinctive(encoded)
    if tokens is None:
        tokens = sample_tokens(text_words.digests(foreign(said or (), own), key))
    words = None if said is None else text_words.digests(said, key)
    return _Words(tokens, words, _said(text, encoded, key) if tells else _NONE)


def _accounts(given: Grounds, text: str) -> frozenset[str]:
    """Return the accounts that the goal gives to log in as, as far as a text has them."""
    lowered = fold_text(text)
    return frozenset(account for account in given.accounts if account in lowered)


def _enough(text: str, relevance: Relevance, key: bytes, own: OwnParts) -> frozenset[int] | None:
    """Return the foreign words of a text if its beginning has enough of them, else `None`."""
    if relevance.words == "one":
        # Where one of these marks stands, no word and no number goes on, so that the beginning has no word of its own.
        for most in BEGINNINGS:
            end = max(text.rfind('"', 0, most), text.rfind(",", 0, most), text.rfind("\n", 0, most)) + 1
            found = text_words.digests(foreign(text_words.distinctive(text[:end]), own), key) if end else _NONE
            if not found <= relevance.trusted:
                return found
    return None


def _said(text: str, encoded: str, key: bytes) -> frozenset[int]:
    """Return the values that a call tells its system. Of more text than is looked through, more than anybody keeps
    apart."""
    told = text_words.digests(
        text_words.mentions(text[:MAX_TOLD_CHARACTERS]) | text_words.mentions(encoded[:MAX_TOLD_CHARACTERS]), key
    )
    return told if max(len(text), len(encoded)) <= MAX_TOLD_CHARACTERS else told.union(_TOO_MANY_VALUES)


def sample_tokens(tokens: frozenset[int]) -> frozenset[int]:
    """At most `MAX_TOKENS` of them, the smallest."""
    return tokens if len(tokens) <= MAX_TOKENS else frozenset(heapq.nsmallest(MAX_TOKENS, tokens))


def _named(walked: Leaves, given: Grounds) -> bool | None:
    """Return whether the goal names each text of the arguments; `None` without texts.

    More values than are looked up are not named, nor is an empty text, nor a name that may be a text that somebody chose.
    """
    if walked.values > MAX_LOOKED_UP or walked.has_blank or not walked.complete:
        return False
    found: bool | None = None
    for leaf in walked.found:
        if _MEMBER.fullmatch(leaf.name) is None:
            return False
        if leaf.is_text:
            text = string(leaf.text)
            if not given.caseless or not given.names(followable(text) or text):
                return False
            found = True
    return found


def _names_place(call: Call, given: Grounds) -> bool:
    """Return whether the goal names each record that a call selects, or the system of a call that selects nothing.

    Destinations have a rule of their own (`CallContent.grounded`).
    """
    roles = call.target.labels.roles
    selectors = [pointer for pointer, role in roles.items() if role is Role.SELECTOR]
    values = [text for pointer in selectors for text in texts(at(call.arguments, pointer))]
    if values:
        return len(values) <= MAX_LOOKED_UP and all(map(given.names_record, values))
    systems = (call.target.upstream, call.target.audience)
    return Role.DESTINATION in roles.values() or any(map(given.names, systems))


def _text(arguments: JsonObject) -> tuple[str, bool]:
    """Return the texts of large arguments, names of members included, as one text, and whether it is complete.

    It is of characters where leaves are of bytes, and ends within a text.
    """
    parts: list[str] = []
    left = MAX_CHARACTERS
    waiting: list[Json] = [arguments]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is str:
            item = cast("str", item)
            if len(item) > left:
                return "\n".join([*parts, item[:left]]), False
            left -= len(item) + 1
            parts.append(item)
        elif kind is int or kind is float:
            parts.append(repr(item))
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return "\n".join(parts), True
