"""Pins: trusted definitions, and the differences of current ones. Pure. A pin is the SHA-256 over the whole definition,
as sent by the upstream, in canonical form (RFC 8785). The digest covers every field: beside name, title, description,
schemas and annotations, also `icons`, `_meta`, `execution` and unknown fields. Clients show definitions to models and
to approving people in unknown ways, so any field may carry an instruction. A definition with a value changing by itself
cannot be pinned, and its tool stays unusable on purpose. Instructions of a server are pinned in the same way, as a
definition with one field."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from gateway.base.json import canonical, strict
from gateway.base.letters import spell_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config.packages import PackageLock
    from gateway.model.wire import Json, JsonObject

_MAX_NAME = 1024
MAX_LISTED: Final = 256 * 2**10
"""Bytes of one definition that an upstream lists: a tool, a prompt, its instructions, a resource. A model reads each of them
whole, and a person who pins one has to. Tools that were generated from large interface descriptions have some 64 KiB."""

Subject: TypeAlias = Literal["instructions", "prompt", "resource", "tool"]
"""What is defined. A resource is one that instructs the model: its definition is its contents."""
SUBJECTS: Final[tuple[Subject, ...]] = ("instructions", "prompt", "resource", "tool")
INSTRUCTIONS: Final = "instructions"
"""What the instructions of an upstream are called. It has one text of them, whoever asks."""

# --- a definition ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition of an upstream. `digest` is `sha256:` and 64 hex digits over its RFC 8785 form, `size` its bytes as
    sent."""

    name: str
    digest: str
    document: JsonObject = field(repr=False, compare=False)
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class UnpinnableDefinition:
    """A definition unfit for a pin: ambiguous, or without a usable name. `name` is its name, if known all the same."""

    problem: str
    name: str | None = None


def read_listed(raw: bytes, subject: Subject) -> Definition | UnpinnableDefinition:
    """Read a definition as listed by its upstream. A definition larger than `MAX_LISTED` cannot be pinned."""
    if len(raw) > MAX_LISTED:
        name = INSTRUCTIONS if subject == "instructions" else _name_of(raw)
        return UnpinnableDefinition(f"its definition is larger than {MAX_LISTED >> 10} KiB", name)
    return read_instructions(raw) if subject == "instructions" else read_definition(raw)


def read_definition(raw: bytes) -> Definition | UnpinnableDefinition:
    """Read an item of a `tools/list` or `prompts/list` result, or of the lock file."""
    document = strict.read_part(raw)
    if isinstance(document, strict.UnreadableJson):
        return UnpinnableDefinition(document.message.replace("the body", "its definition"), _name_of(raw))
    name = document.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        return UnpinnableDefinition(f"its name is not a string of 1 to {_MAX_NAME} characters")
    return Definition(name, canonical.digest(document), document, len(raw))


class _NamedDefinition(msgspec.Struct):
    name: str


def _name_of(raw: bytes) -> str | None:
    try:
        name = msgspec.json.decode(raw, type=_NamedDefinition).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return name if 0 < len(name) <= _MAX_NAME else None


def read_instructions(raw: bytes) -> Definition | UnpinnableDefinition:
    """Read the `instructions` of an upstream: the JSON value, as sent."""
    document = strict.read_part(b'{"instructions":' + raw + b"}")
    if isinstance(document, strict.UnreadableJson):
        return UnpinnableDefinition(document.message.replace("the body", "the text"), INSTRUCTIONS)
    if not isinstance(document[INSTRUCTIONS], str):
        return UnpinnableDefinition("they are no text", INSTRUCTIONS)
    return Definition(INSTRUCTIONS, canonical.digest(document), document, len(raw))


_LATER_FIELDS = frozenset({"title", "outputSchema", "icons", "execution", "_meta"})
"""What later protocol revisions added to `Tool` and `Prompt`: servers leave these out for clients of earlier ones."""


def is_view_of(seen: Definition, whole: Definition) -> bool:
    """Return whether `seen` is `whole` without fields unknown to an earlier revision. All present fields are equal, so
    nothing can hide there."""
    if seen.digest == whole.digest:
        return True
    absent = whole.document.keys() - seen.document.keys()
    if not absent <= _LATER_FIELDS:
        return False
    kept: JsonObject = {key: value for key, value in whole.document.items() if key not in absent}
    if "arguments" in kept:
        kept["arguments"] = _keep_seen_titles(kept["arguments"], seen.document["arguments"])
    return canonical.digest(kept) == seen.digest


def _keep_seen_titles(whole: Json, seen: Json) -> Json:
    """Return the arguments of a prompt, with the seen titles only: earlier revisions have none."""
    if not isinstance(whole, list) or not isinstance(seen, list) or len(whole) != len(seen):
        return whole
    return [
        {key: value for key, value in argument.items() if key != "title" or not isinstance(other, dict) or key in other}
        if isinstance(argument, dict)
        else argument
        for argument, other in zip(whole, seen, strict=True)
    ]


# --- the lock --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pinned:
    """A trusted definition. `at` is the time of the trust, RFC 3339 in UTC."""

    definition: Definition
    at: str


