"""Labels of tools, from the configured name patterns. Pure. Labels come from configuration alone. The gateway never
uses an upstream's own `annotations`."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from gateway.base.json.walk import split_pointer
from gateway.model.target import (
    ASSUMABLE,
    ArgumentCondition,
    Confirmation,
    Effect,
    LabelCase,
    Labels,
    Role,
    Sensitivity,
)
from gateway.upstreams.catalogue.overlaps import FIELDS, is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config import MilderLabels, ToolLabels
    from gateway.model.wire import Json, JsonObject


def labels_for(name: str, patterns: Mapping[str, ToolLabels]) -> Labels:
    """Return the labels of the tool `name`. Patterns are shell-like and case-sensitive. All matching patterns are
    merged field by field and role by role, later patterns over earlier, and names without a wildcard over patterns. An
    unset label keeps the fail-closed default of `model.Labels`.
    """
    matching = [(key, labels) for key, labels in patterns.items() if fnmatchcase(name, key)]
    ordered = [pair for pair in matching if is_pattern(pair[0])] + [
        pair for pair in matching if not is_pattern(pair[0])
    ]
    fields: dict[str, Any] = {}
    roles: dict[str, Role] = {}
    cases: tuple[LabelCase, ...] = ()
    effect_key: tuple[str, ...] = ()
    confirms: Confirmation | None = None
    for _, labels in ordered:
        said = {field: value for field in FIELDS if (value := getattr(labels, field)) is not None}
        cases = tuple(_without(case, said, labels.roles) for case in cases)
        if labels.has_cases:
            cases = tuple(map(_case, labels.cases))
        roles.update(labels.roles)
        fields.update(said)
        effect_key = effect_key if labels.effect_key is None else labels.effect_key
        if labels.confirms is not None:
            confirms = Confirmation(labels.confirms.tool, labels.confirms.argument)
    if fields.get("sandbox"):
        fields.setdefault("egress", False)
    return Labels(
        **fields,
        roles=roles,
        assumed=frozenset(ASSUMABLE) - fields.keys(),
        cases=cases,
        effect_key=effect_key,
        confirms=confirms,
        confirmed_by=_find_confirming(name, patterns) if effect_key else None,
    )


def _find_confirming(name: str, patterns: Mapping[str, ToolLabels]) -> Confirmation | None:
    """Return the reading tool that confirms calls of the tool `name`; the last of several."""
    found = [
        Confirmation(tool, labels.confirms.argument)
        for tool, labels in patterns.items()
        if labels.confirms is not None and labels.confirms.tool == name and not is_pattern(tool)
    ]
    return found[-1] if found else None


def _case(milder: MilderLabels) -> LabelCase:
    return LabelCase(
        {pointer: ArgumentCondition(tests.tests(), tests.optional) for pointer, tests in milder.when.items()},
        None if milder.arguments is None else frozenset(milder.arguments),
        milder.effect,
        milder.egress,
        milder.sensitivity,
        milder.sandbox,
        milder.roles,
    )


def _without(case: LabelCase, said: Mapping[str, Any], roles: Mapping[str, Role]) -> LabelCase:
    """Return an earlier case without the labels of a later pattern for every call."""
    kept = {pointer: role for pointer, role in case.roles.items() if pointer not in roles}
    return replace(case, roles=kept, **dict.fromkeys(said))


def selects_records(tools: Iterable[ToolLabels]) -> bool:
    """Return whether an argument of a tool has the role `record`, or names a destination inside its system."""
    return any(
        _selects_record(part.roles.values(), egress=labels.egress)
        for labels in tools
        for part in (labels, *labels.cases)
    )


def _selects_record(roles: Iterable[Role], *, egress: bool | None) -> bool:
    return Role.RECORD in roles or (egress is False and Role.DESTINATION in roles)


def labels_of_resource(uri: str, resources: Mapping[str, Sensitivity], tools: Mapping[str, ToolLabels]) -> Labels:
    """Return the labels of a resource. The protocol only reads resources; the other labels fail closed. Without a
    configured sensitivity, a resource has the highest of any tool of its upstream. Of several patterns, the last
    counts."""
    said = [sensitivity for pattern, sensitivity in resources.items() if fnmatchcase(uri, pattern)]
    if said:
        return Labels(effect=Effect.READ, sensitivity=said[-1])
    read = [
        labels.sensitivity
        for labels in tools.values()
        if labels.sensitivity is not None and labels.effect in {None, Effect.READ}
    ]
    return Labels(effect=Effect.READ, sensitivity=highest([Labels().sensitivity, *read]))


def is_pinned_resource(uri: str, patterns: Iterable[str]) -> bool:
    """Return whether a resource instructs the model. The letter case of a URI makes no other resource."""
    folded = uri.casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


def highest(sensitivities: Iterable[Sensitivity]) -> Sensitivity:
    return max(sensitivities, key=list(Sensitivity).index)


def check(upstream: str, patterns: Mapping[str, ToolLabels], schemas: Mapping[str, Json]) -> tuple[str, ...]:
    """Return a sentence for each label of `upstream` without effect. `schemas` has the `inputSchema` of every listed
    tool, by name."""
    return tuple(_warnings(upstream, patterns, schemas))


def _warnings(upstream: str, patterns: Mapping[str, ToolLabels], schemas: Mapping[str, Json]) -> Iterator[str]:
    for pattern, labels in patterns.items():
        tools = [name for name in schemas if fnmatchcase(name, pattern)]
        if not tools:
            yield f"upstreams.{upstream}.tools.{pattern} matches no tool that {upstream} lists"
        for place, pointer in _pointers(labels):
            for tool in tools:
                if not has_pointer(schemas[tool], pointer):
                    yield (
                        f"upstreams.{upstream}.tools.{pattern}.{place}.{pointer}:"
                        f" the tool {tool!r} has no such argument in its inputSchema"
                    )


def _pointers(labels: ToolLabels) -> Iterator[tuple[str, str]]:
    """Yield each pointer of the labels, behind its place."""
    yield from (("roles", pointer) for pointer in labels.roles)
    yield from (("effect_key", pointer) for pointer in labels.effect_key or ())
    if labels.confirms is not None:
        yield "confirms", labels.confirms.argument
    for number, case in enumerate(labels.cases):
        yield from ((f"cases[{number}].when", pointer) for pointer in case.when)
        yield from ((f"cases[{number}].roles", pointer) for pointer in case.roles)


def has_pointer(schema: Json, pointer: str) -> bool:
    """Return whether arguments in `schema` can have a value at `pointer` (RFC 6901).

    The step `*` is every item or member, see docs/destinations.md. An open node (`{}`, `true`, an object without
    `properties`) may hold any value.
    """
    nodes = [schema]
    for step in split_pointer(pointer):
        nodes = [child for described in _together(schema, nodes) for child in _members_at(described, step)]
    return bool(nodes)


def _together(root: Json, nodes: list[Json]) -> Iterator[JsonObject]:
    """Yield the nodes and their combined or referenced nodes, each once: an upstream's schema may refer to itself."""
    waiting = list(nodes)
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is True or node == {}:
            yield _ANYTHING
        elif isinstance(node, dict) and id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting.extend(_branches(root, node))


