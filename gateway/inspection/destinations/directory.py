"""The people, accounts, hosts and repositories that an operator knows, from the configuration and from files.

An entry gives authority to a value, as the goal of a task does. A pattern is literal text with one `*`, in the form that
docs/destinations.md gives destinations: `*@corp.example`, `*.corp.example`, `acme/*`. Files are exports as CSV, LDIF (RFC
2849) or SCIM (RFC 7643); beside addresses, accounts and names nothing of them is kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

from ldif import LDIFParser

from gateway.inspection.destinations.find import listed
from gateway.inspection.destinations.normalise import Destination, fold_text
from gateway.inspection.word_lists import word_list
from gateway.inspection.words.words import parts_of
from gateway.model.errors import ConfigurationError

_LITERAL: Final = 3
"""Letters and digits that a pattern has beside its star: fewer would name half of the world."""
_ONE: Final = frozenset('@,;|<>"()\\%!、，；｜＠')
"""Marks that part destinations, or hide one: the star of a pattern with an end stands for none of them."""


class StarPattern(NamedTuple):
    """The text before the star, and the text after it."""

    head: str
    tail: str

    def matches(self, value: str) -> bool:
        """Return whether a destination follows the pattern, its two ends apart."""
        if len(value) < len(self.head) + len(self.tail):
            return False
        if not (value.startswith(self.head) and value.endswith(self.tail)):
            return False
        run = value[len(self.head) : len(value) - len(self.tail)]
        return not self.tail or not any(_may_part(mark, self.tail) for mark in run)


def _may_part(mark: str, tail: str) -> bool:
    """Return whether a mark may end one destination and begin another, before the text that a pattern ends with."""
    return mark in _ONE or mark.isspace() or not mark.isprintable() or (mark == "/" and "/" not in tail)


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """The entries of one deployment. `names` maps a destination to the names of its people. Compared by identity."""

    values: frozenset[str] = frozenset()
    patterns: tuple[StarPattern, ...] = ()
    names: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    parts: frozenset[bytes] = frozenset()
    """Parts of its words, without numbers and shorter parts: of those anybody could put any word together."""
    """Parts of the words of all entries and names."""

    def __len__(self) -> int:
        return len(self.values) + len(self.patterns)

    def knows(self, destination: Destination) -> bool:
        """Return whether a destination is an entry, or follows a pattern."""
        if destination.is_mixed:
            return False
        value = destination.value
        return value in self.values or any(pattern.matches(value) for pattern in self.patterns)

    def knows_name(self, name: str, of: Destination) -> bool:
        """Return whether a known destination is that of a person or a thing with this name."""
        return fold_text(name) in self.names.get(of.value, ())


EMPTY: Final = Directory()


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A destination in the spelling of its source, and the names of its people."""

    text: str
    names: tuple[str, ...] = ()


def directory_of(entries: Iterable[DirectoryEntry]) -> Directory:
    """Return the directory of some entries. Raises `ValueError`, which names the entry, for a pattern that says too little."""
    values: set[str] = set()
    patterns: set[StarPattern] = set()
    names: dict[str, set[str]] = {}
    for entry in entries:
        if "*" in entry.text:
            patterns.add(_pattern(entry.text))
            continue
        found = [destination.value for destination in listed(entry.text)]
        values.update(found)
        for value in found:
            if named := {fold_text(name) for name in (*entry.names, *_display_name(entry.text)) if name.strip()}:
                names.setdefault(value, set()).update(named)
    ends = [end for pattern in patterns for end in pattern]
    written = [*values, *ends, *(name for given in names.values() for name in given)]
    return Directory(
        frozenset(values),
        tuple(sorted(patterns)),
        {value: frozenset(given) for value, given in names.items()},
        frozenset(part for part in parts_of("\n".join(written)) if len(part) >= _LITERAL and not part.isdigit()),
    )


def _pattern(text: str) -> StarPattern:
    head, star, tail = text.strip().partition("*")
    if not star or "*" in tail:
        raise ValueError(f"{text!r} has more than one `*`; write a pattern with one, like *@corp.example")
    if sum(mark.isalnum() for mark in head + tail) < _LITERAL:
        raise ValueError(f"{text!r} would name nearly everything; write more of it, like *@corp.example")
    if head[-1:].isalnum() or tail[:1].isalnum():
        raise ValueError(
            f"{text!r} would name strangers too: write a mark beside the star, like *@corp.example or acme/*"
        )
    # Paths keep their case; all other destinations are in lower case.
    return StarPattern(head, tail) if "/" in text else StarPattern(head.lower(), tail.lower())


def _display_name(text: str) -> tuple[str, ...]:
    """Return the name in `Name <address>`."""
    name, angle, _ = text.partition("<")
    return (name.strip().strip('"'),) if angle else ()