@dataclass(frozen=True, slots=True)
class Lock:
    """All pins: upstream → subject → name → pin. Upstreams and subjects without pins are left out. `packages` are of stdio
    upstreams."""

    upstreams: Mapping[str, Mapping[Subject, Mapping[str, Pinned]]] = field(
        default_factory=dict[str, "Mapping[Subject, Mapping[str, Pinned]]"]
    )
    packages: Mapping[str, PackageLock] = field(default_factory=dict[str, "PackageLock"])

    def of(self, upstream: str, subject: Subject) -> Mapping[str, Pinned]:
        return self.upstreams.get(upstream, {}).get(subject, {})

    def pinned(self, upstream: str, subject: Subject, definitions: Iterable[Definition], at: str) -> Lock:
        """Return the lock with these definitions pinned, in the place of earlier pins of the same names."""
        added = {item.name: Pinned(item, at) for item in definitions}
        return self._with(upstream, subject, {**self.of(upstream, subject), **added})

    def without(self, upstream: str, subject: Subject, names: Iterable[str]) -> Lock:
        gone = frozenset(names)
        kept = {name: pin for name, pin in self.of(upstream, subject).items() if name not in gone}
        return self._with(upstream, subject, kept)

    def with_packages(self, upstream: str, packages: PackageLock | None) -> Lock:
        """Return the lock with these packages of an upstream; with `None` without any."""
        kept = {name: lock for name, lock in self.packages.items() if name != upstream}
        return Lock(self.upstreams, kept if packages is None else {**kept, upstream: packages})

    def _with(self, upstream: str, subject: Subject, pins: Mapping[str, Pinned]) -> Lock:
        subjects: dict[Subject, Mapping[str, Pinned]] = {
            key: kept for key in SUBJECTS if (kept := pins if key == subject else self.of(upstream, key))
        }
        upstreams = {**self.upstreams, upstream: subjects}
        return Lock({key: value for key, value in upstreams.items() if value}, self.packages)


@dataclass(frozen=True, slots=True)
class PinChange:
    """A definition's difference from its pin. `added`: new at an upstream that has pins. `unpinned`: at an upstream
    without pins. `changed`: differs, or is unreadable (`new` is `UnpinnableDefinition`). `removed`: no longer listed."""

    kind: Literal["added", "changed", "removed", "unpinned"]
    upstream: str
    subject: Subject
    name: str
    old: Definition | None
    new: Definition | UnpinnableDefinition | None


def compare(
    upstream: str,
    subject: Subject,
    pins: Mapping[str, Pinned],
    definitions: Mapping[str, Definition | UnpinnableDefinition],
    *,
    known: bool,
) -> tuple[PinChange, ...]:
    """Return the differences between the pins and the listed definitions, by name. `known`: whether the upstream has
    pins of any subject."""
    return tuple(_changes(upstream, subject, pins, definitions, "added" if known else "unpinned"))


def _changes(
    upstream: str,
    subject: Subject,
    pins: Mapping[str, Pinned],
    definitions: Mapping[str, Definition | UnpinnableDefinition],
    fresh: Literal["added", "unpinned"],
) -> Iterator[PinChange]:
    for name in sorted({*pins, *definitions}):
        old = pins[name].definition if name in pins else None
        new = definitions.get(name)
        if new is None:
            yield PinChange("removed", upstream, subject, name, old, None)
        elif isinstance(new, UnpinnableDefinition):
            yield PinChange("changed", upstream, subject, name, old, new)
        elif old is None:
            yield PinChange(fresh, upstream, subject, name, None, new)
        elif old.digest != new.digest:
            yield PinChange("changed", upstream, subject, name, old, new)


# --- for people ------------------------------------------------------------------------------------


def name_of_definition(subject: Subject, name: str) -> str:
    """Return the name of a definition; without a subject, tools are meant."""
    return f"{subject} {name}" if subject not in {"tool", "instructions"} else name


_FIRST_FIELDS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


def diff(old: Definition | None, new: Definition | None) -> str:
    """Return the differences, field by field, as a unified diff with hidden characters spelled out. `None` is an absent
    tool. Equal definitions give the empty string."""
    before: JsonObject = old.document if old else {}
    after: JsonObject = new.document if new else {}
    return "\n".join(line for name in _fields(before, after) for line in _field_diff(name, before, after))


def _fields(before: JsonObject, after: JsonObject) -> list[str]:
    present = {*before, *after}
    return [name for name in _FIRST_FIELDS if name in present] + sorted(present - set(_FIRST_FIELDS))


def _field_diff(name: str, before: JsonObject, after: JsonObject) -> Iterator[str]:
    old, new = (_lines(document[name]) if name in document else [] for document in (before, after))
    lines = list(difflib.unified_diff(old, new, n=3, lineterm=""))[2:]
    if lines:
        yield spell_out(name)
        yield from (f"  {line}" for line in lines)


def _lines(value: Json) -> list[str]:
    if isinstance(value, str):
        return [spell_out(line) for line in value.split("\n")]
    return [spell_out(line) for line in json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).split("\n")]
