"""Admission of people to a question, and the rules of its votes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

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
from gateway.base.control.operations import OperatorAccounts
from gateway.model import reasons
from gateway.model.caller import canonical_group, canonical_groups, canonical_person
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.base.control.line_socket import Account
    from gateway.base.control.operations import ControlRequest, Role
    from gateway.model.decision import Obligation


class Approver(NamedTuple):
    """A person who may see and answer questions. `Admission.admit` alone makes one."""

    person: Person


class Admission:
    """The admission of approvers. `groups` are the configured groups. Without groups the listed accounts alone are approvers."""

    def __init__(self, groups: tuple[str, ...] = ()) -> None:
        self._groups = canonical_groups(groups)

    def admit(self, person: Person, *, is_listed: bool = False) -> Approver | Reason:
        """Return a person as an approver, or the reason why the person is none. `is_listed`: the configuration names the account."""
        if (is_listed and not self._groups) or self._groups & canonical_groups(person.groups):
            return Approver(person)
        return reasons.VOTE_MEMBER.reason()


@dataclass(frozen=True, slots=True)
class Accounts:
    """People by the number of their account, and the accounts of operators. The gateway's own account never votes: agents'
    servers may run under it. Only in development its owner may speak as anybody."""

    people: Mapping[int, Person]
    operators: OperatorAccounts
    admission: Admission = field(default_factory=Admission)

    def identify(self, role: Role, account: Account, request: ControlRequest) -> Any:
        """Return the person of a role behind a request, or the reason why the account is none."""
        if role == "approver":
            return self.approver(account, request.speaks_as, request.groups)
        if request.speaks_as is not None or request.groups:
            return reasons.VOTE_ACCOUNT_OF_ANOTHER.reason()
        return account if role == "account" else self.operators.find(account)

    def approver(self, account: Account, speaks_as: str | None, groups: tuple[str, ...]) -> Approver | Reason:
        """Return the approver behind a connection."""
        person = self._person(account, speaks_as, groups)
        return person if isinstance(person, Reason) else self.admission.admit(person, is_listed=True)

    def _person(self, account: Account, speaks_as: str | None, groups: tuple[str, ...]) -> Person | Reason:
        if account.uid == self.operators.own:
            if self.operators.hears_own(account):
                return Person(speaks_as or "developer", "local", groups, "peer", "socket")
            is_development = self.operators.is_development
            return (reasons.VOTE_TERMINAL if is_development else reasons.VOTE_ACCOUNT_OF_GATEWAY).reason()
        found = self.people.get(account.uid)
        if found is None:
            return reasons.VOTE_ACCOUNT.reason(account=account.uid)
        return found if speaks_as is None else reasons.VOTE_ACCOUNT_OF_ANOTHER.reason()


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
    names = _names_of(person.id, person.mail)
    if vote.answer == "approve" and not names.isdisjoint(_excluded_names(rule, approval.question.requester)):
        return reasons.VOTE_EXCLUDED.reason()
    if any(not names.isdisjoint(_names_of(one.person.id, one.person.mail)) for one in approval.votes):
        return reasons.VOTE_TWICE.reason()
    if (objection := _object_to_proof(approval, vote)) is not None:
        return objection
    if vote.answer == "approve" and not set(vote.scopes) <= set(rule.scopes):
        return reasons.VOTE_SCOPE.reason(scopes=", ".join(rule.scopes))
    return None


def _object_to_proof(approval: Approval, vote: Vote) -> Reason | None:
    """Return the reason against a person's groups or login."""
    rule, person = approval.question.rule, vote.person
    held = canonical_groups(person.groups)
    if missing := [group for group in rule.groups if canonical_group(group) not in held]:
        return reasons.VOTE_GROUP.reason(group=missing[0])
    if rule.assurance == "passkey" != person.assurance:
        return reasons.VOTE_UNSIGNED.reason(id=approval.id)
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


def _names_of(identifier: str, mail: str | None) -> frozenset[str]:
    """Return the names of one person. Tokens of several places may give a person several ids, and one address of mail."""
    return frozenset(map(canonical_person, filter(None, (identifier, mail))))


def _excluded_names(rule: ApproverRule, requester: Requester) -> frozenset[str]:
    """Return the names without a vote. The same name at another issuer counts as the same person."""
    names = {canonical_person(requester.id)} if "requester" in rule.exclude else set[str]()
    if "user" in rule.exclude and requester.user is not None:
        names |= _names_of(requester.user, requester.user_mail)
    if "delegates" in rule.exclude:
        names.update(map(canonical_person, requester.delegates))
    return frozenset(names)
