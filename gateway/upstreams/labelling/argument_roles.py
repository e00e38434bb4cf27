"""The role of each argument of a tool, from the names, formats and types in its input schema. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.model.target import Role
from gateway.model.wire import Json, JsonObject
from gateway.upstreams.labelling.words import ROLES, phrases_of, word_list, words_of

_DEPTH: Final = 4
_RECEIVERS: Final = {
    name: word_list("roles", "receivers", name) for name in ("names", "kept", "goods", "people", "sellers", "switches")
} | {"prices": word_list("roles", "prices")}
_REACHING_WORDS: Final = word_list("roles", "reaching", "words")
_REACHING_FORMATS: Final = word_list("roles", "reaching", "formats")
_FORMATS: Final = {
    "email": Role.DESTINATION,
    "idn-email": Role.DESTINATION,
    "password": Role.CREDENTIAL,
} | dict.fromkeys(_REACHING_FORMATS, Role.DESTINATION)
_NO_TEXT: Final = frozenset({"number", "integer", "boolean"})
_IDS: Final = frozenset({"id", "ids"})
_RECORDS: Final = word_list("records", "arguments")
_OPEN_NAMES: Final = word_list("records", "open")
_STARTS: Final = word_list("egress", "starts")
_ENDS: Final = word_list("egress", "ends")
_MEMBERS: Final = sorted(word_list("records", "members"))


class ToolUse(NamedTuple):
    """Properties of a tool that give its arguments their roles.

    `commits`: the tool commits money or people, so arguments with an id are records. `sends`: the tool reaches somebody.
    `notes`: the tool notes down meetings with people. `asides`: all tools of the server take these arguments.
    """

    reads: bool = False
    destroys: bool = False
    commits: bool = False
    pays: bool = False
    sends: bool = False
    notes: bool = False
    asides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ArgumentRole:
    """A proposed role with its reason. `reaches`: even a read reaches the place, as by a URL. `gets_data`: data goes there."""

    role: Role
    because: str
    reaches: bool = False
    gets_data: bool = False


def propose_roles(schema: Json, use: ToolUse) -> Mapping[str, ArgumentRole]:
    """Return the role of each argument by its JSON pointer."""
    if not isinstance(schema, dict):
        return {}
    found = _without_prices(dict(_members(schema, "", use, _DEPTH)))
    if use.sends and not any(one.role is Role.DESTINATION for one in found.values()):
        return {pointer: _as_receiver(pointer, one) for pointer, one in found.items()}
    return found


def _without_prices(found: Mapping[str, ArgumentRole]) -> Mapping[str, ArgumentRole]:
    """Return the roles with one amount where prices stand beside it: a price follows from the market."""
    amounts = [pointer for pointer, one in found.items() if one.role is Role.AMOUNT]
    prices = [pointer for pointer in amounts if not _RECEIVERS["prices"].isdisjoint(words_of(pointer))]
    if len(prices) == len(amounts):
        return found
    return {**found, **dict.fromkeys(prices, ArgumentRole(Role.SELECTOR, "a price beside an amount follows from it"))}


def takes_text(schema: Json) -> bool:
    """Return whether an argument can hold a text of the caller: no number, switch, or one of a few values.

    A schema that tells no arguments may take any.
    """
    members = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(members, dict):
        return True
    shapes = [_shape(described) for described in members.values()]
    return any(not _kinds(shape) or not _kinds(shape) <= _NO_TEXT for shape in shapes if not _has_few_values(shape))


def _members(schema: JsonObject, above: str, use: ToolUse, depth: int) -> Iterator[tuple[str, ArgumentRole]]:
    properties = schema.get("properties")
    members = properties if isinstance(properties, dict) else {}
    has_both_ends = not (use.commits or use.sends) and not _STARTS.isdisjoint(members)
    for name, described in members.items():
        shape = _shape(described)
        pointer = f"{above}/{name.replace('~', '~0').replace('/', '~1')}"
        found = _role_of(name, shape, use)
        if has_both_ends and name in _ENDS:
            found = ArgumentRole(Role.SELECTOR, f"`{name}` is one of two ends inside the system")
        if not above or found.role not in {Role.SELECTOR, Role.CONTENT}:
            yield pointer, found
        inner, step = _inner(shape)
        if depth and inner.get("properties"):
            yield from _members(inner, f"{pointer}{step}", use, depth - 1)
        elif _is_open(name, shape, use):
            because = f"`{name}` is an open argument, and its member may name a receiver"
            yield from ((f"{pointer}/{member}", ArgumentRole(Role.RECORD, because)) for member in _MEMBERS)


def _shape(described: Json) -> JsonObject:
    """Return the schema of a value. Of several alternatives, the first beside null counts."""
    shape = described if isinstance(described, dict) else {}
    for key in ("anyOf", "oneOf"):
        branches = shape.get(key)
        for branch in branches if isinstance(branches, list) else ():
            if isinstance(branch, dict) and branch.get("type") != "null":
                return {**shape, **branch}
    return shape


def _kinds(shape: JsonObject) -> frozenset[str]:
    """Return the types that a value may have beside null; empty for any."""
    kind = shape.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return frozenset(one for one in kinds if isinstance(one, str) and one != "null")


def _has_few_values(shape: JsonObject) -> bool:
    return isinstance(shape.get("enum"), list)


def _inner(shape: JsonObject) -> tuple[JsonObject, str]:
    """Return the schema with the members of a value, and the step of a pointer that leads to it."""
    items = shape.get("items")
    return (_shape(items), "/*") if isinstance(items, dict) else (shape, "")


def _is_open(name: str, shape: JsonObject, use: ToolUse) -> bool:
    """Return whether an argument takes arguments for something else: an object or a text of JSON without a schema."""
    is_free = not shape.get("properties") and _kinds(shape) <= {"string", "object"}
    return not use.reads and is_free and name.lower() in _OPEN_NAMES


def _role_of(name: str, shape: JsonObject, use: ToolUse) -> ArgumentRole:
    inner, _ = _inner(shape)
    if _has_few_values(shape) or _has_few_values(inner) or _kinds(shape) == frozenset({"boolean"}):
        return _choice(name)
    found = _by_format(name, shape, inner) or _by_word(name, use, is_text=_is_text(shape, inner))
    because = _why_no_more(name, found, shape, use)
    return ArgumentRole(Role.SELECTOR, because) if because else found


def _choice(name: str) -> ArgumentRole:
    """Return the role of an argument with a few values. A switch may turn another argument into an address."""
    words = frozenset(words_of(name))
    word = min(_REACHING_WORDS & words, default=None)
    if word is not None and _RECEIVERS["switches"] & words:
        return ArgumentRole(Role.SELECTOR, f"`{name}` makes another argument the address of a {word}", reaches=True)
    return ArgumentRole(Role.SELECTOR, f"`{name}` is one of a few values")


def _why_no_more(name: str, found: ArgumentRole, shape: JsonObject, use: ToolUse) -> str:
    """Return why an argument selects something and is no more, whatever its words say; empty if they count."""
    sends_nothing = use.reads or use.destroys or use.notes or name in use.asides
    if found.role is Role.DESTINATION and _kinds(shape) and _kinds(shape) <= _NO_TEXT:
        return f"`{name}` is a number"
    if found.role is Role.DESTINATION and not found.reaches and sends_nothing:
        return f"the tool sends nothing to `{name}`"
    if use.reads and found.role in {Role.AMOUNT, Role.CONTENT}:
        return f"a read is told `{name}`"
    if found.role is Role.AMOUNT and not use.commits:
        return f"`{name}` is an amount, and nothing is committed"
    return ""


def _by_format(name: str, *shapes: JsonObject) -> ArgumentRole | None:
    for shape in shapes:
        kind = shape.get("format")
        if isinstance(kind, str) and kind in _FORMATS:
            role, reaches = _FORMATS[kind], kind in _REACHING_FORMATS
            because = f"`{name}` has the format {kind}"
            return ArgumentRole(role, because, reaches, gets_data=role is Role.DESTINATION)
    return None


def _is_text(shape: JsonObject, inner: JsonObject) -> bool:
    """Return whether a value is a text, or a list of texts, as far as its schema says."""
    return _kinds(inner) <= {"string"} and not inner.get("properties") and _kinds(shape) <= {"string", "array"}


def _by_word(name: str, use: ToolUse, *, is_text: bool) -> ArgumentRole:
    words = words_of(name)
    phrases = phrases_of(words)
    is_id = not _IDS.isdisjoint(words)
    if is_text and name.lower() in _RECEIVERS["names"]:
        return ArgumentRole(Role.DESTINATION, f"`{name}` names a receiver", gets_data=True)
    if use.pays and (seller := min(_RECEIVERS["sellers"].intersection(words), default=None)):
        return ArgumentRole(Role.DESTINATION, f"a {seller} is paid", gets_data=True)
    for role, known in ROLES.items():
        fitting = known & phrases - (_RECEIVERS["kept"] if is_id and role is Role.DESTINATION else frozenset())
        if not fitting:
            continue
        if use.commits and is_id and role not in {Role.CREDENTIAL, Role.DESTINATION}:
            break
        because = f"the name `{name}` has the word `{min(fitting)}`"
        reaches = role is Role.DESTINATION and bool(_REACHING_WORDS & fitting)
        gets_data = role is Role.DESTINATION and not fitting <= _RECEIVERS["goods"]
        return ArgumentRole(role, because, reaches, gets_data)
    if use.commits and _RECORDS.intersection(words):
        return ArgumentRole(Role.RECORD, f"`{name}` selects a record of a tool that commits")
    return ArgumentRole(Role.SELECTOR, f"no word of `{name}` says more")


def _as_receiver(pointer: str, found: ArgumentRole) -> ArgumentRole:
    """Return the role of an argument of a tool that sends, where nothing else names a receiver."""
    if found.role not in {Role.SELECTOR, Role.RECORD} or _RECEIVERS["people"].isdisjoint(words_of(pointer)):
        return found
    return ArgumentRole(Role.DESTINATION, f"the tool sends, and `{pointer}` names a person", gets_data=True)
