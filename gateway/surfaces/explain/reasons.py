"""The reasons of a decision, with their rules, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway.model.errors import PolicyError
from gateway.policy import verdict
from gateway.policy.folder import annotations, folders
from gateway.policy.folder.folders import PolicyFolders

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.policy.folder.annotations import Annotation

Rules = Mapping[str, "Annotation"]
"""Reason code → the annotation of its rule."""


def rules_of(settings: Configuration) -> Rules:
    """Return the rules of the policy folders as of now; none for an unreadable folder."""
    try:
        texts = folders.texts(PolicyFolders.configured(settings.policy))
        return {item.code: item for file, text in texts.items() for item in annotations.parse(text, file)}
    except PolicyError:
        return {}


def describe_for_programs(code: str, message: str | None, rules: Rules, facts: Mapping[str, object]) -> dict[str, Any]:
    """Return a reason for programs. `facts` are the values behind the reason, by their JSON pointers."""
    rule = rules.get(code)
    return {
        "code": code,
        "title": rule.title if rule else verdict.FAILURES.get(code),
        "message": message,
        "remedy": rule.remedy if rule else None,
        "controls": list(rule.controls) if rule else [],
        "rule": {"file": rule.file, "line": rule.line} if rule else None,
        "facts": dict(facts),
    }


def rows(reason: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of a reason for people, all but its facts."""
    yield "why", str(reason["message"] or "")
    if reason["remedy"]:
        yield "remedy", str(reason["remedy"])
    if reason["rule"]:
        yield "rule", f"{reason['rule']['file']}:{reason['rule']['line']}"
    if reason["controls"]:
        yield "controls", ", ".join(reason["controls"])
