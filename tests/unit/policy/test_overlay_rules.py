"""The rules that an overlay may have, and each way of doing more than add."""

from __future__ import annotations

import pytest

from gateway.policy import embedded, overlay_rules
from gateway.policy.overlay_rules import Family

DENIAL = 'denials contains {"code": "acme/x", "facts": []} if '


def _problems(*texts: str) -> list[str]:
    modules = embedded.parse((f"overlay/{number}.rego", text + "\n") for number, text in enumerate(texts))
    return [item.message for item in overlay_rules.problems(modules)]


@pytest.mark.parametrize(
    "text",
    [
        f"package overlay.x\n\n{DENIAL}input.resource.id",
        'package overlay.x\n\nasks contains {"code": "acme/x", "facts": []} if not input.a.b',
        'package overlay.x\n\nobligations contains {"id": "limit", "properties": {"max_bytes": 1}}',
        "package overlay.x\n\nobligations contains item if some item in data.overlay.x.items",
        "package overlay.x\n\nhides(resource) if resource.id == data.overlay.x.hidden",
        f"package overlay.x\n\nimport data.overlay.lib.hours\n\n{DENIAL}hours.closed(input)",
        f"package overlay.x\n\nimport rego.v1\n\nimport input.resource as it\n\n{DENIAL}it.id",
        f"package overlay.x\n\nimport data.gateway.lib.paths\n\n{DENIAL}not paths.plain(input.arguments.path)",
        f"package overlay.x\n\n{DENIAL}_risky[input.resource.id]\n\n_risky := data.overlay.x.risky",
        f"package overlay.x\n\n{DENIAL}data.gateway.settings.effects[0] == input.a[input.b].c",
    ],
)
def test_what_only_adds_may_be_in_an_overlay(text: str):
    assert _problems(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("package gateway.decision\n\nresult := 1", "gateway.decision is no package of an overlay"),
        ("package gateway.denials.budget\n\nclear(_) := true if 1", "gateway.denials.budget is no package"),
        ("package gateway.overlay\n\nfound(call) := set() if call", "gateway.overlay is no package"),
        ("package overlay\n\nx.denials contains 1", "overlay is no package of an overlay"),
        ("package overlays.x\n\ndenials contains 1", "overlays.x is no package of an overlay"),
        ("package system.log\n\nmask contains 1", "system.log is no package of an overlay"),
        ("package overlay.x\n\ndefault denials := 1", "`denials` is no partial set"),
        ("package overlay.x\n\ndenials contains 1 if input.a\n\ndefault denials := {1}", "`denials` is no partial set"),
        ("package overlay.x\n\ndenials := {1} if input.a", "`denials` is no partial set"),
        ('package overlay.x\n\ndenials["a"] := 1', "`denials` is no partial set"),
        ("package overlay.x\n\ndenials.a contains 1", "`denials` is no partial set"),
        ("package overlay.x\n\ndenials(a) := a", "`denials` is no partial set"),
        ("package overlay.x\n\nasks := set()", "`asks` is no partial set"),
        ("package overlay.x\n\nobligations := set()", "`obligations` is no partial set"),
        ("package overlay.x\n\nhides := true", "`hides` is no function"),
        ("package overlay.x\n\nhides contains 1", "`hides` is no function"),
        ("package overlay.x\n\nobligations contains 1", "this is no obligation"),
        ('package overlay.x\n\nobligations contains {"id": "limits", "properties": {}}', "did you mean `limit`?"),
        ('package overlay.x\n\nobligations contains {"id": "limit"}', "this is no obligation"),
        ("package overlay.x.y\n\ndenials contains 1", "the policy does not ask `denials` of overlay.x.y"),
        ("package overlay.x\n\ndeny contains 1", "the policy does not ask `deny`"),
        ("package overlay.x\n\nallow if input.a", "the family x has no rule that the policy asks"),
        ("package overlay.x\n\ndenial if input.a", "did you mean `denials`?"),
        (f"package overlay.x\n\n{DENIAL}_a\n\n_a if input.b with input as {{}}", "a rule of an overlay uses `with`"),
        (f"package overlay.x\n\nimport data.overlay as input\n\n{DENIAL}input.a", "is imported as `input`"),
        (f"package overlay.x\n\nimport input as data\n\n{DENIAL}data.gateway.lib.a", "is imported as `data`"),
    ],
)
def test_a_rule_that_would_do_more_or_nothing_is_refused(text: str, problem: str):
    found = _problems(text)

    assert found
    assert problem in found[0]
    assert found[0].startswith("overlay/0.rego:")


@pytest.mark.parametrize(
    "reading",
    [
        "data.gateway.decision.findings == set()",
        'data["gateway"]["decision"]["findings"] == set()',
        "data.gateway.approvals.given",
        "data.gateway.grants.granted",
        "data.gateway.reasons",
        "data.gateway.overlay.found(input)",
        "data.gateway",
        "data[input.a].decision",
        "data.gateway[input.a].findings",
        "walk(data, [_, 1])",
        "count({1 | data.gateway.denials.budget.denials}) > 0",
        "not data.gateway.denials.budget.denials",
        "input.a[data.gateway.decision.findings]",
        "object.get(data.gateway.decision, input.a, 1)",
        "every x in data.gateway.decision.findings { x }",
        "some x in data.gateway.decision.findings",
        "some data in [1]",
        "data.system",
        "data.overlay.x",
        "data.overlay[input.a].denials",
        "count(data.overlay) > 0",
    ],
)
def test_a_rule_of_an_overlay_reads_nothing_that_depends_on_it(reading: str):
    found = _problems(f"package overlay.x\n\n{DENIAL}{{ {reading} }}")

    assert found
    assert all("overlay/0.rego:3: an overlay may not read data" in item for item in found)


@pytest.mark.parametrize("name", ["data.gateway", "data.gateway.decision", "data", "data.gateway.denials.budget"])
def test_an_import_is_no_way_round(name: str):
    assert f"overlay/0.rego: an overlay may not read {name}" in _problems(
        f"package overlay.x\n\nimport {name} as it\n\n{DENIAL}it.decision.findings"
    )


def test_every_problem_is_told():
    found = _problems(
        f"package overlay.x\n\n{DENIAL}data.gateway.decision.findings",
        "package overlay.y\n\ndenials := 1 if data.system",
    )

    assert len(found) == 3


def test_families_are_packages_of_two_parts_with_the_rules_that_the_policy_asks():
    modules = embedded.parse(
        [
            ("overlay/b.rego", f"package overlay.b\n\n{DENIAL}1\n"),
            ("overlay/b2.rego", "package overlay.b\n\nhides(resource) if resource.a\n"),
            ("overlay/a.rego", 'package overlay.a\n\nasks contains {"code": "acme/y", "facts": []}\n'),
            ("overlay/lib.rego", "package overlay.lib.hours\n\nclosed(call) if call.a\n"),
        ]
    )

    assert overlay_rules.problems(modules) == []
    assert overlay_rules.families(modules) == [
        Family("a", frozenset({"asks"})),
        Family("b", frozenset({"denials", "hides"})),
    ]
