"""Declared facts in `facts.yaml`: read, checked, and indexed by target. Pure.

A fact folds earlier calls into a number or a time: `input.facts.NAME`. This module says which calls a fact counts, and under
which key. `gateway/history/declared` folds the calls. The files are data of the policy, so each engine has them. The
revision of the policy changes with them. `data.gateway.facts` ships, and `data.overlay.facts` is the operator's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from gateway.config import problems
from gateway.config.schema import describe, describe_condition
from gateway.config.values import Duration
from gateway.model.errors import PolicyBroken
from gateway.model.facts import DeclaredFacts
from gateway.model.target import Effect, Role, Sensitivity, Target
from gateway.policy.folder.data_files import nearest

FILE: Final = "facts.yaml"
Outcome: TypeAlias = Literal["open", "done", "failed", "unknown", "refused"]
Verdict: TypeAlias = Literal["allow", "ask", "deny"]
Scope: TypeAlias = Literal["task", "root", "user", "agent", "party", "tenant", "all"]
"""The owner of a fact's memory: the narrowest of its keys. A party is the user, or an agent without a user. `all` is the whole
gateway."""
KEYS: Final = ("task", "root", "agent", "user", "party", "tenant", "upstream", "system", "tool", "arguments")
CONDITION: Final = describe_condition()
TESTS: Final = tuple(CONDITION["properties"])
"""The tests of a condition (`rego/gateway/lib/conditions`)."""
BUCKETS: Final = 60
"""Parts of a sliding window. A window counts up to one part too long, and never too short."""
_WHOLE: Final = timedelta(days=400)
LONGEST_NAME: Final = 256
"""Characters of a target's name. Nothing is kept beside a longer one: a caller may have made it up."""
MAX_VALUES: Final = 1024
"""Different values of a key that are counted exactly, unless a declaration says otherwise."""
_TARGETS: Final = 1024
"""Targets whose facts are kept: a resource is made anew for each call."""
_POINTER: Final = r"^/arguments(/([^~/]|~[01])*)+$"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Pointer = Annotated[str, Field(pattern=_POINTER)]


def _listed(value: object) -> object:
    return cast("object", value) if isinstance(value, list | tuple) else (value,)


