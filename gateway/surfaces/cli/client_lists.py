"""The list of MCP servers in a client's file, edited as text: comments, order and all other settings stay. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.importing import COMMENTS

_INDENT: Final = "  "
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_TABLE: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ListForm:
    """The form of a client's list: its language, the key of the list, and whether an entry names its transport."""

    language: Literal["json", "toml"]
    key: str
    has_type: bool = False


class Span(NamedTuple):
    """A member of a JSON object: its name, the start of the name, and the start and the end of the value."""

    name: str
    start: int
    value: int
    end: int


def read_list(text: str, form: ListForm, where: str) -> dict[str, Any]:
    """Return the entries of a list by name. Raises `ConfigurationError` for an unreadable file."""
    found = _read(text, form, where).get(form.key)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def change_list(text: str, form: ListForm, where: str, *, without: set[str], added: Mapping[str, str]) -> str:
    """Return a file whose list lacks some entries, and has others in their text. All else is as before.

    Raises `ConfigurationError` for a file that only its owner can edit.
    """
    before = _read(text, form, where)
    changed = text
    for name in without & read_list(text, form, where).keys():
        changed = _remove(changed, form, name, where)
    for name, entry in added.items():
        changed = _add_json(changed, form, name, entry) if form.language == "json" else _add_toml(changed, entry)
    expected = {name: entry for name, entry in read_list(text, form, where).items() if name not in without}
    after = _read(changed, form, where)
    kept = {name: entry for name, entry in after.get(form.key, {}).items() if name not in added}
    rest = ({key: value for key, value in each.items() if key != form.key} for each in (before, after))
    if kept != expected or next(rest) != next(rest) or not added.keys() <= after.get(form.key, {}).keys():
        raise _by_hand(where)
    return changed


def take_entry(text: str, form: ListForm, name: str) -> str:
    """Return the text of an entry, to add it to another file of the same form."""
    if form.language == "json":
        span = next(each for each in _list_members(text, form) if each.name == name)
        return text[span.value : span.end]
    return "".join(text[start:end] for start, end in _tables(text, form, name))


def render_entry(form: ListForm, name: str, words: list[str]) -> str:
    """Return the text of an entry that starts a program."""
    command, *arguments = words
    if form.language == "json":
        entry = {"type": "stdio"} if form.has_type else {}
        return json.dumps({**entry, "command": command, "args": arguments}, ensure_ascii=False)
    quoted = ", ".join(json.dumps(word, ensure_ascii=False) for word in arguments)
    return f"[{form.key}.{name}]\ncommand = {json.dumps(command, ensure_ascii=False)}\nargs = [{quoted}]\n"


def read_entry(form: ListForm, name: str, entry: str) -> object:
    """Return the value of an entry from its text."""
    return json.loads(entry) if form.language == "json" else tomllib.loads(entry)[form.key][name]


def _read(text: str, form: ListForm, where: str) -> dict[str, Any]:
    try:
        document: object = tomllib.loads(text) if form.language == "toml" else json.loads(_mask(text) or "{}")
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{where} cannot be read", "mend it, or name another file with --file") from None
    if not isinstance(document, dict) or not isinstance(cast("dict[str, Any]", document).get(form.key, {}), dict):
        raise _by_hand(where)
    return cast("dict[str, Any]", document)


def _by_hand(where: str) -> ConfigurationError:
    return ConfigurationError(
        f"{where} is too free in its form to be changed",
        "change its list of servers by hand; docs/clients.md shows how",
    )


def _remove(text: str, form: ListForm, name: str, where: str) -> str:
    if form.language == "json":
        return _remove_json(text, form, name)
    spans = list(_tables(text, form, name))
    if not spans:
        raise _by_hand(where)
    for start, end in reversed(spans):
        text = text[:start] + text[end:]
    return text


# --- JSON, with comments ---------------------------------------------------------------------------------