def _members_at(schema: JsonObject, step: str) -> list[Json]:
    """Yield the schemas of the member `step` of the values of `schema` itself."""
    found = _own_children(schema, step)
    if not found and not schema.keys() & _DESCRIBES_MEMBERS:
        kind = schema.get("type")
        return [True] if kind is None or kind in ("object", "array") or isinstance(kind, list) else []
    return found


_ANYTHING: JsonObject = {"type": "object"}
_DESCRIBES_MEMBERS = frozenset(
    {
        "properties",
        "additionalProperties",
        "items",
        "prefixItems",
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
    }
)


def _own_children(schema: JsonObject, step: str) -> list[Json]:
    properties = schema.get("properties")
    if step == "*":
        return _all_children(schema, properties)
    if isinstance(properties, dict) and step in properties:
        return [properties[step]]
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict) or additional is True:
        return [additional]
    if step.isdigit():
        leading = schema.get("prefixItems")
        if isinstance(leading, list) and int(step) < len(leading):
            return [leading[int(step)]]
        if "items" in schema and schema["items"] is not False:
            return [schema["items"]]
    return []


def _all_children(schema: JsonObject, properties: Json) -> list[Json]:
    """Return the children for `*`: every member and every item."""
    members: list[Json] = list(properties.values()) if isinstance(properties, dict) else []
    leading = schema.get("prefixItems")
    members += leading if isinstance(leading, list) else []
    members += [schema[key] for key in ("additionalProperties", "items") if schema.get(key, False) is not False]
    return members


def _branches(root: Json, schema: JsonObject) -> Iterator[Json]:
    for keyword in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(keyword)
        if isinstance(branches, list):
            yield from branches
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        yield _resolve(root, reference)


def _resolve(root: Json, reference: str) -> Json:
    """Return the node of the same document named by `reference`, or `False` (describing nothing)."""
    node: Json = root
    for name in split_pointer(reference.removeprefix("#")):
        if not isinstance(node, dict):
            return False
        node = node.get(name, False)
    return node