class _Declared(BaseModel):
    """A part of a declaration. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[
    tuple[_Text, ...], BeforeValidator(_listed, json_schema_input_type=_Text | tuple[_Text, ...]), Field(min_length=1)
]


class Selection(_Declared):
    """The calls that count. A field that is left out selects all. A list selects each of its items."""

    tool: _Texts | None = Field(default=None, description="Patterns of tools, such as `payments/refund` or `files/*`.")
    resource: _Texts | None = Field(default=None, description="Patterns of resources, such as `files/file:///srv/*`.")
    prompt: _Texts | None = Field(default=None, description="Patterns of prompts.")
    upstream: _Texts | None = Field(default=None, description="Names of upstreams.")
    system: _Texts | None = Field(default=None, description="Names of systems (`audience`).")
    tenant: _Texts | None = Field(default=None, description="Tenants of the called system.")
    environment: _Texts | None = Field(default=None, description="Environments of the called system.")
    effect: (
        Annotated[tuple[Effect, ...], BeforeValidator(_listed, json_schema_input_type=Effect | tuple[Effect, ...])]
        | None
    ) = Field(default=None, description="Effects: `read`, `write`, `destructive`, `mint`, `exec`.")
    sensitivity: (
        Annotated[
            tuple[Sensitivity, ...],
            BeforeValidator(_listed, json_schema_input_type=Sensitivity | tuple[Sensitivity, ...]),
        ]
        | None
    ) = Field(default=None, description="Sensitivities of the results.")
    egress: Annotated[bool, Field(strict=True)] | None = Field(default=None, description="Whether data leaves by it.")
    assumed: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="Whether nobody labelled the effect, so that it counts as a write."
    )
    trust: Literal["trusted", "untrusted"] | None = Field(default=None, description="Trust in the upstream.")
    decision: (
        Annotated[tuple[Verdict, ...], BeforeValidator(_listed, json_schema_input_type=Verdict | tuple[Verdict, ...])]
        | None
    ) = Field(default=None, description="Decisions of policy: `allow`, `ask`, `deny`.")
    code: _Texts | None = Field(default=None, description="Codes of denials, such as `budget/calls`.")
    outcome: (
        Annotated[
            tuple[Outcome, ...],
            BeforeValidator(_listed, json_schema_input_type=Outcome | tuple[Outcome, ...]),
            Field(min_length=1),
        ]
        | None
    ) = Field(
        default=None,
        description="Outcomes: `open` (under way), `done`, `failed`, `unknown` (counts with `open` too), `refused`."
        " By default all but `refused`.",
    )
    arguments: dict[Pointer, Annotated[dict[str, JsonValue], WithJsonSchema(CONDITION)]] | None = Field(
        default=None, description="Conditions on arguments, as in the `when` of a grant, by pointer."
    )

    @field_validator("arguments")
    @classmethod
    def _has_known_tests(cls, value: dict[str, dict[str, JsonValue]] | None) -> dict[str, dict[str, JsonValue]] | None:
        for test in (test for condition in (value or {}).values() for test in condition):
            if test not in TESTS:
                raise ValueError(f"there is no test {test!r}{nearest(test, TESTS)}")
        return value

    def fits_target(self, target: Target) -> bool:
        """Return whether calls of a target may count."""
        named = (("tool", self.tool), ("resource", self.resource), ("prompt", self.prompt))
        if any(patterns is not None for _, patterns in named):
            mine = dict(named)[target.type]
            if mine is None or not _matches(target.id, mine):
                return False
        labels = target.labels
        return (
            (self.upstream is None or target.upstream in self.upstream)
            and (self.system is None or target.audience in self.system)
            and (self.tenant is None or target.tenant in self.tenant)
            and (self.environment is None or target.environment in self.environment)
            and (self.effect is None or labels.effect in self.effect)
            and (self.sensitivity is None or labels.sensitivity in self.sensitivity)
            and (self.egress is None or labels.egress is self.egress)
            and (self.assumed is None or ("effect" in labels.assumed) is self.assumed)
            and (self.trust is None or target.trust == self.trust)
        )

    def list_ends(self) -> tuple[str, ...]:
        """Return the states in which a call counts: outcomes, `ask` and `deny`, or codes of denials."""
        ends: list[str] = list(self.outcome or ())
        refused = self.decision is not None and not {"allow"} & {*self.decision}
        if self.outcome is None and self.code is None and not refused:
            ends = ["open", "done", "failed", "unknown"]
        if "refused" in ends:
            ends = [*(end for end in ends if end != "refused"), "ask", "deny"]
        if self.decision is not None:
            ends = [end for end in ends if end not in {"ask", "deny"}] if "allow" in self.decision else []
            ends += [each for each in self.decision if each != "allow"]
        if self.code is not None:
            ends = [*(end for end in ends if end != "deny"), *self.code]
        return tuple(dict.fromkeys(ends))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class Pair(_Declared):
    """A key of two pointers: `this` into the call under decision, `that` into the earlier call."""

    this: Pointer = Field(description="A pointer into the arguments of the call under decision.")
    that: Pointer = Field(description="A pointer into the arguments of the earlier call.")


def _key(value: str | Pair) -> str | Pair:
    if isinstance(value, str) and value not in KEYS and re.fullmatch(_POINTER, value) is None:
        raise ValueError(f"there is no key {value!r}{nearest(value, KEYS)} A pointer begins with /arguments/")
    return value


Key: TypeAlias = Annotated[
    str | Pair,
    AfterValidator(_key),
    WithJsonSchema({"anyOf": [{"enum": [*KEYS]}, {"type": "string", "pattern": _POINTER}, Pair.model_json_schema()]}),
]
Aggregate: TypeAlias = Literal["count", "sum", "distinct", "first", "last"]


class Fact(_Declared):
    """A declared fact: one aggregate over the selected calls with the same key."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("count", "sum", "distinct", "first", "last")]}
    )

    count: Literal["calls"] | None = Field(default=None, description="The number of calls.")
    sum: Literal["amount"] | Pointer | None = Field(
        default=None,
        description="The sum of the numbers at a pointer, as exact decimals. `amount`: of all arguments with this role.",
    )
    distinct: Literal["tool", "upstream", "system", "destination"] | Pointer | None = Field(
        default=None, description="The number of different tools, upstreams, systems, destinations or values."
    )
    first: Literal["time"] | None = Field(default=None, description="The time of the first call.")
    last: Literal["time"] | None = Field(default=None, description="The time of the last call.")
    of: Selection = Field(default=Selection(), description="The calls that count.")
    by: Annotated[
        tuple[Key, ...], BeforeValidator(_listed, json_schema_input_type=Key | tuple[Key, ...]), Field(min_length=1)
    ] = Field(
        description="The keys: `task`, `root`, `agent`, `user`, `party`, `tenant`, `upstream`, `system`, `tool`, `arguments`, a"
        " pointer, or `{this, that}`. A `party` is the user, or an agent without a user. A `root` is the first task of a tree, or a"
        " task without a tree. A call that lacks a key has no fact."
    )
    within: Duration | None = Field(default=None, description="A sliding window; needed without the key `task`.")
    since: Selection | None = Field(default=None, description="The fact begins anew after a call that fits.")
    keys: int = Field(default=100_000, ge=1, le=1_000_000, strict=True, description="The most keys that are kept.")
    values: int = Field(
        default=MAX_VALUES,
        ge=1,
        le=100_000,
        strict=True,
        description="Up to how many different values of a key are counted exactly. Beyond it, `distinct` is above every limit.",
    )

    @property
    def aggregate(self) -> Aggregate:
        return next(name for name in _AGGREGATES if getattr(self, name) is not None)

    @property
    def scope(self) -> Scope:
        """Return the owner of the memory: the narrowest key."""
        narrowest: Scope = "all"
        for scope in reversed(_SCOPES):
            narrowest = scope if scope in self.by else narrowest
        return narrowest

    @property
    def width(self) -> float:
        """Return the seconds of a part of the window, 0 without one."""
        return 0.0 if self.within is None else self.within.total_seconds() / BUCKETS

    def fits_target(self, target: Target) -> bool:
        """Return whether calls of a target may count."""
        has_amount = self.sum != "amount" or Role.AMOUNT in target.labels.roles.values()
        return has_amount and self.of.fits_target(target)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [name for name in _AGGREGATES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"it has {' and '.join(given) or 'no aggregate'}; give one of {', '.join(_AGGREGATES)}")
        if self.within is None and "task" not in self.by:
            raise ValueError("its memory would never end; add `within`, or the key `task`")
        if self.within is not None and not timedelta(seconds=1) <= self.within <= _WHOLE:
            raise ValueError("`within` is from 1s to 400 days")
        if self.distinct is None and self.values != MAX_VALUES:
            raise ValueError("`values` is for `distinct` alone")
        if self.since is not None and {"ask", "deny"} & {*self.since.list_ends()}:
            raise ValueError("`since` begins anew after an outcome; a refused call changes nothing")
        return self