def _mask(text: str) -> str:
    """Return the text with spaces in the place of comments and of commas before an end. All places stay."""
    return COMMENTS.sub(lambda match: match[1] or re.sub(r"[^\r\n]", " ", match[0]), text).strip("\ufeff")


def _list_members(text: str, form: ListForm) -> list[Span]:
    masked = _mask(text)
    start = _find_list(masked, form)
    return [] if start is None else _members(masked, start)


def _find_list(masked: str, form: ListForm) -> int | None:
    """Return the place of the list. Of two members with one name, readers take the last."""
    root = masked.find("{")
    return next((each.value for each in reversed(_members(masked, root)) if each.name == form.key), None)


def _members(masked: str, start: int) -> list[Span]:
    """Return the members of the object at `start` of valid JSON."""
    decoder, found, place = json.JSONDecoder(), list[Span](), _skip(masked, start + 1)
    while masked[place] != "}":
        name, end = decoder.raw_decode(masked, place)
        value = _skip(masked, masked.index(":", end) + 1)
        _, after = decoder.raw_decode(masked, value)
        found.append(Span(name, place, value, after))
        place = _skip(masked, after)
        place = _skip(masked, place + 1) if masked[place] == "," else place
    return found


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def _remove_json(text: str, form: ListForm, name: str) -> str:
    """Cut an entry with one comma and the rest of its line."""
    masked, members = _mask(text), _list_members(text, form)
    index = max(index for index, each in enumerate(members) if each.name == name)
    span = members[index]
    comma = _skip(masked, span.end)
    if masked[comma] == ",":
        end = comma + 1
    else:
        end = span.end
        if index > 0:
            before = masked.index(",", members[index - 1].end)
            text = text[:before] + " " + text[before + 1 :]
    start = len(text[: span.start].rstrip(" \t"))
    return text[:start].removesuffix("\n").removesuffix("\r") + text[end:] if start else text[end:]


def _add_json(text: str, form: ListForm, name: str, entry: str) -> str:
    """Put an entry at the beginning of the list, which is made if it is missing."""
    masked = _mask(text)
    if not masked.strip():
        return f'{{\n{_INDENT}"{form.key}": {{\n{_INDENT * 2}{json.dumps(name)}: {entry}\n{_INDENT}}}\n}}\n'
    start = _find_list(masked, form)
    if start is None:
        return _insert(text, masked, masked.find("{"), f'"{form.key}": {{{json.dumps(name)}: {entry}}}', 1)
    return _insert(text, masked, start, f"{json.dumps(name)}: {entry}", 2)


def _insert(text: str, masked: str, start: int, member: str, depth: int) -> str:
    """Put a member behind the brace at `start`."""
    members = _members(masked, start)
    newline = "\r\n" if "\r\n" in text else "\n"
    if members:
        line = text[: members[0].start].rpartition("\n")[2]
        indent = line if not line.strip() else _INDENT * depth
        return f"{text[: start + 1]}{newline}{indent}{member},{text[start + 1 :]}"
    close = masked.index("}", start)
    return f"{text[: start + 1]}{newline}{_INDENT * depth}{member}{text[start + 1 : close].rstrip()}{newline}{_INDENT * (depth - 1)}{text[close:]}"


# --- TOML ------------------------------------------------------------------------------------------------


def _tables(text: str, form: ListForm, name: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the tables of an entry. Comments before the next table belong to the next one."""
    quoted = "|".join(re.escape(each) for each in (name, f'"{name}"', f"'{name}'"))
    header = re.compile(rf"^[ \t]*\[[ \t]*{form.key}[ \t]*\.[ \t]*(?:{quoted})[ \t]*[.\]]", re.MULTILINE)
    starts = [match.start() for match in _TABLE.finditer(text)]
    for start in (match.start() for match in header.finditer(text)):
        end = min((each for each in starts if each > start), default=len(text))
        lines = text[start:end].splitlines(keepends=True)
        while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")) and end < len(text):
            lines.pop()
        yield start, start + len("".join(lines))


def _add_toml(text: str, entry: str) -> str:
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{gap}{entry}"
