"""Rules on approvers (`require_approvers`) in words, for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.model.decision import Obligation

OBLIGATION: Final = "require_approvers"
_PARTIES: Final = {"requester": "the calling agent", "user": "the user", "delegates": "the delegates"}
_SCOPES: Final = {
    "once": "this call",
    "destination": "its destinations for the task",
    "limit": "its limits for the task",
    "recurring": "its values for later tasks of the same kind",
}


def describe_obligations(obligations: Iterable[Obligation]) -> Iterator[str]:
    """Yield each obligation as a line, a rule on approvers in words."""
    for item in obligations:
        if item.id == OBLIGATION:
            yield f"may approve: {describe(item.properties)}"
        else:
            yield f"obligation {item.id} {json.dumps(item.properties)}"


def describe(rule: Mapping[str, Any]) -> str:
    """Return the properties of one `require_approvers` in words."""
    return ", ".join(_parts(rule))


def _parts(rule: Mapping[str, Any]) -> Iterator[str]:
    count, assurance, excluded = rule["count"], rule.get("assurance", "chat"), rule.get("exclude") or ()
    group = f" in the group {rule['group']}" if "group" in rule else ""
    yield f"1 person{group}" if count == 1 else f"{count} different persons{group}"
    if assurance != "chat":
        yield f"authenticated by {assurance}" if assurance == "passkey" else f"authenticated by {assurance} or stronger"
    if excluded:
        yield f"but not {_join([_PARTIES[party] for party in excluded], 'or')}"
    if "max_age_seconds" in rule:
        yield f"logged in within {duration(rule['max_age_seconds'])} before the answer"
    if "expires_seconds" in rule:
        yield f"within {duration(rule['expires_seconds'])}"
    if "scopes" in rule:
        yield f"for {_join([_SCOPES[scope] for scope in rule['scopes']], 'or')}"
    if "recur_seconds" in rule:
        yield f"which recur for {duration(rule['recur_seconds'])}"


def _join(names: list[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def duration(seconds: int) -> str:
    """Return a number of seconds in the largest whole unit."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
