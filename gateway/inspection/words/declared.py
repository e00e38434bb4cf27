"""A call beside the declaration of its task: values without a source, words of the goal alone, and named systems. Pure.

A call with a lasting effect that the contract declares may pass without a question, so each of its values needs a source.
Roles of authority have rules of their own, and texts are inspected for links.

A call that says nothing but what the goal says gives away nothing that its task has read. So spellings count: letter case
and spaces could carry a message. A goal names a system by its audience, the name of its upstream, or an alias from the
operator, in singular or plural. A contract names a system among its audiences, or by a tool of its upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from gateway.base.json.walk import child
from gateway.inspection.destinations.find import texts
from gateway.inspection.destinations.normalise import fold_text, normalise
from gateway.inspection.words.grounds import Grounds, stands, stands_quoted
from gateway.inspection.words.words import amount, digest
from gateway.model.call import Call
from gateway.model.content import Dictation
from gateway.model.target import Role
from gateway.model.task import Contract
from gateway.model.wire import Json

if TYPE_CHECKING:
    from gateway.model.target import Target


# --- values without a source -------------------------------------------------------------------------

MAX_VALUES: Final = 256
"""Values of a call that are told apart. More have no source."""
_ELSEWHERE: Final = frozenset({Role.DESTINATION, Role.COMMAND, Role.CREDENTIAL, Role.AMOUNT, Role.CONTENT, Role.RECORD})
_TOO_MANY: Final = "\0 more values than are told apart"
"""Stands for the values of all further arguments. No result has this word."""


def unnamed_values(
    call: Call, contract: Contract | None, given: Grounds, key: bytes
) -> Mapping[str, frozenset[int]] | None:
    """Return pointer → digests of the values that neither goal, contract nor directory name.

    Return `None` for a call whose effect the contract does not declare.
    """
    if contract is None or call.target.labels.effect not in contract.effects:
        return None
    found: dict[str, frozenset[int]] = {}
    left = MAX_VALUES
    for name, value in call.arguments.items():
        pointer = child("", name)
        if call.target.labels.roles.get(pointer) in _ELSEWHERE:
            continue
        values = list(islice(_values(value), left + 1))
        left = max(0, left - len(values))
        unnamed = [text for text in values if not _is_named(text, given)] if left else [_TOO_MANY]
        if unnamed:
            found[pointer] = frozenset(digest(fold_text(text), key) for text in unnamed)
    return found


def _values(value: Json) -> Iterator[str]:
    """Yield the texts of a value. Blank texts and switches name nothing."""
    return iter(()) if isinstance(value, bool) else (text for text in texts(value) if text.strip())


def _is_named(text: str, given: Grounds) -> bool:
    if given.names(text) or given.grounds_destination(normalise(text)):
        return True
    number = amount(text)
    return number is not None and number in given.amounts


# --- calls that say what the goal says ---------------------------------------------------------------

MAX_TEXTS: Final = 32
"""Values of a call that are compared with the goal. A call with more says something by their choice."""
MAX_DIGITS: Final = 2
"""Numbers of one digit that the goal may lack: a priority, or the number of a first record."""

_SAID: Final = frozenset({Role.CONTENT, Role.DESTINATION})
"""Roles of a message. A selector could send a record away that the call only names."""


def dictation(call: Call, given: Grounds) -> Dictation | None:
    """Return `quotes` or `words` if the goal has each value of a call, else `None`.

    `quotes`: the call gives contents, each in quotation marks in the goal, and selects nothing that could leave with them.
    Each argument needs a role. Objects have names that somebody chose, so they are never dictated.
    """
    roles = call.target.labels.roles
    quoted = Role.CONTENT in {roles.get(child("", name)) for name in call.arguments}
    left, digits = MAX_TEXTS, MAX_DIGITS
    for name, value in call.arguments.items():
        role = roles.get(child("", name))
        if role is None:
            return None
        for item in _items(value):
            left -= 1
            digits -= _is_digit(item)
            if left < 0 or digits < 0 or not (_is_digit(item) or _is_given(item, role, given)):
                return None
            quoted = quoted and role in _SAID and _is_quoted(item, role, given)
    return "quotes" if quoted else "words"


def _is_quoted(item: Json, role: Role, given: Grounds) -> bool:
    return role is not Role.CONTENT or not isinstance(item, str) or not item or stands_quoted(item, given.exact)


def _items(value: Json) -> Iterator[Json]:
    """Yield the items of an argument. A list in a list stands for itself."""
    if isinstance(value, list | tuple):
        yield from value
    else:
        yield value


def _is_digit(item: Json) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= 9


def _is_given(item: Json, role: Role, given: Grounds) -> bool:
    if item is None or isinstance(item, bool) or item == "":
        return True
    if isinstance(item, Mapping | list | tuple):
        return False
    text = item if isinstance(item, str) else repr(item)
    if isinstance(item, str) and item != " ".join(item.split()):
        return False
    if stands(text, given.exact):
        return True
    if isinstance(item, str):
        return role is Role.DESTINATION and text == text.lower() and given.grounds_value(text, role, 1)
    number = amount(text)
    return number is not None and number in given.amounts


# --- named systems -----------------------------------------------------------------------------------


def find_named_systems(target: Target, contract: Contract | None, given: Grounds) -> frozenset[str]:
    """Return the named systems of a target, among its own system and the systems behind an aggregator."""
    listed = frozenset[str]() if contract is None else contract.audiences or frozenset()
    reached = (target.audience, *(target.aggregates or ()))
    named = {system for system in reached if system in listed or _names_system(system, given)}
    names = (target.upstream, *target.aliases)
    if _has_tool_of(contract, target.upstream) or any(_names_system(name, given) for name in names):
        named.add(target.audience)
    return frozenset(named)


def _names_system(name: str, given: Grounds) -> bool:
    """Return whether the goal has a name, in singular or plural."""
    return any(map(given.names, (name, f"{name}s", name.removesuffix("s"))))


def _has_tool_of(contract: Contract | None, upstream: str) -> bool:
    """Return whether the contract has a tool of this very upstream, among its tools or its lasting effects."""
    if contract is None:
        return False
    tools = chain(contract.tools or (), *contract.effects.values())
    return any(tool.startswith(f"{upstream}/") for tool in tools)