_AGGREGATES: Final[tuple[Aggregate, ...]] = ("count", "sum", "distinct", "first", "last")
_SCOPES: Final[tuple[Scope, ...]] = ("task", "root", "user", "agent", "party", "tenant")


class FactsFile(_Declared):
    """The file `facts.yaml`: facts about earlier calls, which rules read as `input.facts.NAME`."""

    facts: dict[Name, Fact] = Field(description="The facts by name: lower-case letters, digits and `_`.")


def describe_facts() -> dict[str, Any]:
    """Return the schema of `facts.yaml`."""
    return describe(TypeAdapter(FactsFile), "Declared facts of an opagate policy")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A fact with its name, and the digest of its meaning: another meaning begins another memory."""

    name: str
    fact: Fact
    version: str
    file: str = FILE
    label: str = ""
    """The name of the fact among those of a gateway: another than `name` for a fact of the shadow policy alone."""
    table: str = field(init=False)
    scope: Scope = field(init=False)
    aggregate: Aggregate = field(init=False)
    width: float = field(init=False)
    by: tuple[str | Pair, ...] = field(init=False)
    within: float | None = field(init=False)
    ends: tuple[str, ...] = field(init=False)
    since_ends: tuple[str, ...] = field(init=False)
    how: tuple[Aggregate, bool] = field(init=False)
    """The aggregate, and whether calls under way count."""

    def __post_init__(self) -> None:
        # Each call asks for these, and a property of the model costs more than its fold.
        within = self.fact.within
        object.__setattr__(self, "table", f"{self.name}@{self.version}")
        object.__setattr__(self, "label", self.label or self.name)
        object.__setattr__(self, "within", None if within is None else within.total_seconds())
        for name in ("scope", "aggregate", "width", "by"):
            object.__setattr__(self, name, getattr(self.fact, name))
        object.__setattr__(self, "ends", self.fact.of.list_ends())
        object.__setattr__(self, "how", (self.aggregate, "open" in self.ends))
        since = self.fact.since
        object.__setattr__(self, "since_ends", () if since is None else since.list_ends())

    @property
    def has_conditions(self) -> bool:
        """Return whether arguments decide if a call counts."""
        since = self.fact.since
        return bool(self.fact.of.arguments or (since is not None and since.arguments))

    @property
    def needs_open(self) -> bool:
        """Return whether calls under way do not count, so that racing calls do not count one another."""
        return not self.how[1] and self.fact.aggregate in {"count", "sum", "distinct"}


Holds: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any], str], bool]


def _holds_never(_condition: Mapping[str, Any], _arguments: Mapping[str, Any], _pointer: str) -> bool:
    return False


class Fitting(NamedTuple):
    """The facts with a count of a target's calls, and the facts with a new beginning after such a call."""

    counted: tuple[Declaration, ...]
    begun: tuple[Declaration, ...]


