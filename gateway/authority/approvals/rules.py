"""Rules on approvers: their merger, and the objections to a person's vote. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import structs

from gateway.authority.approvals.model import (
    ASSURANCES,
    SCOPES,
    Approval,
    ApproverRule,
    Excluded,
    Person,
    Requester,
    Scope,
    Vote,
)
from gateway.model import reasons
from gateway.model.caller import canonical_group, canonical_groups, canonical_person
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model.decision import Obligation

OBLIGATION: Final = "require_approvers"
_ALL_EXCLUDED: Final[tuple[Excluded, ...]] = ("requester", "user", "delegates")


def merge_rules(obligations: Sequence[Obligation], *, seconds: float) -> ApproverRule:
    """Return the rule of all `require_approvers` obligations together, at least as strict as each. `seconds` is the
    configured time for an answer; a policy can only shorten this time. Without an obligation a single person other than
    the requester, its user and its delegates may approve the call once.
    """
    found = [cast("dict[str, Any]", item.properties) for item in obligations if item.id == OBLIGATION]
    if not found:
        return ApproverRule(seconds=seconds)
    times = [item["recur_seconds"] for item in found if "recur_seconds" in item]
    excluded = {name for item in found for name in item.get("exclude", _ALL_EXCLUDED)} | {"requester"}
    return ApproverRule(
        count=max(item["count"] for item in found),
        groups=tuple(sorted({item["group"] for item in found if "group" in item})),
        exclude=tuple(name for name in _ALL_EXCLUDED if name in excluded),
        assurance=max((item.get("assurance", ASSURANCES[0]) for item in found), key=ASSURANCES.index),
        seconds=min(seconds, *(float(item.get("expires_seconds", seconds)) for item in found)),
        scopes=tuple(scope for scope in SCOPES if _is_in_reach(scope, found, times)),
        max_age=min((item["max_age_seconds"] for item in found if "max_age_seconds" in item), default=None),
        recur_seconds=min(times, default=None),
    )


def _is_in_reach(scope: Scope, found: Sequence[Mapping[str, Any]], times: Sequence[int]) -> bool:
    """Return whether all obligations list a scope. Values can recur for a given time only."""
    listed = all(scope in item.get("scopes", ()) for item in found)
    return scope == "once" or (listed and (scope != "recurring" or bool(times)))


def without_recurrence(rule: ApproverRule) -> ApproverRule:
    """Return a rule for a call without recurrence."""
    scopes = tuple(scope for scope in rule.scopes if scope != "recurring")
    return structs.replace(rule, scopes=scopes, recur_seconds=None)


def object_to_vote(approval: Approval, vote: Vote) -> Reason | None:
    """Return the reason against a person's vote, `None` if the vote counts. An excluded person may still say no."""
    rule, person = approval.question.rule, vote.person
    if vote.answer == "approve" and canonical_person(person.id) in _excluded_names(rule, approval.question.requester):
        return reasons.VOTE_EXCLUDED.reason()
    if any(canonical_person(earlier.person.id) == canonical_person(person.id) for earlier in approval.votes):
        return reasons.VOTE_TWICE.reason()
    if (objection := _object_to_proof(rule, vote)) is not None:
        return objection
    if vote.answer == "approve" and not set(vote.scopes) <= set(rule.scopes):
        return reasons.VOTE_SCOPE.reason(scopes=", ".join(rule.scopes))
    return None


def _object_to_proof(rule: ApproverRule, vote: Vote) -> Reason | None:
    """Return the reason against a person's groups or login."""
    person = vote.person
    held = canonical_groups(person.groups)
    if missing := [group for group in rule.groups if canonical_group(group) not in held]:
        return reasons.VOTE_GROUP.reason(group=missing[0])
    if ASSURANCES.index(person.assurance) < ASSURANCES.index(rule.assurance):
        return reasons.VOTE_ASSURANCE.reason(needed=rule.assurance, found=person.assurance)
    if rule.max_age is not None and (vote.login_age is None or vote.login_age > rule.max_age):
        return _demand_login(rule.max_age, vote.login_age)
    return None


def _demand_login(max_age: int, age: float | None) -> Reason:
    found = "the time of your login is not known" if age is None else f"yours is {int(age)} s old"
    return reasons.VOTE_LOGIN.reason(max_age=max_age, found=found)


def spell_groups(person: Person, rule: ApproverRule) -> Person:
    """Return a person with the groups of a rule as the rule spells them. The policy compares spellings."""
    held = canonical_groups(person.groups)
    spelled = [group for group in rule.groups if canonical_group(group) in held and group not in person.groups]
    return structs.replace(person, groups=(*person.groups, *spelled))


def may_vote(approval: Approval, person: Person, now: float) -> bool:
    """Return whether a person's yes would count."""
    return object_to_vote(approval, Vote(person, "approve", now)) is None


def _excluded_names(rule: ApproverRule, requester: Requester) -> frozenset[str]:
    """Return the names without a vote. The same name at another issuer counts as the same person."""
    names = {canonical_person(requester.id)} if "requester" in rule.exclude else set[str]()
    if "user" in rule.exclude and requester.user is not None:
        names.add(canonical_person(requester.user))
    if "delegates" in rule.exclude:
        names.update(map(canonical_person, requester.delegates))
    return frozenset(names)
