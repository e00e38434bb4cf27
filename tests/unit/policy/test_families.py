"""A family that the decision never asks, and a finding without a code, keep a policy out of force."""

from __future__ import annotations

import pytest

from gateway.policy import path_check, syntax
from gateway.policy.embedded import trees

FILE = "gateway/denials/tickets/tickets.rego"
FINDING = '{"code": "tickets/late", "facts": ["/context/time"]}'
ASKED = "data.gateway.denials.tickets.denials"


def _decision(*asked: str) -> str:
    sets = ", ".join(asked)
    return f"""package gateway.decision

import data.gateway.denials.tickets

default result := {{}}

result := {{"findings": findings}} if input.version == 1

findings := union({{set(), {sets}}})
"""


def _found(family: str, decision: str, package: str = "gateway.denials.tickets") -> list[str]:
    modules = [
        ("gateway/decision/decision.rego", decision),
        (
            "gateway/visibility/visibility.rego",
            'package gateway.visibility\n\nresult := {"version": 1, "visible": []}\n',
        ),
        (FILE, f"package {package}\n\n{family}\n"),
    ]
    return [item.message for item in path_check.problems(syntax.parse_module(trees(modules)), {})]


def _denials(finding: str) -> str:
    return f"denials contains {finding} if input.session.calls > 3"


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        (_denials(FINDING), [ASKED]),
        (_denials(FINDING), ["tickets.denials"]),
        (_denials(FINDING), ["{found | some found in data.gateway.denials[_].denials}"]),
        (_denials(FINDING), ["{found | some family; found := data.gateway.denials[family].denials[_]}"]),
        (f"found(call) := denials if call.version == 1\n\n{_denials(FINDING)}", ["tickets.found(input)"]),
        (f"{_denials(FINDING)}\n\nasks contains {FINDING}\n\nfindings := denials | asks", ["tickets.findings"]),
        ("helper(call) if call.version == 1", ["{1 | tickets.helper(input)}"]),
        (_denials('{"code": code, "facts": []}').replace(" if ", ' if { code := "tickets/x"; ') + " }", [ASKED]),
        (_denials("finding").replace(" if ", " if { finding := input.arguments.any; ") + " }", [ASKED]),
        (_denials("finding").replace(" if ", " if { some finding in input.arguments.list; ") + " }", [ASKED]),
        (_denials('object.union(finding, {"x": 1})').replace(" if ", f" if {{ finding := {FINDING}; ") + " }", [ASKED]),
        (_denials('{"code": "tickets/late", "facts": {"/a"}, "approvable": true}'), [ASKED]),
        (_denials('{"code": "tickets/deep/late", "facts": []}'), [ASKED]),
        (_denials('{"code": "tickets/late"}'), [ASKED]),
    ],
)
def test_a_family_that_is_asked_passes(family: str, asked: list[str]):
    assert _found(family, _decision(*asked)) == []


def test_a_family_that_the_decision_never_asks_is_refused():
    (found,) = _found(_denials(FINDING), _decision())

    assert found == f"{FILE}:3: the decision never asks `{ASKED}`, so it refuses nothing"


def test_a_family_elsewhere_that_the_decision_never_asks_is_refused():
    """A misspelt package is one more family that is never asked."""
    (found,) = _found(_denials(FINDING), _decision(), package="gateway.denails.tickets")[-1:]

    assert found == f"{FILE}:3: the decision never asks `data.gateway.denails.tickets.denials`, so it refuses nothing"


def test_questions_that_the_decision_never_asks_are_refused():
    (found,) = _found(f"{_denials(FINDING)}\n\nasks contains {FINDING}", _decision(ASKED))

    assert found == f"{FILE}:5: the decision never asks `data.gateway.denials.tickets.asks`, so it refuses nothing"


def test_a_family_that_only_a_list_asks_is_refused():
    decision = _decision().replace("default result", "x := data.gateway.denials.tickets.denials\n\ndefault result")

    assert len(_found(_denials(FINDING), decision)) == 1


def test_a_family_with_deny_in_the_place_of_denials_is_named():
    (found,) = _found(f"deny contains {FINDING} if input.session.calls > 3", _decision())

    assert found == f"{FILE}:3: the family `tickets` gives `deny`, and the decision asks a family for `denials`"


def test_a_family_with_deny_is_named_where_the_decision_asks_for_denials():
    said, named = _found(f"deny contains {FINDING} if input.session.calls > 3", _decision(ASKED))

    assert said.startswith(f"gateway/decision/decision.rego:9: there is no `{ASKED}`")
    assert named == f"{FILE}:3: the family `tickets` gives `deny`, and the decision asks a family for `denials`"


def test_a_family_without_any_set_is_named():
    (found,) = _found("late if input.session.calls > 3", _decision())

    assert found == f"{FILE}:3: the family `tickets` has no rule `denials`"


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        ('{"facts": []}', "a finding of `denials` has no `code`"),
        ('{"cod": "tickets/late", "facts": []}', "a finding of `denials` has no `code`"),
        ('"tickets/late"', "a finding of `denials` is a text, and no mapping"),
        ('["tickets/late"]', "a finding of `denials` is a list, and no mapping"),
        ('{"code": 7, "facts": []}', "the `code` of a finding of `denials` is a number"),
        ('{"code": input.session.calls, "facts": []}', "the `code` of a finding of `denials` is a number"),
        ('{"code": "tickets/late", "facts": "/a"}', "the `facts` of a finding of `denials` is a text"),
        ('{"code": "late", "facts": []}', 'the code "late" of a finding is not of the form `family/name`'),
        (
            '{"code": "Tickets/Late", "facts": []}',
            'the code "Tickets/Late" of a finding is not of the form `family/name`',
        ),
    ],
)
def test_a_finding_without_a_code_is_refused(finding: str, said: str):
    assert _found(_denials(finding), _decision(ASKED)) == [f"{FILE}:3: {said}"]


def test_a_finding_of_a_variable_without_a_code_is_refused():
    family = 'denials contains finding if { finding := {"facts": []}; input.session.calls > 3 }'

    assert _found(family, _decision(ASKED)) == [f"{FILE}:3: a finding of `denials` has no `code`"]


def test_a_finding_in_a_whole_set_without_a_code_is_refused():
    family = 'denials := {finding | finding := {"facts": []}; input.session.calls > 3}'

    assert _found(family, _decision(ASKED)) == [f"{FILE}:3: a finding of `denials` has no `code`"]


def test_an_approval_without_a_code_is_refused():
    decision = _decision("data.gateway.approvals.required").replace("import data.gateway.denials.tickets\n\n", "")

    assert _found('required contains {"facts": []}', decision, package="gateway.approvals") == [
        f"{FILE}:3: a finding of `required` has no `code`"
    ]


def test_a_policy_without_a_decision_of_the_gateway_has_no_families():
    assert _found(_denials('{"facts": []}'), "package other\n\nx := 1\n") == []
