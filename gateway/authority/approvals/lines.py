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
from gateway.authority.approvals.places import Places, find_leaves, find_part
from gateway.authority.approvals.sentence import (
    View,
    list_undone,
    read_time,
    say_call,
    say_openly,
    write_name,
    write_source,
)
from gateway.base.json.walk import child, flatten
from gateway.base.letters import ShownText, find_mixed_words, fold, has_turning_letters, quote, spell_out

Speaker: TypeAlias = Literal["gateway", "agent"]
LineKind: TypeAlias = Literal[
    "argument", "countdown", "credential", "fact", "link", "reason", "scope", "sentence", "setting", "warning"
]
BlockName: TypeAlias = Literal[
    "brief", "goal", "question", "said", "warnings", "known", "undone", "covers", "instead", "votes"
]
NoteKind: TypeAlias = Literal["role", "source", "named", "asked", "other"]

WIDTH: Final = 72
"""Cells of a row, on every surface."""
_LEAVES: Final = 1_000
"""Values of one part that have a line each. With more of them, each member of the part has one line."""
_WORDS: Final = 20
"""Words that warnings name, in all."""
_PLAIN_POINTER: Final = re.compile(r"(?:/[\w.$@-]+)+", re.ASCII)


class Note(Struct, frozen=True):
    """Knowledge of the gateway about a line. `decision` is the id of the call that a source names, and else empty."""

    kind: NoteKind
    text: ShownText
    decision: str = ""


class Line(Struct, frozen=True):
    """A line. `name` is a word of the gateway for it. `notes` are the gateway's knowledge about the words of an agent."""

    kind: LineKind
    rows: tuple[ShownText, ...]
    name: str = ""
    notes: tuple[Note, ...] = ()

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


def make_line(kind: LineKind, text: str, name: str = "", notes: Iterable[Note] = ()) -> Line:
    """Return a line with a text of any origin. `name` is a short word of the gateway."""
    width = WIDTH - len(name) - 2 if name else WIDTH
    return Line(kind, fold(spell_out(text), width), name, tuple(notes))


def make_note(kind: NoteKind, text: str, decision: str = "") -> Note:
    """Return a note with a text of any origin."""
    return Note(kind, spell_out(text), decision)


def build_blocks(found: Mapping[str, Any], view: View) -> tuple[Block, ...]:
    """Return a question as blocks, from its document (`rendering.describe`). Blocks without a line are left out.

    The facts for a decision come first: the agent, the call, the goal, and odd letters.
    """
    blocks = (
        Block("brief", "in short", "gateway", tuple(_brief(found, view))),
        Block("goal", "the goal, in the agent's words", "agent", tuple(_goal(found))),
        Block("warnings", "look closely", "gateway", tuple(_warnings(found))),
        Block("said", "said by the agent", "agent", tuple(_said(found, view))),
        Block("known", "known by the gateway", "gateway", tuple(_known(found))),
        Block("undone", "what cannot be undone", "gateway", tuple(_undone(found))),
        Block("covers", "a yes covers", "gateway", tuple(_covers(found))),
        Block("votes", "votes", "gateway", tuple(_votes(found))),
        Block("question", "the question", "gateway", tuple(_question(found))),
        Block("instead", "to be asked no more", "gateway", tuple(_instead(found))),
    )
    return tuple(block for block in blocks if block.lines)


def build_open_blocks(found: Mapping[str, Any], view: View) -> tuple[Block, ...]:
    """Return the blocks for a page without a login, from the open document of a question (`rendering.describe_openly`)."""
    warnings = (make_line("warning", f"look closely: {WARNINGS[name]}") for name in found["warnings"])
    blocks = (
        Block("brief", "in short", "gateway", (make_line("sentence", say_openly(found)),)),
        Block("warnings", "look closely", "gateway", tuple(warnings)),
        Block("known", "why", "gateway", tuple(make_line("reason", text) for text in found["reasons"])),
        Block("question", "time", "gateway", tuple(_countdown(found, view))),
    )
    return tuple(block for block in blocks if block.lines)


