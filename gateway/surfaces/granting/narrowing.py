"""Conditions on arguments from observed values: a pattern of the values, or none. Pure.

Each condition is in the language of grants (docs/policy/grants.md). A text that was seen once, and has no pattern, is not one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from posixpath import commonpath, dirname
from typing import Any, Final, cast
from urllib.parse import urlsplit

Condition = dict[str, Any]

_MOST_VALUES: Final = 5
"""Different values of an argument that a condition lists."""
_LONGEST: Final = 200
_MARK: Final = re.compile(r"fp:(?:[a-z0-9-]{1,64}:)?[0-9a-f]{24}")
"""A credential, as the journal writes it."""
_MAIL: Final = re.compile(r"[A-Za-z0-9._+-]+@([A-Za-z0-9.-]+\.[A-Za-z]{2,})")
_PATH: Final = re.compile(r"/?[A-Za-z0-9_.@ -]+(?:/[A-Za-z0-9_.@ -]+)+")
_UNNARROWED: Final = frozenset({"content", "credential"})
"""Roles of arguments whose values differ in each call, or are secret."""


def narrow(calls: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> dict[str, Condition]:
    """Return a condition for each argument whose values show a pattern, by its pointer. `calls` are arguments by name."""
    found: dict[str, Condition] = {}
    for name in sorted({name for arguments in calls for name in arguments}):
        pointer = f"/{name.replace('~', '~0').replace('/', '~1')}"
        if roles.get(pointer) in _UNNARROWED:
            continue
        values = [arguments[name] for arguments in calls if name in arguments]
        condition = find_condition(values)
        if condition:
            found[pointer] = condition if len(values) == len(calls) else {**condition, "optional": True}
    return found


def find_condition(values: Sequence[Any]) -> Condition:
    """Return the condition that all values of an argument fulfil; an empty one without a pattern."""
    lists = [cast("list[Any]", value) for value in values if isinstance(value, list)]
    items = [item for value in values for item in (cast("list[Any]", value) if isinstance(value, list) else [value])]
    if not items or not all(map(_is_plain, items)) or not all(lists):
        return {}
    found = _list_values(items) or _bound_numbers(items)
    texts = [item for item in items if isinstance(item, str)]
    if not found and len(texts) == len(items):
        found = _name_domains(texts) or _name_hosts(texts) or _name_folder(texts)
    # One list says nothing of the length of others.
    return {**found, "max_items": max(map(len, lists))} if found and len(lists) > 1 else found


def _is_plain(item: object) -> bool:
    if isinstance(item, str):
        return len(item) <= _LONGEST and _MARK.search(item) is None
    return isinstance(item, bool | int | float)


def _list_values(items: Sequence[Any]) -> Condition:
    """Return the values if there are few of them, each used several times."""
    different: list[Any] = list({(type(item).__name__, item): item for item in items}.values())
    if len(items) < 2 or len(different) > _MOST_VALUES or len(items) < 2 * len(different):
        return {}
    return {"one_of": sorted(different, key=str)}


def _bound_numbers(items: Sequence[Any]) -> Condition:
    numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
    return {"min": min(numbers), "max": max(numbers)} if len(numbers) == len(items) and len(numbers) > 1 else {}


def _name_domains(texts: Sequence[str]) -> Condition:
    """Return the domains of mail addresses, if all texts are addresses in few domains."""
    matches = [_MAIL.fullmatch(text) for text in texts]
    domains = _sort_few(match[1] for match in matches if match is not None)
    if not all(matches) or not domains:
        return {}
    written = "|".join(domain.replace(".", r"\.") for domain in domains)
    return {"matches": rf"[A-Za-z0-9._+-]+@({written})" if len(domains) > 1 else rf"[A-Za-z0-9._+-]+@{written}"}


def _name_hosts(texts: Sequence[str]) -> Condition:
    """Return the hosts of URLs, if all texts are URLs of few hosts."""
    hosts = [_host_of(text) for text in texts]
    few = _sort_few(host for host in hosts if host is not None)
    return {"host_in": few} if few and all(hosts) else {}


def _host_of(text: str) -> str | None:
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in {"http", "https"} else None


def _name_folder(texts: Sequence[str]) -> Condition:
    """Return the folder that all paths are in, if the texts are paths and the folder is not the root."""
    if not all(_PATH.fullmatch(text) and ".." not in text for text in texts):
        return {}
    if len({text.startswith("/") for text in texts}) > 1:
        return {}
    folder = commonpath([dirname(text) for text in texts])
    return {"under": folder} if folder not in {"", "/"} else {}


def _sort_few(found: Iterable[str]) -> list[str]:
    """Return the different texts in order; none if there are too many."""
    different = sorted(set(found))
    return different if len(different) <= _MOST_VALUES else []
