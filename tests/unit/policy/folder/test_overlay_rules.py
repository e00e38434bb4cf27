"""The families of an overlay, read from texts: each package of two parts, and each rule that the policy asks."""

from __future__ import annotations

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder.overlay import Family, find_families

DENIAL = 'denials contains {"code": "acme/x", "facts": []} if '


def _families(*texts: str) -> list[Family]:
    return find_families((f"overlay/{number}.rego", text + "\n") for number, text in enumerate(texts))


def test_families_are_packages_of_two_parts_with_the_rules_that_the_policy_asks():
    found = _families(
        f"package overlay.b\n\n{DENIAL}1\n",
        "package overlay.b\n\nhides(resource) if resource.a\n",
        'package overlay.a\n\nasks contains {"code": "acme/y", "facts": []}\n',
        "package overlay.lib.hours\n\nclosed(call) if call.a\n",
    )

    assert found == [Family("a", frozenset({"asks"})), Family("b", frozenset({"denials", "hides"}))]


@pytest.mark.parametrize(
    "text",
    [
        "package overlay.x\n\n\tdenials   contains 1",
        "# package gateway.decision\n\npackage overlay.x # of mine\n\ndenials contains 1",
        "package overlay.x\r\n\r\ndenials contains 1",
        "package\toverlay.x\n\nx := 1 denials contains 1",
        "\ufeffpackage overlay.x\n\ndenials := {1}",
        'package overlay.x\n\nx := "a#b"\n\ndenials contains 1',
        "package overlay.x\n\nx := `#`\n\ndenials\ncontains 1",
    ],
)
def test_a_rule_is_asked_however_it_is_written(text: str):
    """A rule that is not asked refuses nothing."""
    assert _families(text) == [Family("x", frozenset({"denials"}))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("package gateway.decision\n\nresult := 1", "gateway.decision is no package of an overlay"),
        ("# package overlay.x\npackage gateway.overlay\n\nfound(call) := 1", "gateway.overlay is no package"),
        ("package overlay\n\nx.denials contains 1", "overlay is no package of an overlay"),
        ("package overlays.x\n\ndenials contains 1", "overlays.x is no package of an overlay"),
        ("package system.log\n\nmask contains 1", "system.log is no package of an overlay"),
        ("import data.x\npackage overlay.x\n\ndenials contains 1", "it does not begin with its package"),
        ('package overlay["x"]\n\ndenials contains 1', "it does not begin with its package"),
        ("package overlay.x\n\n.y\n\ndenials contains 1", "it does not begin with its package"),
        ("package overlay.x.\n\ndenials contains 1", "it does not begin with its package"),
        ("", "it does not begin with its package"),
        ("package overlay.x\n\ndeny contains 1", "the family x has no rule that the policy asks"),
        ('package overlay.x\n\n# denials contains 1\ny := "denials"', "the family x has no rule that the policy asks"),
        ("package overlay.x\n\ny := input.denials", "the family x has no rule that the policy asks"),
    ],
)
def test_a_family_that_would_do_more_or_nothing_is_refused(text: str, problem: str):
    with pytest.raises(PolicyBroken) as raised:
        _families(text)

    assert raised.value.message.startswith(f"overlay/0.rego: {problem}")
    assert raised.value.remedy