class FactBook:
    """All declared facts of a policy. `files` have the declarations as an author wrote them, by the paths of `FACTS`.

    `shadow` has the labels of a shadow policy's facts by their names, where its facts are beside those in force.
    """

    def __init__(
        self,
        declarations: Sequence[Declaration] = (),
        holds: Holds = _holds_never,
        files: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
        shadow: Mapping[str, str] | None = None,
    ) -> None:
        """Take the facts, and what judges a condition: whether it holds for the argument at a pointer."""
        self.all = tuple(declarations)
        self.holds = holds
        self.files = files
        self.shadow = shadow
        self.tables = frozenset(each.table for each in self.all)
        self.twice = frozenset(each.name for each in self.all if each.label != each.name)
        self.by_name: Mapping[str, Declaration] = {each.name: each for each in self.all}
        self.scopes: tuple[Scope, ...] = tuple(dict.fromkeys(each.scope for each in self.all))
        self._found: dict[int, tuple[Target, Fitting]] = {}

    def find_fitting(self, target: Target) -> Fitting:
        """Return the facts that calls of a target change. A target never changes, so the answer is kept beside it."""
        kept = self._found.get(id(target))
        if kept is not None and kept[0] is target:
            return kept[1]
        begun = (each for each in self.all if each.fact.since is not None and each.fact.since.fits_target(target))
        fitting = Fitting(tuple(each for each in self.all if each.fact.fits_target(target)), tuple(begun))
        if len(self._found) >= _TARGETS:
            self._found.clear()
        if len(target.name) <= LONGEST_NAME:
            self._found[id(target)] = target, fitting
        return fitting


NO_FACTS: Final = FactBook()


class FactChange(NamedTuple):
    """The names of facts that count from zero under another policy, and of facts that no longer count."""

    begun: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


