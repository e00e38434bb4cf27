"""The operator's limits of tasks (`limits.task` in gateway.yaml), in the place of limits of the policy. Pure.

The numbers become data of the policy. So each engine has them, and the revision of the policy changes with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle
from gateway.policy.folder.problems import nearest
from gateway.policy.folder.shadowing import DataSource

if TYPE_CHECKING:
    from gateway.policy.folder.bundle import Bundle

_PLACE: Final = ("gateway", "settings")
_FIELD: Final = "task_limits"


class LimitChange(NamedTuple):
    """New numbers of one limit. `None` leaves a number as the policy has it."""

    name: str
    soft: int | None
    hard: int | None

    def numbers(self) -> dict[str, int]:
        """Return the given numbers, by their names in the policy."""
        return {field: number for field, number in (("soft", self.soft), ("hard", self.hard)) if number is not None}


def with_limits(policy: Bundle, changes: Sequence[LimitChange]) -> Bundle:
    """Return a policy with other numbers for limits of tasks. Raise `PolicyBroken` for a limit that the policy does not
    have, and for a soft limit that is not below its hard one."""
    if not changes:
        return policy
    sources = tuple(_change_source(source, changes) for source in policy.sources)
    data = bundle.merge_data(sources)
    in_force = _limits_in(data)
    for change in changes:
        _require(change, in_force)
    said = json.dumps({change.name: change.numbers() for change in changes}, sort_keys=True)
    revision = f"{policy.revision}+{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return replace(policy, data=json.dumps(data), sources=sources, revision=revision)


def _change_source(source: DataSource, changes: Sequence[LimitChange]) -> DataSource:
    """Return a data file. The file with the limits gets the new numbers."""
    given: object = source.value.get(_FIELD) if source.at == _PLACE else None
    if not isinstance(given, dict):
        return source
    limits = cast("dict[str, Any]", given)
    changed = {
        change.name: {**limits[change.name], **change.numbers()}
        for change in changes
        if isinstance(limits.get(change.name), dict)
    }
    return replace(source, value={**source.value, _FIELD: {**limits, **changed}})


def _limits_in(data: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = data
    for part in (*_PLACE, _FIELD):
        found = cast("Mapping[str, Any]", found).get(part) if isinstance(found, dict) else None
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _require(change: LimitChange, in_force: Mapping[str, Any]) -> None:
    place, limit = f"limits.task.{change.name}", in_force.get(change.name)
    if not isinstance(limit, dict):
        raise PolicyBroken(
            f"{place}: the policy has no such limit{nearest(change.name, in_force)}",
            "correct its name in gateway.yaml; docs/policy/history.md#limits has all limits",
        )
    numbers = cast("Mapping[str, Any]", limit)
    soft, hard = numbers.get("soft"), numbers.get("hard")
    if isinstance(soft, int | float) and isinstance(hard, int | float) and soft >= hard:
        raise PolicyBroken(
            f"{place}: soft {soft} is not below hard {hard}, so no person could ever be asked",
            "lower soft in gateway.yaml, or raise hard",
        )
