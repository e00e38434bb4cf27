"""A question as typed lines, the one form behind all surfaces. Pure.

Surfaces are the command line, the console, mail, Slack, webhooks and pages. Text is escaped before it is split into rows.
So no word of an agent or a server ends a line, or begins a line of the gateway. A surface adds marks of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import Struct, structs

from gateway.authority.approvals.model import WARNINGS
from gateway.base.json.strict import fold as fold_name
from gateway.base.json.walk import child, flatten, split_pointer
from gateway.base.letters import ShownText, find_mixed_words, fold, has_turning_letters, quote, spell_out

Speaker: TypeAlias = Literal["gateway", "agent"]
LineKind: TypeAlias = Literal[
    "argument", "credential", "fact", "link", "reason", "scope", "sentence", "setting", "source", "warning"
]
BlockName: TypeAlias = Literal["question", "said", "warnings", "known", "covers", "instead", "votes"]

WIDTH: Final = 72
"""Cells of a row, on every surface."""
_LEAVES: Final = 1_000
"""Values of one part that have a line each. With more of them, each member of the part has one line."""
_WORDS: Final = 20
"""Words that warnings name, in all."""
_PLAIN_POINTER: Final = re.compile(r"(?:/[\w.$@-]+)+", re.ASCII)


class Line(Struct, frozen=True):
    """A line. `name` is a word of the gateway for it. `notes` are the gateway's knowledge about the words of an agent."""

    kind: LineKind
    rows: tuple[ShownText, ...]
    name: str = ""
    notes: tuple[ShownText, ...] = ()

    @property
    def text(self) -> ShownText:
        """Return the line as one row."""
        return ShownText("".join(self.rows))


class Block(Struct, frozen=True):
    """Lines with one speaker below a title."""

    name: BlockName
    title: str
    speaker: Speaker
    lines: tuple[Line, ...]


def make_line(kind: LineKind, text: str, name: str = "", notes: Iterable[str] = ()) -> Line:
    """Return a line with a text of any origin. `name` is a short word of the gateway."""
    width = WIDTH - len(name) - 2 if name else WIDTH
    return Line(kind, fold(spell_out(text), width), name, tuple(spell_out(note) for note in notes if note))