# --- in short --------------------------------------------------------------------------------------


def _brief(found: Mapping[str, Any], view: View) -> Iterator[Line]:
    yield from (make_line("sentence", text) for text in say_call(found, view))
    yield from _countdown(found, view)


def _countdown(found: Mapping[str, Any], view: View) -> Iterator[Line]:
    if found["state"] == "pending":
        yield make_line("countdown", view.write_left(read_time(found["expires"])))


def _goal(found: Mapping[str, Any]) -> Iterator[Line]:
    goal = found["said_by_agent"].get("goal")
    if goal:
        yield make_line("fact", quote(goal))
    elif found["call"]:
        yield make_line("fact", "none: the agent declared no goal")


def _undone(found: Mapping[str, Any]) -> Iterator[Line]:
    return (make_line("sentence", text) for text in list_undone(found))


# --- the call --------------------------------------------------------------------------------------


def _question(found: Mapping[str, Any]) -> Iterator[Line]:
    fact = partial(make_line, "fact")
    call = found["call"]
    yield fact(f"{found['id']}  code {found['code']}", "question")
    yield fact(f"{found['state']} until {found['expires']}, {found['votes']} votes", "state")
    yield fact(call.get("target") or found["target"], "call")
    if call.get("audience"):
        yield fact(call["audience"], "system")
    if labels := _write_labels(find_part(call, "labels")):
        yield fact(labels, "labels")
    yield fact(found["agent"], "agent")
    if found["user"] is not None:
        yield fact(found["user"], "for")
    yield fact(found["task"] or "to be opened", "task")
    if found["decision"]:
        yield fact(found["decision"], "decision")


def _write_labels(labels: Mapping[str, Any]) -> str:
    words = {True: "yes", False: "no"}
    return ", ".join(f"{name} {words.get(value, value)}" for name, value in labels.items() if value is not None)


# --- said by the agent -----------------------------------------------------------------------------


def _said(found: Mapping[str, Any], view: View) -> Iterator[Line]:
    said = found["said_by_agent"]
    for name, label in (("task_kind", "kind of the task"), ("client", "its client")):
        if said.get(name):
            yield make_line("fact", said[name], label)
    arguments = find_part(said, "arguments")
    if "value" in arguments:
        yield from show_values(arguments["value"], Places(_known_places(found, view)).find)
    for name, label in _BESIDE.items():
        if find_part(said, name).get("value") is not None:
            yield from show_values(said[name]["value"], name=label)


_BESIDE: Final = {"responses": "answer to the server", "beside": "beside the arguments"}
"""Parts of a call beside its arguments, with their names in a line."""


def _no_notes(_pointer: str) -> Iterable[Note]:
    return ()


def show_values(value: Any, notes_of: Callable[[str], Iterable[Note]] = _no_notes, name: str = "") -> tuple[Line, ...]:
    """Return the scalars of a JSON value as one line each: its pointer (RFC 6901), and the value in JSON.

    Lines with notes come first. `notes_of` gives the notes of a pointer. `name` names the part of the call.
    """
    found = tuple(islice(find_leaves(value), _LEAVES + 1))
    if len(found) > _LEAVES and isinstance(value, Mapping):
        found = tuple((child("", member), item) for member, item in cast("Mapping[str, Any]", value).items())
    lines = [
        make_line("argument", f"{_show_pointer(pointer)} = {_json(item)}", name, notes_of(pointer))
        for pointer, item in found
    ]
    return tuple(sorted(lines, key=lambda line: not line.notes))


def _show_pointer(pointer: str) -> str:
    """Return a pointer that no other pointer and no value looks like: names with other letters are quoted."""
    return pointer if _PLAIN_POINTER.fullmatch(pointer) else _json(pointer)


