"""The declaration of a child task inside its parent's. Pure: no I/O, no clock, no randomness.

Absent fields of a child are as in the parent. The parent has to cover the other fields, so a wider child is refused, and never cut in
silence. Flows of credentials and lasting effects need a name in the child: an absent one gives none.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.model import reasons
from gateway.model.task import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from gateway.history.tasks.contract import Declaration, Risk
    from gateway.model.decision import Reason
    from gateway.model.task import Task

_RANK: Final = {None: 0, "low": 1, "medium": 2, "high": 3}
_SEVERAL: Final = re.compile(r"""[\s\x00-\x1f@,;|<>"()\\%!、，；｜＠]""")
"""Letters by which a text may be more than one destination."""


def narrow(parent: Task, declared: Declaration) -> Declaration | Reason:
    """Return the declaration of a child with what its parent gives, or refuse with the wider field: `task/wider`."""
    try:
        return replace(
            declared,
            contract=_narrow_contract(parent.contract, declared.contract),
            risk=_narrow_risk(parent.risk, declared.risk),
            tenant=_narrow_place("tenant", parent.tenant, declared.tenant),
            environment=_narrow_place("environment", parent.environment, declared.environment),
        )
    except _Wider as wider:
        return reasons.TASK_WIDER.reason(field=str(wider))


class _Wider(Exception):
    """Carries the name of a field to `narrow`."""


def _narrow_risk(parent: Risk | None, child: Risk | None) -> Risk | None:
    """Return the risk of a child. A task of a higher risk asks for more, so a child may only raise it."""
    if child is None:
        return parent
    _require(_RANK[child] >= _RANK[parent], "risk")
    return child


def _narrow_place(field: str, parent: str | None, child: str | None) -> str | None:
    _require(parent is None or child in {None, parent}, field)
    return parent if child is None else child


def _narrow_contract(parent: Contract | None, child: Contract | None) -> Contract | None:
    if child is None:
        return None if parent is None else replace(parent, credential_flows=(), effects={})
    above = parent or Contract()
    _require(set(child.credential_flows) <= set(above.credential_flows), "contract.credential_flows")
    for effect, tools in child.effects.items():
        _require(_are_covered(tools, above.effects.get(effect, ()), _covers), f"contract.effects.{effect}")
    return Contract(
        audiences=_narrow_audiences(above.audiences, child.audiences),
        tools=_narrow_list("tools", above.tools, child.tools, _covers),
        destinations=_narrow_list("destinations", above.destinations, child.destinations, _covers_destination),
        credential_flows=child.credential_flows,
        limits={**above.limits, **{name: _narrow_limit(name, above, limit) for name, limit in child.limits.items()}},
        effects=child.effects,
    )


def _narrow_audiences(parent: frozenset[str] | None, child: frozenset[str] | None) -> frozenset[str] | None:
    if child is None:
        return parent
    _require(parent is None or child <= parent, "contract.audiences")
    return child


def _narrow_list(
    name: str, parent: tuple[str, ...] | None, child: tuple[str, ...] | None, covers: Callable[[str, str], bool]
) -> tuple[str, ...] | None:
    if child is None:
        return parent
    _require(parent is None or _are_covered(child, parent, covers), f"contract.{name}")
    return child


def _narrow_limit(name: str, above: Contract, limit: int) -> int:
    _require(limit <= above.limits.get(name, limit), f"contract.limits.{name}")
    return limit


def _require(is_inside: bool, field: str) -> None:  # noqa: FBT001 - the condition itself
    if not is_inside:
        raise _Wider(field)


def _are_covered(narrow: Iterable[str], wide: Collection[str], covers: Callable[[str, str], bool]) -> bool:
    return all(any(covers(pattern, each) for pattern in wide) for each in narrow)


def _covers(wide: str, narrow: str) -> bool:
    """Return whether a wide pattern has all texts of a narrow one, for `any_matches` in lib/patterns."""
    return wide == narrow or _find_rest(wide, narrow) is not None


def _covers_destination(wide: str, narrow: str) -> bool:
    """Return whether a wide pattern has all destinations of a narrow one, for `any_names` in lib/patterns."""
    if wide == narrow:
        return True
    rest = _find_rest(wide, narrow)
    return rest is not None and (wide.endswith("*") or _SEVERAL.search(rest) is None)


def _find_rest(wide: str, narrow: str) -> str | None:
    """Return the part of a narrow pattern at the star of a wide one; `None` if the first is not narrower."""
    parts = wide.split("*")
    if len(parts) != 2 or narrow.count("*") > 1:
        return None
    head, tail = parts
    before, _, after = narrow.partition("*")
    if "*" not in narrow:
        is_inside = narrow.startswith(head) and narrow.endswith(tail) and len(narrow) >= len(head) + len(tail)
        return narrow[len(head) : len(narrow) - len(tail)] if is_inside else None
    if not (before.startswith(head) and after.endswith(tail)):
        return None
    return before[len(head) :] + after[: len(after) - len(tail)]
