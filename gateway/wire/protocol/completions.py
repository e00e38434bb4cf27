"""Requests of `completion/complete`: the possible values of an argument of a prompt, or of a variable of a resource
template (2026-07-28/server/utilities/completion.mdx). Pure. A completion uses a prompt or a resource with the text
written so far, so policy decides as on the use. Its arguments are the variables by their own names, and for a resource
also the template, as `uri`."""

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
    """The subject of a completion, with all values of its variables. A variable given twice, in `argument` and in
    `context`, becomes a list of both, since servers differ in their choice."""

    type: Literal["prompt", "resource"]
    name: str
    arguments: JsonObject


def fault(params: JsonObject) -> str | None:
    """Return the fault of the parameters, `None` without a fault."""
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


def read_completion(params: JsonObject) -> Completion:
    """Return the completion of parameters without a fault."""
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
    """Return the parameters beside the decided arguments."""
    reference, argument, context = (_member(params, name) for name in ("ref", "argument", "context"))
    template = reference.get("type") == "ref/resource"
    return {
        **params,
        "ref": _without(reference, "uri") if template else reference,
        "argument": _without(argument, "name", "value"),
        "context": _without(context, "arguments"),
    }


def find_unknown(params: JsonObject) -> JsonObject:
    """Return the parameters without the members that the protocol defines and policy sees."""
    found = {name: value for name, value in params.items() if name not in _DEFINED}
    for name, defined in _DEFINED.items():
        if rest := _without(_member(params, name), *defined):
            found[name] = rest
    return found


_DEFINED: Final = {"ref": ("type", "name", "uri"), "argument": ("name", "value"), "context": ("arguments",)}


def _member(parent: JsonObject, name: str) -> JsonObject:
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def _without(members: JsonObject, *names: str) -> JsonObject:
    return {name: value for name, value in members.items() if name not in names}
