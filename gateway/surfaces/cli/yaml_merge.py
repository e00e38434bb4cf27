"""Additions to the `upstreams` of a person's YAML file: its comments and its order stay. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from gateway.base import strict_yaml
from gateway.model.errors import ConfigurationError

_EMPTY: Final = re.compile(r"^upstreams:[ \t]*(?:\{[ \t]*\})?[ \t]*(?:#.*)?$", re.MULTILINE)
_KEY: Final = re.compile(r"^[^\s#-]", re.MULTILINE)


def add(text: str, name: str, additions: Mapping[str, str]) -> str:
    """Return the file with `additions` (name → its YAML, indented by two) at the end of its `upstreams`.

    `name` is the file's name, for people. Raise `ConfigurationError` for a file too free in its form.
    """
    before = _upstreams(text, name)
    head = _EMPTY.search(text)
    if head is None:
        raise _by_hand(name, "its `upstreams` do not begin on a line of their own")
    rest = text[head.end() :]
    following = _KEY.search(rest)
    end = head.end() + (following.start() if following else len(rest))
    body = text[head.end() : end].rstrip("\n")
    fresh = "".join(addition if addition.endswith("\n") else f"{addition}\n" for addition in additions.values())
    merged = f"{text[: head.start()]}upstreams:{body}\n{fresh}{text[end:]}"
    after = _upstreams(merged, name)
    if {
        key: value for key, value in after.items() if key not in additions
    } != before or not additions.keys() <= after.keys():
        raise _by_hand(name, "its indentation is not by two spaces")
    return merged


def names(text: str, name: str) -> frozenset[str]:
    """Return the names of the upstreams in a file. Raise `ConfigurationError` for an unreadable file."""
    return frozenset(_upstreams(text, name))


def _upstreams(text: str, name: str) -> dict[str, Any]:
    try:
        document = strict_yaml.value(text)
    except strict_yaml.UnreadableYaml as error:
        raise ConfigurationError(
            f"{name} cannot be read: line {error.line}: {error.problem}", "mend that line"
        ) from None
    found = cast("dict[str, Any]", document).get("upstreams") if isinstance(document, dict) else None
    if found is not None and not isinstance(found, dict):
        raise ConfigurationError(f"{name}: upstreams is not a mapping", "write it as a mapping of names")
    return cast("dict[str, Any]", found or {})


def _by_hand(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be added to: {problem}",
        "add the upstreams by hand: `opagate init --from FILE --output other.yaml` writes them",
    )
