"""The engine's answer → a decision, read strictly. Pure.

The steps run in order; the first failure decides. A failure refuses the call with its own code, and is no denial of the task:

1. there is an answer at all                                     policy/undefined
2. it is an object of version 1 whose effect is one of three,
   whose reasons, obligations and policy are well-formed, and
   that says why unless it allows                                policy/malformed
3. the properties of each obligation that is known are exactly
   what the contract says                                        policy/obligation
4. if it allows: each obligation is one that the caller of
   `read_decision` can carry out, and none says who may approve           policy/obligation

Unknown fields of the answer and of its reasons are ignored, since version 1 may grow. An unknown field of an obligation
refuses the call: the gateway cannot carry out a condition which it does not understand.

Most malformed decisions have one cause: a rule gives a finding without a code, so the decision has no reason to tell. The
refusal names that rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET

from gateway.model import reasons
from gateway.model.decision import BesideDenial, Decision, Obligation, PolicyRevision, Reason
from gateway.policy import contract

UNDEFINED: Final = "<undefined>"
"""The stand-in for a value that OPA does not have."""

KNOWN: Final = frozenset(contract.OBLIGATIONS)
"""The obligations that the contract describes."""

_FIELDS: Final = frozenset({"version", "effect", "reasons", "obligations", "policy"})

APPROVERS: Final = "require_approvers"
"""The obligation that comes with `ask` only: it says who may approve the call."""

UNKNOWN_POLICY: Final = PolicyRevision(name="unknown", revision="")
"""The revision in a refusal that no policy gave."""

FAILURES: Final = {
    entry.code: entry.message
    for entry in (
        reasons.POLICY_UNDEFINED,
        reasons.POLICY_MALFORMED,
        reasons.POLICY_OBLIGATION,
        reasons.POLICY_UNAVAILABLE,
        reasons.POLICY_LATE,
        reasons.POLICY_STALE,
        reasons.POLICY_INPUT,
    )
}
"""Code → meaning of each refusal for which policy gave no valid verdict. None of them is a denial of the task."""

_MISSING: Final = "the policy has no rule `gateway.decision.result`, or that rule has no value; give it a `default`"
_SHAPE: Final = (
    "make `gateway.decision.result` follow rego/schemas/decision/result.json; `opagate policy check` shows where"
)
_FINDING: Final = (
    'give each finding a code of the form "family/name"; `opagate policy check` finds those that are written out'
)
_UNSUPPORTED: Final = "remove the obligation from the policy, or run a gateway that can carry it out"


def read_decision(answer: object, supported: frozenset[str]) -> Decision:
    """Return the decision in an engine's answer, already decoded from JSON. `supported` are the obligation ids that
    the caller will carry out. Never raises."""
    if answer is None or answer == UNDEFINED:
        return refuse(reasons.POLICY_UNDEFINED.code, "the policy gave no answer", _MISSING)
    try:
        result = _result(answer)
    except msgspec.ValidationError as error:
        return refuse(
            reasons.POLICY_MALFORMED.code,
            f"the value of `gateway.decision.result` does not follow the contract: {error}",
            _SHAPE,
        )
    policy = PolicyRevision(result.policy.name, result.policy.revision)
    problem = _obligation_problem(result.effect, result.obligations, supported)
    if problem is not None:
        return refuse(reasons.POLICY_OBLIGATION.code, problem, _UNSUPPORTED, policy)
    return Decision(
        effect=result.effect,
        reasons=tuple(map(_reason, result.reasons)),
        obligations=tuple(map(_obligation, result.obligations)),
        policy=policy,
        unenforced=_read_beside_denial(result, supported),
    )


def is_plain_permission(answer: object) -> bool:
    """Return whether an answer is a permission without reasons and obligations, in these fields alone.

    Two such answers that Python takes for equal are the same, but for the type of their version.
    """
    if type(answer) is not dict:
        return False
    found = cast("dict[str, Any]", answer)
    if found.keys() != _FIELDS or found["effect"] != "allow" or type(found["policy"]) is not dict:
        return False
    texts = cast("dict[str, Any]", found["policy"]).values()
    return found["reasons"] == found["obligations"] == [] and all(type(text) is str for text in texts)


def blame(malformed: Decision, rule: str | None) -> Decision:
    """Return the refusal for a malformed answer, with the rule that gave a finding without a code, if one did."""
    if rule is None:
        return malformed
    return refuse(
        reasons.POLICY_MALFORMED.code, f"the rule `{rule}` gives a finding without a code", _FINDING, malformed.policy
    )


def read_visible(answer: object, asked: frozenset[str]) -> frozenset[str]:
    """Return the visible ids. A malformed answer, or one with other ids than asked, hides all."""
    visible = visible_ids(answer)
    return visible if visible is not None and visible <= asked else frozenset()


def visible_ids(answer: object) -> frozenset[str] | None:
    """Return the ids that an answer to a list names, or `None` if it does not follow the contract."""
    try:
        return frozenset(msgspec.convert(answer, contract.Visible).visible)
    except msgspec.ValidationError:
        return None


def refuse(code: str, message: str, remedy: str, policy: PolicyRevision = UNKNOWN_POLICY) -> Decision:
    """Return the refusal of a call on which policy gave no valid verdict. `code` is one of `FAILURES`."""
    return Decision("deny", (Reason(code, message, remedy),), (), policy, undecided=True)


def read_kept(answer: object, asked: frozenset[str]) -> frozenset[str]:
    """Return the ids of the leases to keep. A malformed answer, or one with other ids than asked, keeps none."""
    try:
        _require_version(answer)
        kept = frozenset(msgspec.convert(answer, contract.KeptLeases).keep)
    except msgspec.ValidationError:
        return frozenset()
    return kept if kept <= asked else frozenset()


def _reason(item: contract.ResultReason) -> Reason:
    return Reason(item.code, item.message, item.remedy, tuple(item.controls), tuple(item.facts), item.limits)


def _obligation(item: contract.ResultObligation) -> Obligation:
    return Obligation(item.id, item.properties)


def _result(answer: object) -> contract.Result:
    _require_version(answer)
    result = msgspec.convert(answer, contract.Result)
    if result.effect != "allow" and not result.reasons:
        raise msgspec.ValidationError(f"effect is {result.effect!r} and there is no reason - at `$.reasons`")
    if result.reasons and any(item.code.endswith("\n") for item in result.reasons):
        # A `$` in Python matches before a last line break too; in JSON Schema it does not.
        raise msgspec.ValidationError("a code ends with a line break - at `$.reasons[...].code`")
    return result


def _read_beside_denial(result: contract.Result, supported: frozenset[str]) -> BesideDenial | None:
    """Return what a denial leaves unsaid; `None` if the gateway could not carry out its obligations."""
    found = result.unenforced
    if found is UNSET or result.effect != "deny" or _obligation_problem("allow", found.obligations, supported):
        return None
    return BesideDenial(tuple(map(_reason, found.asks)), tuple(map(_obligation, found.obligations)))


def _require_version(answer: object) -> None:
    """Check the version first: another version may give the same words another meaning."""
    if not isinstance(answer, dict):
        raise msgspec.ValidationError(f"it is not an object but a {type(answer).__name__}")
    version = cast("dict[str, Any]", answer).get("version")
    if type(version) is not int or version != 1:
        raise msgspec.ValidationError("the version is not 1 - at `$.version`")


def _obligation_problem(
    effect: str, obligations: Iterable[contract.ResultObligation], supported: frozenset[str]
) -> str | None:
    """Return why the obligations cannot be met, or `None`. A denial's obligations do not matter, since the call does
    not pass."""
    if effect == "deny":
        return None
    for item in obligations:
        shape = contract.OBLIGATIONS.get(item.id)
        if effect == "allow" and item.id == APPROVERS:
            return f"the policy allows, and {item.id!r} is for an answer that asks"
        if effect == "allow" and (shape is None or item.id not in supported):
            return f"the policy allows on an obligation that this gateway cannot carry out: {item.id!r}"
        if shape is not None and (problem := _properties_problem(item, shape)):
            return f"the properties of the obligation {item.id!r} are malformed: {problem}"
    return None


def _properties_problem(item: contract.ResultObligation, shape: type[contract.Closed]) -> str | None:
    if shape is contract.Limit and not item.properties:
        return "it limits nothing"
    try:
        msgspec.convert(item.properties, shape)
    except msgspec.ValidationError as error:
        return str(error)
    return None


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
