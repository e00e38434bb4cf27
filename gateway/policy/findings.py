"""Findings of families, looked at after the decision came out malformed. Pure.

Most malformed decisions have one cause: a rule gives a finding without a code, so the decision has no reason to tell. The
refusal names that rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

SETS: Final = ("denials", "asks")
"""The rules of a family that the decision asks."""

PLACES: Final = ("data.gateway.denials", "data.overlay")
"""The packages below which families stand."""

CODE: Final = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)+")
"""The form of a code, as in `contract.Reason`."""


def find_malformed(values: Iterable[tuple[str, object]]) -> str | None:
    """Return the first rule that gives a finding without a code. `values` are paths of rules and their values."""
    for rule, value in values:
        if isinstance(value, list) and not all(map(_has_code, cast("list[object]", value))):
            return rule
    return None


def of_families(place: str, document: object) -> Iterable[tuple[str, object]]:
    """Return the rules of families below a place, and their values, from the document that OPA gives for the place."""
    if not isinstance(document, dict):
        return
    for family, rules in cast("dict[str, Any]", document).items():
        if isinstance(rules, Mapping):
            for name in SETS:
                yield f"{place}.{family}.{name}", cast("Mapping[str, object]", rules).get(name)


def _has_code(finding: object) -> bool:
    code = cast("dict[str, object]", finding).get("code") if isinstance(finding, dict) else None
    return isinstance(code, str) and CODE.fullmatch(code) is not None