def build_blocks(found: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return a question as blocks, from its document (`rendering.describe`). Blocks without a line are left out."""
    blocks = (
        Block("question", "the question", "gateway", tuple(_question(found))),
        Block("said", "said by the agent", "agent", tuple(_said(found))),
        Block("warnings", "look closely", "gateway", tuple(_warnings(found))),
        Block("known", "known by the gateway", "gateway", tuple(_known(found))),
        Block("covers", "a yes covers", "gateway", tuple(_covers(found))),
        Block("votes", "votes", "gateway", tuple(_votes(found))),
        Block("instead", "to be asked no more", "gateway", tuple(_instead(found))),
    )
    return tuple(block for block in blocks if block.lines)


# --- the call --------------------------------------------------------------------------------------


def _question(found: Mapping[str, Any]) -> Iterator[Line]:
    fact = partial(make_line, "fact")
    call = found["call"]
    yield fact(f"{found['id']}  code {found['code']}", "question")
    yield fact(f"{found['state']} until {found['expires']}, {found['votes']} votes", "state")
    yield fact(call.get("target") or found["target"], "call")
    if call.get("audience"):
        yield fact(call["audience"], "system")
    if labels := _write_labels(_part(call, "labels")):
        yield fact(labels, "labels")
    yield fact(found["agent"], "agent")
    if found["user"] is not None:
        yield fact(found["user"], "for")
    yield fact(found["task"] or "to be opened", "task")
    if found["decision"]:
        yield fact(found["decision"], "decision")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of a document, empty if there is none."""
    found: Mapping[str, Any] | None = document.get(name)
    return found or {}


def _write_labels(labels: Mapping[str, Any]) -> str:
    words = {True: "yes", False: "no"}
    return ", ".join(f"{name} {words.get(value, value)}" for name, value in labels.items() if value is not None)


# --- said by the agent -----------------------------------------------------------------------------


def _said(found: Mapping[str, Any]) -> Iterator[Line]:
    said = found["said_by_agent"]
    for name, label in (("goal", "goal of the task"), ("task_kind", "kind of the task"), ("client", "its client")):
        if said.get(name):
            yield make_line("fact", said[name], label)
    arguments = _part(said, "arguments")
    if "value" in arguments:
        yield from show_values(arguments["value"], _Notes(found).find)
    for name, label in _BESIDE.items():
        if _part(said, name).get("value") is not None:
            yield from show_values(said[name]["value"], name=label)


_BESIDE: Final = {"responses": "answer to the server", "beside": "beside the arguments"}
"""Parts of a call beside its arguments, with their names in a line."""


def _no_notes(_pointer: str) -> Iterable[str]:
    return ()


def show_values(value: Any, notes_of: Callable[[str], Iterable[str]] = _no_notes, name: str = "") -> tuple[Line, ...]:
    """Return the scalars of a JSON value as one line each: its pointer (RFC 6901), and the value in JSON.

    Lines with notes come first. `notes_of` gives the notes of a pointer. `name` names the part of the call.
    """
    found = tuple(islice(_leaves(value), _LEAVES + 1))
    if len(found) > _LEAVES and isinstance(value, Mapping):
        found = tuple((child("", member), item) for member, item in cast("Mapping[str, Any]", value).items())
    lines = [
        make_line("argument", f"{_show_pointer(pointer)} = {_json(item)}", name, notes_of(pointer))
        for pointer, item in found
    ]
    return tuple(sorted(lines, key=lambda line: not line.notes))


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each scalar and each empty container with its pointer, in the order of the document."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, item = waiting.pop()
        if item and isinstance(item, Mapping):
            members = cast("Mapping[str, Any]", item)
            waiting += [(child(pointer, member), inner) for member, inner in reversed([*members.items()])]
        elif item and isinstance(item, list | tuple):
            items = cast("list[Any]", item)
            waiting += [(f"{pointer}/{at}", items[at]) for at in range(len(items) - 1, -1, -1)]
        else:
            yield pointer, item


def _show_pointer(pointer: str) -> str:
    """Return a pointer that no other pointer and no value looks like: names with other letters are quoted."""
    return pointer if _PLAIN_POINTER.fullmatch(pointer) else _json(pointer)


def _json(value: Any) -> str:
    return quote(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


class _Notes:
    """The gateway's knowledge about the arguments of a call, by their places. Names differ as roles read them."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._exact: dict[tuple[str, ...], list[str]] = {}
        self._wild: list[tuple[tuple[str, ...], str]] = []
        for place, note in _known_places(found):
            steps = _steps(place)
            if "*" in steps:
                self._wild.append((steps, note))
            else:
                self._exact.setdefault(steps, []).append(note)

    def find(self, pointer: str) -> Iterator[str]:
        """Yield the notes about a value, and about a value around it."""
        if not self._exact and not self._wild:
            return
        steps = _steps(pointer)
        for depth in range(1, len(steps) + 1):
            yield from self._exact.get(steps[:depth], ())
        for place, note in self._wild:
            if len(place) <= len(steps) and all(want in {"*", step} for want, step in zip(place, steps, strict=False)):
                yield note


def _steps(pointer: str) -> tuple[str, ...]:
    return tuple(map(fold_name, split_pointer(pointer)))


def _known_places(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield places in the arguments, and a note for each."""
    call = found["call"]
    yield from ((place, f"role: {role}") for place, role in _part(call, "roles").items())
    yield from ((place, _write_source(place, sources)) for place, sources in _part(call, "ungrounded").items())
    named = "the goal, the contract or the operator's directory names it"
    yield from ((place, named) for place in call.get("grounded") or ())
    for reason in found["reasons"]:
        for fact in reason["facts"]:
            if fact.startswith("/arguments/"):
                yield fact.removeprefix("/arguments"), f"asked about: {reason['code']}"


def _write_source(pointer: str, sources: Iterable[Mapping[str, Any]]) -> str:
    """Return the source of the values at a pointer. Of several values there, each may have another source."""
    came = ", ".join(f"call {one['call']} of {one['audience']}" for one in sources) or "the agent alone"
    return f"a value at {_show_pointer(pointer)} came from {came}"


# --- known by the gateway --------------------------------------------------------------------------


def find_warnings(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the warnings (`model.WARNINGS`) about the letters of texts."""
    kept = tuple(texts)
    found = {"letters": any(map(find_mixed_words, kept)), "order": any(map(has_turning_letters, kept))}
    return tuple(name for name, is_so in found.items() if is_so)


def texts_of(value: Any) -> Iterator[str]:
    """Yield all texts and names of a JSON value."""
    flat = flatten(value)
    yield from flat.names
    yield from (item for item in flat.scalars if isinstance(item, str))


def _warnings(found: Mapping[str, Any]) -> Iterator[Line]:
    warning = partial(make_line, "warning")
    said = found["said_by_agent"]
    arguments = _part(said, "arguments")
    if "value" not in arguments:
        names = ", ".join(map(str, arguments.get("names", ())))
        yield warning(
            f"the arguments are NOT shown whole: {arguments.get('bytes', 'unknown')} bytes, with the names {names}"
        )
    for name, label in _BESIDE.items():
        if said.get(name) is not None and said[name].get("value") is None:
            yield warning(f"a part of the call is NOT shown: {label}")
    for name in found["warnings"]:
        yield warning(WARNINGS[name])
    named = [said, found["call"].get("target") or found["target"], found["agent"], found["user"]]
    texts = tuple(texts_of(named))
    words = list(dict.fromkeys(word for text in texts for word in find_mixed_words(text)))
    yield from (warning(f"it may look like another word: {word}") for word in words[:_WORDS])
    if len(words) > _WORDS:
        yield warning(f"{len(words) - _WORDS} more words may look like others")


def _known(found: Mapping[str, Any]) -> Iterator[Line]:
    for reason in found["reasons"]:
        yield make_line("reason", f"{reason['message']} [{reason['code']}]", notes=reason["facts"])
    for pointer, sources in _part(found["call"], "ungrounded").items():
        yield make_line("source", _write_source(pointer, sources))
    for one in found["call"].get("credentials") or ():
        came = one["audience"] or one["origin"]
        place = _show_pointer(one["pointer"])
        yield make_line("credential", f"a credential at {place}: {one['detector']} {one['fingerprint']}, from {came}")


# --- the answer ------------------------------------------------------------------------------------


def _covers(found: Mapping[str, Any]) -> Iterator[Line]:
    rule, recurs = found["rule"], found["recurs"]
    yield make_line("sentence", f"needed: {_write_rule(rule)}")
    yield make_line("sentence", "this call once")
    for scope in rule["scopes"]:
        if scope != "once" and (scope != "recurring" or recurs is not None):
            yield make_line("scope", _write_scope(scope, recurs), scope)
    for pointer, values in _part(recurs or {}, "values").items():
        yield make_line("argument", f"{_show_pointer(pointer)} = {', '.join(map(_json, values))}")


def _write_scope(scope: str, recurs: Mapping[str, Any] | None) -> str:
    if recurs is None or scope != "recurring":
        return {
            "destination": "also its shown values, until the task ends",
            "limit": "also its shown numbers, until the task ends",
        }.get(scope, scope)
    return (
        f"also these values together, for {write_duration(recurs['seconds'])}, in every later task that this agent for"
        f" this user says is of the kind {recurs['kind']}; other arguments may differ"
    )


def _write_rule(rule: Mapping[str, Any]) -> str:
    people = "1 person" if rule["count"] == 1 else f"{rule['count']} different persons"
    groups = f" of {', '.join(rule['groups'])}" if rule["groups"] else ""
    login = "" if rule["max_age_seconds"] is None else f", logged in within the last {rule['max_age_seconds']} s"
    return f"{people}{groups}, {_ASSURANCES.get(rule['assurance'], rule['assurance'])}{login}"


_ASSURANCES: Final = {
    "chat": "by any channel, also a chat",
    "peer": "with an account on this machine, or a login at the identity provider",
    "login": "with a login at the identity provider",
    "mfa": "with a login by a second factor",
    "passkey": "with a login by a passkey",
}


def write_duration(seconds: int) -> str:
    """Return a number of seconds in the largest whole unit."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _votes(found: Mapping[str, Any]) -> Iterator[Line]:
    for vote in found["votes_by"]:
        yield make_line("fact", f"{vote['answer']}, {vote['at']}, by {vote['id']}")


def _instead(found: Mapping[str, Any]) -> Iterator[Line]:
    for one in found["instead"]:
        line = make_line("setting", one["yaml"], notes=(f"in {one['where']}, against {one['code']}", one["advice"]))
        # A reader copies the setting, so it stays in one row.
        yield structs.replace(line, rows=(line.text,))
