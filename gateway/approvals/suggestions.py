"""Lines of YAML to make a question unnecessary. Pure.

The desk has no "always". The owner of a file turns a recurring question into a grant, a directory entry or a contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.json.pointer import find_value, split_pointer
from gateway.reasons import policy_codes

if TYPE_CHECKING:
    from gateway.approvals.model import Question, ShownReason

_MOST: Final = 8


class Suggestion(NamedTuple):
    """Lines of YAML, with the name of their file."""

    code: str
    where: str
    yaml: str


def suggest_settings(question: Question, description: Mapping[str, Any]) -> list[Suggestion]:
    """Return settings against the reasons of a question, as far as there are any."""
    found = [one for reason in question.reasons for one in _settings(question, reason, description)]
    return list(dict.fromkeys(found))[:_MOST]


def _settings(question: Question, reason: ShownReason, description: Mapping[str, Any]) -> Iterator[Suggestion]:
    upstream, _, tool = question.target.partition("/")
    if reason.code == policy_codes.APPROVAL_GRANT:
        yield Suggestion(
            reason.code,
            "the grants file",
            f"upstreams: {{{upstream}: [{{tools: [{_quote(tool)}], approval: false}}]}}",
        )
    elif reason.code == policy_codes.APPROVAL_EFFECT:
        effect = description.get("labels", {}).get("effect", "destructive")
        yield Suggestion(
            reason.code, "the contract of an approved task", f"effects: {{{effect}: [{_quote(question.target)}]}}"
        )
    elif reason.code == policy_codes.UNGROUNDED:
        for value in _values(reason, description):
            yield Suggestion(reason.code, "gateway.yaml", f"directory: {{entries: [{_quote(value)}]}}")
    elif reason.code == policy_codes.CREDENTIAL_PRESENTED:
        for credential in description.get("credentials", ()):
            source = credential.get("audience")
            if source is not None and source != description.get("audience"):
                flow = f"{{from: {_quote(source)}, to: {_quote(str(description.get('audience')))}}}"
                yield Suggestion(reason.code, "the contract of the task", f"credential_flows: [{flow}]")
    for name, number in reason.limits.items():
        yield Suggestion(reason.code, "the contract of the task", f"limits: {{{name}: {number}}}")


def _values(reason: ShownReason, description: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts at the arguments of a reason."""
    arguments = description.get("arguments", {}).get("value")
    places = [fact.removeprefix("/arguments") for fact in reason.facts if fact.startswith("/arguments/")]
    for place in places:
        value: Any = find_value(arguments, split_pointer(place))
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        yield from (item for item in items if isinstance(item, str))


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
