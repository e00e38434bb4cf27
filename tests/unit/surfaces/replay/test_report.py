from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Target
from gateway.surfaces.replay.engine import StepOutcome
from gateway.surfaces.replay.report import Totals, compare, describe_expected, place, row
from gateway.surfaces.replay.trace import Expectation
from tests.unit.surfaces.replay.conftest import decision


def outcome(trace: str, number: int, effect: str, *codes: str, expect: Expectation | None = None) -> StepOutcome:
    call = Call("tools/call", Target("tool", "fs", "read", "fs"), {})
    return StepOutcome(
        trace,
        number,
        Principal("dev", "urn:opagate:development", AuthMethod.DEVELOPMENT),
        call,
        decision(effect, *codes),
        {"calls": number + 1},
        expect,
    )


async def stream(*outcomes: StepOutcome) -> AsyncIterator[StepOutcome]:
    for item in outcomes:
        yield item


def test_totals_count_steps_traces_effects_and_reasons():
    totals = Totals()
    deny = Expectation(frozenset({"deny"}))
    for item in (
        outcome("a", 0, "allow"),
        outcome("a", 1, "deny", "x/one", "x/two", expect=deny),
        outcome("a", 2, "deny", "x/one"),
        outcome("b", 0, "ask", "x/one", expect=deny),
        outcome("b", 1, "deny", "x/one"),
    ):
        totals.add(item)

    assert (totals.steps, totals.traces, totals.expected, totals.unmet) == (5, 2, 2, 1)
    assert totals.effects == {"allow": 1, "deny": 3, "ask": 1}
    assert {key: (tally.steps, tally.traces, tally.first) for key, tally in totals.codes.items()} == {
        ("deny", "x/one"): (3, 2, "a[1]"),
        ("deny", "x/two"): (1, 1, "a[1]"),
        ("ask", "x/one"): (1, 1, "b[0]"),
    }


async def test_only_what_differs_is_told():
    one = stream(outcome("a", 0, "allow"), outcome("a", 1, "deny", "x/one"), outcome("a", 2, "deny", "x/one"))
    other = stream(outcome("a", 0, "allow"), outcome("a", 1, "deny", "x/two"), outcome("a", 2, "ask", "x/one"))

    found = [difference async for difference in compare(one, other)]

    assert [(place(item.one), item.one.codes, item.other.codes) for item in found] == [
        ("a[1]", ("x/one",), ("x/two",)),
        ("a[2]", ("x/one",), ("x/one",)),
    ]


def test_a_row_for_programs_has_what_the_format_says():
    assert row(outcome("a", 3, "deny", "x/one")) == {
        "trace": "a",
        "step": 3,
        "effect": "deny",
        "codes": ("x/one",),
        "facts": {"calls": 4},
    }


def test_what_was_expected_is_told_in_words():
    assert describe_expected(outcome("a", 0, "deny")) == ""
    assert describe_expected(outcome("a", 0, "deny", expect=Expectation(frozenset({"deny"})))) == "deny"
    assert (
        describe_expected(outcome("a", 0, "deny", expect=Expectation(frozenset({"deny", "ask"}), "x/y")))
        == "ask or deny x/y"
    )