def _json(value: Any) -> str:
    return quote(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _known_places(found: Mapping[str, Any], view: View) -> Iterator[tuple[str, Note]]:
    """Yield places in the arguments, and a note for each."""
    call = found["call"]
    yield from ((place, make_note("role", f"role: {role}")) for place, role in find_part(call, "roles").items())
    for place, sources in find_part(call, "sources").items():
        for one in sources:
            yield place, make_note("source", f"from {write_source(one, view)}", one.get("decision") or "")
    sourced = find_part(call, "sources")
    for place in call.get("ungrounded") or ():
        if not sourced.get(place):
            yield place, make_note("source", "nobody named it, and no text that the gateway traced holds it")
    named = make_note("named", "the goal, the contract or the operator's directory names it")
    yield from ((place, named) for place in call.get("grounded") or ())
    for reason in found["reasons"]:
        for fact in reason["facts"]:
            if fact.startswith("/arguments/"):
                yield fact.removeprefix("/arguments"), make_note("asked", f"asked about: {reason['code']}")


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
    arguments = find_part(said, "arguments")
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
    people = [found["agent"], found["user"], found["user_name"], found["user_mail"]]
    named = [said, found["call"].get("target") or found["target"], *people]
    texts = tuple(texts_of(named))
    words = list(dict.fromkeys(word for text in texts for word in find_mixed_words(text)))
    yield from (warning(f"it may look like another word: {word}") for word in words[:_WORDS])
    if len(words) > _WORDS:
        yield warning(f"{len(words) - _WORDS} more words may look like others")


def _known(found: Mapping[str, Any]) -> Iterator[Line]:
    for reason in found["reasons"]:
        notes = (make_note("other", fact) for fact in reason["facts"])
        yield make_line("reason", f"{reason['message']} [{reason['code']}]", notes=notes)
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
            numbers = _write_numbers(found) if scope == "limit" else ""
            yield make_line("scope", f"{_write_scope(scope, recurs)}{numbers}", scope)
    for pointer, values in find_part(recurs or {}, "values").items():
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


def _write_numbers(found: Mapping[str, Any]) -> str:
    """Return the numbers that a yes with the scope `limit` lets pass."""
    limits = {name: number for reason in found["reasons"] for name, number in reason["limits"].items()}
    told = [f"{_write_limit(name)} up to {number:,}" for name, number in limits.items()]
    return f": {', '.join(told)}" if told else ""


def _write_limit(name: str) -> str:
    """Return a limit in words. The name of a limit over tasks begins with its owner, and of a tree with its first task."""
    owner, _, own = name.rpartition(".")
    if owner in {"user", "agent"}:
        return f"{_OVER_TASKS.get(own, own)} of the {owner} in a day"
    return f"{own} of the task {write_name(owner)} with all tasks below it" if owner else name


_OVER_TASKS: Final = {
    "amount": "the sum of amounts in this system",
    "repeats": "calls equal to this one",
    "systems": "systems with changes",
    "writes": "changing calls",
}


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
    "passkey": "signed with a passkey at the console",
}


def write_duration(seconds: int) -> str:
    """Return a number of seconds in the largest whole unit."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _votes(found: Mapping[str, Any]) -> Iterator[Line]:
    for vote in found["votes_by"]:
        # A person chooses the display name, and a provider the id.
        words = f" ({quote(vote['known_as'])})" if vote["known_as"] not in {"", vote["id"]} else ""
        yield make_line("fact", f"{vote['answer']}, {vote['at']}, by {write_name(vote['id'])}{words}")


def _instead(found: Mapping[str, Any]) -> Iterator[Line]:
    for one in found["instead"]:
        told = (f"in {one['where']}, against {one['code']}", one["advice"])
        line = make_line("setting", one["yaml"], notes=(make_note("other", note) for note in told if note))
        # A reader copies the setting, so it stays in one row.
        yield structs.replace(line, rows=(line.text,))
