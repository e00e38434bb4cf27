"""Lines of YAML to make a question unnecessary. Pure.

The desk has no "always". The owner of a file turns a recurring question into a grant, a directory entry or a contract.
A suggestion repeats names of the configuration and of listed tools, if these are plain. It has no text of a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.model.reasons import policy_codes

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Question, ShownReason

_MOST: Final = 8
_PLAIN: Final = re.compile(r"[\w.:/@+-]{1,128}", re.ASCII)
"""Names that mean the same to a person, in YAML and as a pattern."""


class Suggestion(NamedTuple):
    """Lines of YAML, with the name of their file. `advice` tells what its owner has to fill in."""

    code: str
    where: str
    yaml: str
    advice: str = ""


def suggest_settings(question: Question, description: Mapping[str, Any]) -> list[Suggestion]:
    """Return settings against the reasons of a question, as far as there are any."""
    found = [one for reason in question.reasons for one in _settings(question, reason, description)]
    return list(dict.fromkeys(found))[:_MOST]


def _settings(question: Question, reason: ShownReason, description: Mapping[str, Any]) -> Iterator[Suggestion]:
    target = question.target if question.sort == "tool" and _is_plain(question.target) else None
    if reason.code == policy_codes.APPROVAL_GRANT:
        named = f"for {target}" if target is not None else "for this call"
        yield Suggestion(reason.code, f"the grant {named} in the grants file", "approval: false")
    elif reason.code == policy_codes.APPROVAL_EFFECT and target is not None:
        labels: Mapping[str, Any] = description.get("labels") or {"effect": "destructive"}
        effect = labels["effect"]
        yield Suggestion(reason.code, "the contract of an approved task", f"effects: {{{effect}: [{_quote(target)}]}}")
    elif reason.code == policy_codes.UNGROUNDED:
        yield Suggestion(reason.code, "gateway.yaml", "directory: {entries: []}", _FILL_IN)
    elif reason.code == policy_codes.CREDENTIAL_PRESENTED:
        for credential in filter(_has_source, description.get("credentials") or ()):
            source, place = str(credential["audience"]), str(description["audience"])
            if source != place and _is_plain(source) and _is_plain(place):
                flow = f"{{from: {_quote(source)}, to: {_quote(place)}}}"
                yield Suggestion(reason.code, "the contract of the task", f"credential_flows: [{flow}]")
    for name, number in reason.limits.items():
        owner, _, own_name = name.rpartition(".")
        if owner in _PARTIES and _is_plain(own_name):
            yield Suggestion(reason.code, "gateway.yaml", f"limits: {{{owner}: {{{own_name}: {{soft: {number}}}}}}}")
        elif _is_plain(own_name):
            place = f"the contract of the task {owner}" if owner and _is_plain(owner) else "the contract of the task"
            yield Suggestion(reason.code, place, f"limits: {{{own_name}: {number}}}")


_PARTIES: Final = {"user", "agent"}
"""Owners of limits over tasks. Another owner is a task above."""
_FILL_IN: Final = (
    "Write the value there yourself, from a source that you trust. The value in question may be of an attacker, so no line"
    " to copy has it."
)


def _has_source(credential: Mapping[str, Any]) -> bool:
    return credential["audience"] is not None


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None


def _quote(name: str) -> str:
    return f"'{name}'"