NO_CHANGE: Final = FactChange()


def compare(before: FactBook, after: FactBook) -> FactChange:
    """Return the change between the facts of two policies. A fact of another meaning counts from zero."""
    return FactChange(
        tuple(each.name for each in after.all if each.table not in before.tables),
        tuple(each.name for each in before.all if each.name not in after.by_name),
    )


FACTS: Final = (("gateway", "facts"), ("overlay", "facts"))
"""The paths of declared facts below `data`, shipped and own."""


def read_facts(data: Mapping[str, Any], holds: Holds | None = None) -> FactBook:
    """Return the facts in the data of a policy, shipped and own. Raise `PolicyBroken`.

    `holds` judges conditions on arguments by the rules of grants. Without `holds`, no fact may have conditions.
    """
    found: dict[str, Declaration] = {}
    files: dict[str, dict[str, object]] = {}
    for place, name in FACTS:
        below: object = data.get(place)
        declared = cast("Mapping[str, object]", below).get(name) if isinstance(below, Mapping) else None
        if declared is None:
            continue
        files[place] = {name: declared}
        for each in _read(f"{place}/{FILE}", declared):
            if each.name in found:
                raise PolicyBroken(
                    f"{place}/{FILE}: the policy has a fact {each.name!r} already", "give it another name"
                )
            if holds is None and each.has_conditions:
                raise PolicyBroken(
                    f"{place}/{FILE}: {each.name} has conditions on arguments, and the gateway has no rules to judge them",
                    "leave `arguments` out, or have the gateway evaluate the policy (`evaluate: here`)",
                )
            found[each.name] = each
    return FactBook(tuple(found.values()), holds or _holds_never, files) if found or holds else NO_FACTS


def join_shadow(book: FactBook, shadow: Mapping[str, Any]) -> FactBook:
    """Return the facts in force and the facts of a shadow policy in one book. Equal declarations are one fact.

    `shadow` has the declarations as in `FactBook.files`. Raise `PolicyBroken`.
    """
    own = read_facts(shadow, None if book.holds is _holds_never else book.holds)
    added = [replace(each, label=f"{each.name}{_SHADOW}") for each in own.all if each.table not in book.tables]
    labels = {each.name: each.name for each in own.all} | {each.name: each.label for each in added}
    return FactBook((*book.all, *added), book.holds, book.files, labels)


_SHADOW: Final = "@shadow"
"""The end of the label of a fact that the shadow policy alone declares. No name has such an end."""


def split_shadow(book: FactBook, found: DeclaredFacts) -> tuple[DeclaredFacts, DeclaredFacts | None]:
    """Return the values for the policy in force, and for the shadow policy, `None` without a shadow policy."""
    if book.shadow is None:
        return found, None
    names = {*found.values, *found.before, *found.incomplete}
    in_force = {name: name for name in names if not name.endswith(_SHADOW)}
    return found.select(in_force), found.select(book.shadow)


def read_tables(data: Mapping[str, Any]) -> frozenset[str]:
    """Return the tables of the facts in the data of a policy. Raise `PolicyBroken`."""
    return read_facts(data, _holds_never).tables


def read_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the facts in the data of a policy. Raise `PolicyBroken`."""
    return tuple(read_facts(data, _holds_never).by_name)


def _read(file: str, declared: object) -> Iterator[Declaration]:
    try:
        read = FactsFile.model_validate({"facts": declared})
    except ValidationError as error:
        raise PolicyBroken(
            f"{file}: {problems.explain(error, FactsFile)[0]}", "docs/policy/facts.md has the fields of a fact"
        ) from None
    for name, fact in read.facts.items():
        meaning = json.dumps(fact.model_dump(mode="json"), sort_keys=True)
        yield Declaration(name, fact, hashlib.sha256(meaning.encode()).hexdigest()[:8], file)


def suggest(name: str, book: FactBook) -> str:
    """Return the end of a sentence about a fact that no file declares."""
    return nearest(name, book.by_name)
