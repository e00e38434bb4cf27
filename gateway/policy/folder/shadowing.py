"""The data files of a policy beside its rules. Pure: it reads paths of a plan, and the data files.

Data of an operator change without the rules, so a gateway looks at them at each load:

- Data at the path of a rule, or below it, would never be read, or would stand in its place. OPA refuses such a policy.
- A value that is no mapping above a rule leaves no place for the rule.
- Data that a rule reads by name and no file gives have no value, so a denial that reads them never holds.

A grants file has `upstreams` at its top and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from gateway.model.errors import PolicyBroken
from gateway.policy.folder.data_files import nearest

Path: TypeAlias = tuple[str, ...]
"""A path below `data`, such as `("gateway", "grants")`."""
_GRANTS: Final = ("gateway", "grants")
_GRANTS_KEYS: Final = frozenset({"upstreams"})
_OPEN: Final = (("gateway", "grants", "upstreams"), ("gateway", "grants", "index"))
"""The places with keys of the operator's own, and of the gateway's index."""
_SLOT: Final = "gateway/overlay/overlay.rego"
"""The module that asks each family for each of its rules, also for rules that it lacks."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """One data file: its name for people, the path its value is put at, and its value."""

    name: str
    at: tuple[str, ...]
    value: Mapping[str, Any]


def require(rules: Iterable[Path], reads: Mapping[Path, str], sources: Iterable[DataSource], data: object) -> None:
    """Raise `PolicyBroken` for data in the place of a rule, and for data that are read and missing.

    `reads` are the data that rules read by name, with the place of a rule that does. `data` are the sources, merged.
    """
    known = sorted({path for path in rules if path})
    for source in sources:
        _require_grants(source, known)
        for rule in known:
            _require_apart(source, rule)
    packages = {path[:end] for path in known for end in range(1, len(path))}
    for path, place in reads.items():
        if not place.startswith(_SLOT):
            _require_present(path, place, packages, data)


def _require_grants(source: DataSource, rules: Iterable[Path]) -> None:
    for key in source.value if source.at == _GRANTS else ():
        if key not in _GRANTS_KEYS and (*_GRANTS, key) not in rules:
            raise PolicyBroken(
                f"{source.name}: {key!r} does not belong in a grants file{nearest(key, _GRANTS_KEYS)}",
                "write `upstreams` at the top, and all grants below it",
            )


def _require_apart(source: DataSource, rule: Path) -> None:
    conflict = _conflict(source, rule)
    if conflict == rule:
        raise PolicyBroken(
            f"{source.name}: it gives {_show_path(rule)}, and so does a rule",
            "remove it from the data file, or give it another name: data may not take the place of a rule",
        )
    if conflict is not None:
        raise PolicyBroken(
            f"{source.name}: {_show_path(conflict)} is no mapping, and the rule {_show_path(rule)} stands below it",
            "remove it from the data file, or make it a mapping",
        )


def _conflict(source: DataSource, rule: Path) -> Path | None:
    """Return the path where data replace a rule: the path of the rule, or a path above with a value that is no mapping."""
    shared = min(len(source.at), len(rule))
    if source.at[:shared] != rule[:shared]:
        return None
    value: object = source.value
    for depth in range(len(source.at), len(rule)):
        if not isinstance(value, dict):
            return rule[:depth]
        mapping = cast("dict[str, object]", value)
        if rule[depth] not in mapping:
            return None
        value = mapping[rule[depth]]
    return rule


def _require_present(path: Path, read_at: str, packages: Collection[Path], data: object) -> None:
    if any(path[: len(place)] == place for place in _OPEN):
        return
    value: object = data
    for depth, step in enumerate(path):
        if not isinstance(value, dict):
            return  # a rule may look at the kind of a value
        mapping, here = cast("dict[str, object]", value), path[: depth + 1]
        if step not in mapping and here not in packages:
            known = {*mapping, *(package[depth] for package in packages if package[:-1] == here[:-1])}
            raise PolicyBroken(
                f"{read_at}: there is no `{_show_path(here)}`: no rule and no data file gives it{nearest(step, known)}",
                "mend its name, or give it in a data file",
            )
        value = mapping.get(step, {})


def _show_path(path: Path) -> str:
    return ".".join(("data", *path))
