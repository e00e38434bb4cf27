"""What `completion/complete` asks: which values one argument of a prompt, or one variable of a resource template, may
have, given those of the others (2026-07-28/server/utilities/completion.mdx). Pure.

To complete is to use a prompt or a resource with what is written so far. So it is decided on as that: its arguments are
the variables by their own names, that of a resource also its template, as `uri`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

from msgspec import Struct

from gateway.model.wire import Json, JsonObject

METHOD: Final = "completion/complete"

_REFERENCES: Final[Mapping[Json, tuple[Literal["prompt", "resource"], str]]] = {
    "ref/prompt": ("prompt", "name"),
    "ref/resource": ("resource", "uri"),
}
"""The type of a reference → what it is to, and the member that says to which."""


class Completion(Struct, frozen=True):
    """What the completion is for, and all that is said of its variables. Of one that is given twice, in `argument` and in
    `context`, a list has both: which of them a server takes is its own affair."""

    type: Literal["prompt", "resource"]
    name: str
    arguments: JsonObject


def fault(params: JsonObject) -> str | None:
    """What is wrong with the parameters, if anything."""
    reference, argument = _member(params, "ref"), _member(params, "argument")
    kind = reference.get("type")
    if not isinstance(kind, str) or kind not in _REFERENCES:
        return "ref is no reference to a prompt or a resource"
    _, field = _REFERENCES[kind]
    if not isinstance(reference.get(field), str) or not reference[field]:
        return f"ref.{field} is not a string with at least one character"
    if not isinstance(argument.get("name"), str) or not isinstance(argument.get("value"), str):
        return "argument has no name and value that are strings"
    context = params.get("context", {})
    given = context.get("arguments", {}) if isinstance(context, Mapping) else None
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        return "context.arguments is not an object of strings"
    return None


def asked(params: JsonObject) -> Completion:
    """What parameters without a fault ask."""
    reference, argument = _member(params, "ref"), _member(params, "argument")
    type_, field = _REFERENCES[reference["type"]]
    name = cast("str", reference[field])
    said: dict[str, list[Json]] = {"uri": [name]} if type_ == "resource" else {}
    context = _member(_member(params, "context"), "arguments")
    for variable, value in ((cast("str", argument["name"]), argument["value"]), *context.items()):
        values = said.setdefault(variable, [])
        if value not in values:
            values.append(value)
    arguments = {variable: values[0] if len(values) == 1 else values for variable, values in said.items()}
    return Completion(type_, name, arguments)


def beside(params: JsonObject) -> JsonObject:
    """The parameters without what is decided on."""
    reference, argument, context = (_member(params, name) for name in ("ref", "argument", "context"))
    template = reference.get("type") == "ref/resource"
    return {
        **params,
        "ref": _without(reference, "uri") if template else reference,
        "argument": _without(argument, "name", "value"),
        "context": _without(context, "arguments"),
    }


def _member(parent: JsonObject, name: str) -> JsonObject:
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def _without(members: JsonObject, *names: str) -> JsonObject:
    return {name: value for name, value in members.items() if name not in names}
