"""The least grants that cover observed calls, and their text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.surfaces.granting.narrowing import narrow
from gateway.surfaces.granting.observed import ObservedCall

_FIELD_OF: Final = {"tool": "tools", "resource": "resources", "prompt": "prompts"}
_RANKS: Final = ("public", "internal", "confidential", "restricted")
_MOST_USERS: Final = 5
_MOST_RESOURCES: Final = 5
_NAMES: Final = ("tools", "resources", "prompts")
_ROOT: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?://[^/]*)?)?")
"""The beginning of a URI without a folder."""
_UNWRITTEN: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters of JSON that a reader of YAML refuses or takes for the end of a line."""
_ORDER: Final = (
    "id",
    "description",
    "agents",
    "issuers",
    "users",
    *_NAMES,
    "effects",
    "sensitivity",
    "arguments",
    "when",
    "approval",
)


class Place(NamedTuple):
    """The part of a call that a grant of its own covers."""

    upstream: str
    agent: str
    issuer: str
    kind: str
    name: str
    effect: str
    is_approved: bool


class ProposedGrant(NamedTuple):
    """A grant with the number and the last time of its calls. `wider` are sentences on what it allows beyond these calls."""

    upstream: str
    fields: Mapping[str, Any]
    calls: int
    last: str
    wider: tuple[str, ...] = ()


def place_of(call: ObservedCall) -> Place:
    """Return the place of a call. All resources of an upstream have one place."""
    name = "" if call.kind == "resource" else call.name
    return Place(call.upstream, call.agent, call.issuer, call.kind, name, call.effect, call.is_approved)


def propose(calls: Iterable[ObservedCall], dropped: Collection[tuple[Place, str]] = ()) -> list[ProposedGrant]:
    """Return the grants for calls. `dropped` are conditions to leave out, by place and pointer."""
    places: dict[Place, list[ObservedCall]] = {}
    for call in calls:
        places.setdefault(place_of(call), []).append(call)
    merged: dict[str, ProposedGrant] = {}
    for place, found in sorted(places.items()):
        grant = _grant_of(place, found, {pointer for at, pointer in dropped if at == place})
        key = json.dumps([place.upstream, {name: grant.fields[name] for name in grant.fields if name not in _NAMES}])
        merged[key] = _merge(merged[key], grant) if key in merged else grant
    return list(_with_ids(merged.values()))


def _grant_of(place: Place, calls: Sequence[ObservedCall], dropped: Collection[str]) -> ProposedGrant:
    fields: dict[str, Any] = {"agents": [place.agent], "issuers": [place.issuer]}
    users = sorted({call.user for call in calls if call.user is not None})
    if users and len(users) <= _MOST_USERS and all(call.user is not None for call in calls):
        fields["users"] = users
    names = [place.name] if place.kind != "resource" else _cover(call.name for call in calls)
    fields[_FIELD_OF[place.kind]] = names
    fields["effects"] = [place.effect]
    fields["sensitivity"] = max((call.sensitivity for call in calls), key=_RANKS.index)
    if place.kind == "tool":
        fields |= _narrow_arguments(calls, dropped)
    if place.is_approved:
        fields["approval"] = True
    last = max(call.time for call in calls)
    return ProposedGrant(place.upstream, fields, len(calls), last, tuple(_find_wider(place, fields, users)))


def _find_wider(place: Place, fields: Mapping[str, Any], users: Collection[str]) -> Iterator[str]:
    """Yield what a grant allows beyond its calls."""
    if users and "users" not in fields:
        yield f"any user: {len(users)} were seen"
    if any("*" in name for name in fields.get("resources", ())):
        yield "all resources with the beginning of a pattern"
    if place.kind == "tool" and "arguments" not in fields:
        yield "any arguments"
    if place.is_approved:
        yield "one person approves: write {count: 2, group: NAME} if more have to"


def _narrow_arguments(calls: Sequence[ObservedCall], dropped: Collection[str]) -> dict[str, Any]:
    """Return the names of the arguments, and conditions on their values, as far as the journal has both."""
    names = [call.names for call in calls if call.names is not None]
    if len(names) < len(calls):
        return {}
    found: dict[str, Any] = {}
    if listed := sorted({name for each in names for name in each}):
        found["arguments"] = listed
    values = [call.values for call in calls if call.values is not None]
    if len(values) == len(calls):
        when = narrow(values, calls[-1].roles)
        if kept := {pointer: condition for pointer, condition in when.items() if pointer not in dropped}:
            found["when"] = kept
    return found


def _cover(uris: Iterable[str]) -> list[str]:
    """Return the URIs themselves, or a pattern for each folder with many of them. A host or scheme alone is no folder."""
    different = sorted(set(uris))
    folders: dict[str, list[str]] = {}
    for uri in different:
        folders.setdefault(uri.rpartition("/")[0], []).append(uri)
    found: list[str] = []
    for folder, inside in folders.items():
        is_many = len(inside) > _MOST_RESOURCES and _ROOT.fullmatch(folder) is None
        found += [f"{folder}/*"] if is_many else inside
    return found


def _merge(one: ProposedGrant, other: ProposedGrant) -> ProposedGrant:
    fields = dict(one.fields)
    for name in _NAMES:
        if name in other.fields:
            fields[name] = [*fields.get(name, ()), *other.fields[name]]
    return ProposedGrant(one.upstream, fields, one.calls + other.calls, max(one.last, other.last), one.wider)


def _with_ids(grants: Iterable[ProposedGrant]) -> Iterator[ProposedGrant]:
    """Yield the grants with an id for each, in the order of fields that people write."""
    used = dict[str, int]()
    for grant in grants:
        agent = re.sub(r"[^a-z0-9]+", "-", grant.fields["agents"][0].rpartition("/")[2].lower()).strip("-") or "agent"
        base = f"{agent}-{grant.fields['effects'][0]}-{grant.upstream}"
        used[base] = number = used.get(base, 0) + 1
        fields = {"id": base if number == 1 else f"{base}-{number}", **grant.fields}
        yield grant._replace(fields={name: fields[name] for name in _ORDER if name in fields})


def write_yaml(grants: Sequence[ProposedGrant], heading: Sequence[str]) -> str:
    """Return the grants as a file for `policy.grants`, each with a comment: the number and the last time of its calls."""
    lines = [*(f"# {line}" for line in heading), "upstreams:" if grants else "upstreams: {}"]
    for upstream in sorted({grant.upstream for grant in grants}):
        lines.append(f"  {json.dumps(upstream)}:")
        for grant in (each for each in grants if each.upstream == upstream):
            lines.append(f"    # {grant.calls} {'call' if grant.calls == 1 else 'calls'}, the last at {grant.last}")
            lines += [f"    # It allows more: {text}." for text in grant.wider]
            for number, (name, value) in enumerate(grant.fields.items()):
                lines.append(f"    {'- ' if number == 0 else '  '}{name}: {_write_value(value)}")
    return "\n".join(lines) + "\n"


def _write_value(value: Any) -> str:
    """Return a value in JSON that YAML reads alike: a text of a caller or server may have any character."""
    return _UNWRITTEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
