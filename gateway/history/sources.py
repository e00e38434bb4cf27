"""Untrusted results in the form for people: the calls behind values, and the latest calls. Pure.

Events and snapshots hold no values. So memory alone keeps the argument that names a read text. After a restart people hear the
other parts.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from gateway.history.events import UNTRUSTED
from gateway.model.target import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gateway.history.state import TaskState
    from gateway.model.call import Call

Subjects: TypeAlias = "Mapping[int, Subject]"
"""Number of a call → the argument that names what it reads."""

MAX_SUBJECTS: Final = 64
"""Such arguments of one task, the latest."""
_LONGEST: Final = 120
"""Characters of one such argument. A longer text names nothing that a person knows, and half of it could hide a credential."""
_NAMING: Final = (Role.RECORD, Role.DESTINATION)


class Subject(Struct, frozen=True):
    """The argument that names the text read by a call, such as `path` with `invoice.txt`. The caller chose both."""

    name: str
    text: str


class ReadSource(Struct, frozen=True):
    """An untrusted result. `call` is its number in the task, `decision` the id of its call, and `at` the time in seconds.

    `tool` is a target as history names it, and empty for a result that is known by its system alone. `is_earlier`: the call is of an
    earlier task of the caller. `agent` made the call in another task of the job, and marked the job by it.
    """

    call: int
    audience: str
    tool: str = ""
    at: float | None = None
    decision: str | None = None
    subject: Subject | None = None
    is_earlier: bool = False
    agent: str | None = None


class ReadTask(Struct, frozen=True):
    """A task with the results that it read."""

    state: TaskState
    subjects: Subjects
    is_earlier: bool = False


def find_subject(call: Call) -> Subject | None:
    """Return the argument that names the text read by a call: an argument with such a role, or else the first short text."""
    if call.target.type == "resource":
        return Subject("uri", call.target.name) if len(call.target.name) <= _LONGEST else None
    roles = call.target.labels.roles
    short = [
        (name, text) for name, text in call.arguments.items() if isinstance(text, str) and 0 < len(text) <= _LONGEST
    ]
    if not short:
        return None
    naming = [one for one in short if roles.get(f"/{one[0]}") in _NAMING]
    name, text = (naming or short)[0]
    return Subject(name, text) if len(name) <= _LONGEST else None


def note_subject(subjects: dict[int, Subject], number: int, call: Call) -> None:
    """Keep the argument that names the text read by a call. The oldest one makes room."""
    found = find_subject(call)
    if found is None:
        return
    subjects[number] = found
    if len(subjects) > MAX_SUBJECTS:
        del subjects[next(iter(subjects))]


def find_sources(tasks: Iterable[ReadTask], values: Collection[int]) -> list[ReadSource]:
    """Return the untrusted results that first held values (digests, as in `CallContent.authority`), by the number of their call."""
    found: list[ReadSource] = []
    for task in tasks:
        tokens = task.state.tokens
        numbers = sorted({number for value in values if (number := tokens.get(value)) is not None})
        found += [_source(task, number) for number in numbers]
    return found


def find_latest(tasks: Iterable[ReadTask], count: int) -> list[ReadSource]:
    """Return the latest untrusted results, the last one first. An answer to a changing call counts only with text of its own.

    The last places are for results that other tasks of the job have read. No caller knows these from its own calls.
    """
    known = list(tasks)
    marks = [mark for task in known[:1] for mark in task.state.inherited if mark.label == UNTRUSTED]
    marks = sorted(marks, key=lambda mark: -mark.at)[: max(1, count // 2)]
    own = list(islice(_list_latest(known), count - len(marks)))
    return own + [
        ReadSource(mark.number, mark.audience, mark.tool, mark.at, mark.call, agent=mark.agent) for mark in marks
    ]


def _list_latest(tasks: Iterable[ReadTask]) -> Iterator[ReadSource]:
    for task in tasks:
        results = task.state.results
        for number in sorted(task.state.reads.keys() | results.keys(), reverse=True):
            if number in results or not _is_write(task.state, number):
                yield _source(task, number)


def _is_write(state: TaskState, number: int) -> bool:
    touches = state.used.get(state.reads[number].tool, {})
    return bool(touches) and all(touch.write for touch in touches)


def _source(task: ReadTask, number: int) -> ReadSource:
    state, subject = task.state, task.subjects.get(number)
    read = state.reads.get(number)
    if read is not None:
        return ReadSource(number, read.audience, read.tool, read.at, read.call, subject, task.is_earlier)
    for call in state.open.values():
        if call.number == number:
            return ReadSource(number, call.audience, call.tool, call.at, call.call, subject, task.is_earlier)
    return ReadSource(number, state.results.get(number, ""), subject=subject, is_earlier=task.is_earlier)
