"""The labels of a tool for the arguments of one call. Pure.

A case only relaxes labels, and only if each of its conditions is seen to hold. So a missing, strange or unreadable argument
leaves the labels of the tool, which are the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar, cast

from gateway.base.json.pointer import item_number, split_pointer
from gateway.base.json.strict import fold
from gateway.inspection.credentials.ruleset import Re2Pattern, compiled
from gateway.inspection.destinations.find import texts
from gateway.inspection.statements import kind_of
from gateway.model.target import ArgumentCondition, Effect, LabelCase, Labels, Sensitivity, Target
from gateway.model.wire import Json, JsonObject

MAX_TEXT: Final = 65_536
"""Characters of a text that a regular expression is tried on. No expression holds for a longer text."""
_HANDLE: Final = "cred://"
"""Another text goes to the server in its place, which no condition has seen."""
_MISSING: Final = object()
_EFFECTS: Final = list(Effect)
_SENSITIVITIES: Final = list(Sensitivity)
_Value = TypeVar("_Value")


def labelled_for_call(target: Target, arguments: JsonObject) -> Target:
    """Return the target with the labels of a call: those of the first case that holds, else the worst."""
    cases = target.labels.cases
    if not cases:
        return target
    holding = next((case for case in cases if _holds(case, arguments)), None)
    plain = replace(target.labels, cases=())
    return replace(target, labels=plain if holding is None else _relax(plain, holding))


def label_variants(target: Target) -> tuple[Target, ...]:
    """Return the target with the labels that each case gives, and with the worst."""
    if not target.labels.cases:
        return (target,)
    plain = replace(target.labels, cases=())
    relaxed = (_relax(plain, case) for case in target.labels.cases)
    return tuple(replace(target, labels=labels) for labels in (plain, *relaxed))


def _relax(labels: Labels, case: LabelCase) -> Labels:
    """Return the milder of two labels, each by itself."""
    said = {name for name in ("effect", "egress", "sensitivity") if getattr(case, name) is not None}
    return replace(
        labels,
        effect=_milder(labels.effect, case.effect, _EFFECTS.index),
        egress=_milder(labels.egress, case.egress, int),
        sensitivity=_milder(labels.sensitivity, case.sensitivity, _SENSITIVITIES.index),
        sandbox=labels.sandbox or case.sandbox is True,
        roles={**labels.roles, **case.roles},
        assumed=labels.assumed - said,
    )


def _milder(worst: _Value, said: _Value | None, rank: Callable[[_Value], int]) -> _Value:
    return worst if said is None or rank(said) > rank(worst) else said


# --- conditions --------------------------------------------------------------------------------------


def _holds(case: LabelCase, arguments: JsonObject) -> bool:
    if case.arguments is not None and not arguments.keys() <= case.arguments:
        return False
    return all(_holds_at(pointer, condition, arguments) for pointer, condition in case.when.items())


def _holds_at(pointer: str, condition: ArgumentCondition, arguments: JsonObject) -> bool:
    try:
        found = _at(arguments, pointer)
    except _Ambiguous:
        return False
    if found is _MISSING or found == []:
        return condition.optional or "absent" in condition.tests
    value = cast("Json", found)
    if any(_HANDLE in text.casefold() for text in texts(value)):
        return False
    return all(_test(name, expected, value) for name, expected in condition.tests.items())


class _Ambiguous(Exception):
    """Two member names of one object that differ only in spelling. A server may read either."""


def _at(arguments: Json, pointer: str) -> object:
    """Return the value at a pointer, or `_MISSING`. Raise `_Ambiguous` if another name may be meant by it."""
    found: Json = arguments
    for name in split_pointer(pointer):
        if isinstance(found, Mapping):
            if any(other != name and fold(other) == fold(name) for other in found):
                raise _Ambiguous
            if name not in found:
                return _MISSING
            found = found[name]
        elif isinstance(found, list | tuple) and (number := item_number(name, len(found))) is not None:
            found = found[number]
        else:
            raise _Ambiguous
    return found


def _test(name: str, expected: Any, found: Json) -> bool:
    """Return whether a test holds for a value: if it is of items, for each item of a list."""
    if name in _OF_VALUES:
        return _OF_VALUES[name](expected, found)
    items: list[Json] = list(found) if isinstance(found, list | tuple) else [found]
    return name in _OF_ITEMS and all(_OF_ITEMS[name](expected, item) for item in items)


def _same(expected: Json, found: Json) -> bool:
    """Return whether two values are equal and of one JSON type."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return _kind(expected) == _kind(found) and expected == found


def _kind(value: Json) -> str:
    if _is_number(value):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    return "list" if isinstance(value, list | tuple) else type(value).__name__


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _matches(expression: str, text: str) -> bool:
    if len(text) > MAX_TEXT:
        return False
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return False
    return _compile(expression).search(data) is not None


def _is_short(longest: int, found: Json) -> bool:
    return not isinstance(found, str | Mapping) and (len(found) if isinstance(found, list | tuple) else 1) <= longest


_Test: TypeAlias = Callable[[Any, Json], bool]
_OF_VALUES: Final[Mapping[str, _Test]] = {
    "equals": _same,
    "max_items": _is_short,
    "present": lambda _, __: True,
    "absent": lambda _, __: False,
}
_OF_ITEMS: Final[Mapping[str, _Test]] = {
    "one_of": lambda choices, item: any(_same(choice, item) for choice in choices),
    "matches": lambda expression, item: isinstance(item, str) and _matches(expression, item),
    "statement": lambda kinds, item: kind_of(item) in kinds,
    "min": lambda least, item: _is_number(item) and cast("float", item) >= least,
    "max": lambda most, item: _is_number(item) and cast("float", item) <= most,
}


@lru_cache(maxsize=1024)
def _compile(expression: str) -> Re2Pattern:
    return compiled(rf"\A(?:{expression})\z", groups=False)
