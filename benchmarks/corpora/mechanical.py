"""A second labelling, from names, descriptions and schemas of tools alone: the labels of an operator without time.

Every upstream is untrusted. The words are in mechanical.yaml; none of them was chosen by what an attack does. Pure but for
`WORDS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.corpora.installed import Recording
from benchmarks.corpora.traces import Catalogue

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def _flat(words: Iterable[str | list[str]]) -> frozenset[str]:
    return frozenset(word for item in words for word in ([item] if isinstance(item, str) else item))


def _read_words() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("mechanical.yaml").read_text(encoding="utf-8"))
    flat = {name: _flat(read[name]) for name in ("egress", "confidential", "commits", "records")}
    return flat | {name: {key: _flat(words) for key, words in read[name].items()} for name in ("effects", "roles")}


WORDS: Final = _read_words()


def label_mechanically(tools: Catalogue, recordings: Iterable[Recording]) -> dict[str, Any]:
    """Return a catalogue with the same upstreams and tools, none trusted, and labels by words."""
    described: dict[str, Any] = {}
    for item in recordings:
        if item["kind"] == "suite":
            described |= item["tools"]
    return {
        upstream: {
            "audience": site["audience"],
            "trust": "untrusted",
            "tools": {tool: labels(tool, described[tool]) for tool in site["tools"]},
        }
        for upstream, site in tools.items()
    }


def labels(tool: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the labels of one tool: effect and egress by its name, roles by its arguments, sensitivity by both texts."""
    name, text = words_of(tool), {*words_of(tool), *words_of(described["description"])}
    effect = next((effect for word in name for effect, known in WORDS["effects"].items() if word in known), "write")
    commits = effect != "read" and bool(WORDS["commits"].intersection(name))
    roles = {f"/{argument}": role_of(argument, commits=commits) for argument in described["arguments"]}
    leaves = bool(WORDS["egress"].intersection(name)) or "destination" in roles.values()
    return {
        "effect": effect,
        "egress": leaves and (effect != "read" or "/url" in roles),
        "sensitivity": "confidential" if WORDS["confidential"] & text else "internal",
        "roles": roles,
    }


def role_of(argument: str, *, commits: bool = False) -> str:
    """Return the role of an argument by its name: `selector` if no list has a word of it.

    `commits`: the tool commits money or people, so that its selectors with an id are records.
    """
    found = {*words_of(argument)}
    selects = "record" if commits and WORDS["records"] & found else "selector"
    return next((role for role, known in WORDS["roles"].items() if known & found), selects)


def words_of(text: str) -> list[str]:
    """Return the words of a name or a text, in small letters."""
    return [word.lower() for word in _WORD.findall(text)]