# --- files -------------------------------------------------------------------------------------------

MAX_BYTES: Final = 32 * 2**20
"""Of one file."""
MAX_ENTRIES: Final = 250_000
"""Of all files and the configuration."""

_ADDRESSES: Final = word_list("address_columns")
"""Names of columns and attributes whose values are destinations, without case, spaces and marks."""
_NAMES: Final = frozenset(["cn", "commonname", "displayname", "fullname", "name"])


class _Parser(Protocol):
    """A parser of the library `ldif`, whose types are incomplete."""

    def parse(self) -> Iterator[tuple[str | None, dict[str, list[str | bytes]]]]: ...


def load_directory(entries: Iterable[str], files: Iterable[Path]) -> Directory:
    """Return the directory of the configuration's entries and files.

    Raises `ConfigurationError` for a file that cannot be read, and for a pattern that says too little.
    """
    found = [DirectoryEntry(text) for text in entries]
    try:
        for file in files:
            found += _read(file)
            if len(found) > MAX_ENTRIES:
                raise ConfigurationError(
                    f"{file}: with it the directory has more than {MAX_ENTRIES:,} entries",
                    "write a pattern for a whole domain, such as *@corp.example, in place of its people",
                )
        return directory_of(found)
    except ValueError as error:
        raise ConfigurationError(f"directory: {error}") from None


def _read(file: Path) -> list[DirectoryEntry]:
    readers = {".csv": _csv, ".ldif": _ldif, ".json": _scim}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"{file} is of no known kind", "name the export .csv, .ldif or .json (SCIM)")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError(
            f"{file} is larger than {MAX_BYTES // 2**20} MiB", "part the export into several files"
        )
    try:
        found = list(reader(data))
    except (ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    if not found:
        raise ConfigurationError(
            f"{file} names no people, accounts or hosts",
            f"it needs a column or an attribute such as {', '.join(sorted(_ADDRESSES)[:6])}; see docs/policy/directory.md",
        )
    return found


def _csv(data: bytes) -> Iterator[DirectoryEntry]:
    """Read a table whose first line names its columns."""
    text = data.decode("utf-8-sig")
    try:
        dialect: type[csv.Dialect] | str = csv.Sniffer().sniff(text.partition("\n")[0] or ",", delimiters=",;\t|")
    except csv.Error:
        dialect = "excel"
    for row in csv.DictReader(io.StringIO(text, newline=""), dialect=dialect, strict=True):
        yield from _entries({name: [value] for name, value in row.items() if isinstance(value, str)})


def _ldif(data: bytes) -> Iterator[DirectoryEntry]:
    parser = cast("_Parser", LDIFParser(io.BytesIO(data), strict=False))
    for _, texts in parser.parse():
        yield from _entries(
            {
                name: [value.removeprefix("SMTP:").removeprefix("smtp:") for value in values if isinstance(value, str)]
                for name, values in texts.items()
            }
        )


def _scim(data: bytes) -> Iterator[DirectoryEntry]:
    """Read a list of users, or a response with `Resources`."""
    document: object = json.loads(data)
    users = cast("dict[str, object]", document).get("Resources") if isinstance(document, dict) else document
    if not isinstance(users, list) or not all(isinstance(user, dict) for user in cast("list[object]", users)):
        raise ValueError("it is no list of SCIM users")
    for user in cast("list[dict[str, object]]", users):
        name = user.get("name")
        given = cast("dict[str, object]", name if isinstance(name, dict) else {})
        yield from _entries(
            {
                "userName": _texts(user.get("userName")),
                "mail": _values(user.get("emails")),
                "phone": _values(user.get("phoneNumbers")),
                "displayName": [*_texts(user.get("displayName")), *_texts(given.get("formatted"))],
            }
        )


def _values(items: object) -> list[str]:
    """Return the values of a multi-valued attribute (RFC 7643 section 2.4)."""
    listed = cast("list[object]", items if isinstance(items, list) else [])
    members = [cast("dict[str, object]", item) for item in listed if isinstance(item, dict)]
    return [text for member in members for text in _texts(member.get("value"))]


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else []


def _entries(attributes: Mapping[str, Iterable[str]]) -> Iterator[DirectoryEntry]:
    """Yield the addresses and accounts of one person or thing, each with the person's names."""
    plain = {_plain(name): [text.strip() for text in values] for name, values in attributes.items()}
    names = tuple(text for name in _NAMES for text in plain.get(name, ()) if text)
    for name in _ADDRESSES & plain.keys():
        for text in plain[name]:
            if text and "*" not in text:
                yield DirectoryEntry(text, names)


def _plain(name: str) -> str:
    """Return the name of a column or attribute without case, marks, and options such as `;lang-en`."""
    return "".join(mark for mark in name.partition(";")[0].partition("[")[0].lower() if mark.isalnum())
