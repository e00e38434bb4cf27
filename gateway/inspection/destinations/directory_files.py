"""Reads the files of a directory: exports of people and accounts as CSV, LDIF (RFC 2849) or SCIM (RFC 7643).

What a file says of a person beside addresses, accounts and names is left out, so that nothing else of it is kept.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from ldif import LDIFParser

from gateway.inspection.destinations.directory import Directory, DirectoryEntry, directory_of
from gateway.model.errors import ConfigurationError

MAX_BYTES: Final = 32 * 2**20
"""Of one file."""
MAX_ENTRIES: Final = 250_000
"""Of all files and the configuration."""

_ADDRESSES: Final = frozenset(
    [
        "account",
        "accountnumber",
        "channel",
        "domain",
        "email",
        "emailaddress",
        "host",
        "hostname",
        "iban",
        "login",
        "mail",
        "mobile",
        "phone",
        "phonenumber",
        "primaryemail",
        "proxyaddresses",
        "repo",
        "repository",
        "telephone",
        "telephonenumber",
        "uid",
        "url",
        "user",
        "userid",
        "username",
        "workemail",
    ]
)
"""Names of columns and attributes whose values are destinations, without case, spaces and marks."""
_NAMES: Final = frozenset(["cn", "commonname", "displayname", "fullname", "name"])


class _Parser(Protocol):
    """A parser of the library `ldif`, whose types are incomplete."""

    def parse(self) -> Iterator[tuple[str | None, dict[str, list[str | bytes]]]]: ...


def load(entries: Iterable[str], files: Iterable[Path]) -> Directory:
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
