"""The converter of the temporal corpus, on policies of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.temporal.convert import ANSWER, EACH_EVENT, NESTED, PREVIOUS, convert
from benchmarks.temporal.judge import evaluate, list_inputs
from benchmarks.temporal.language import Unsayable, read_policies, read_trace
from gateway.policy.opa.program import find_program
from tests.machine import skip_or_fail

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.wire import JsonObject

LOGIN = 'App::Action::"Login"::request{ input.user: context.input.user }'
LOGOUT = 'App::Action::"Logout"::request{ input.user: context.input.user }'
TOOL = "*/App-3a--3a-Action-3a--3a--22-Login-22-"


def permit(formula: str) -> str:
    return f'permit (principal, action == App::Action::"Read", resource) when temporal {{ {formula} }};'


def facts_of(formula: str) -> list[object]:
    return list(convert(read_policies(permit(formula)), "corpus.x").facts.values())


def test_formerly_is_the_time_of_the_last_call_with_the_same_arguments():
    assert facts_of(f"formerly within 1h {LOGIN}") == [
        {
            "last": "time",
            "of": {"tool": TOOL, "outcome": ["open", "done", "failed", "unknown"]},
            "by": ["/arguments/user", "tenant"],
            "within": "3600s",
        }
    ]


def test_an_aggregate_over_points_in_time_counts_or_adds_calls():
    event = 'App::Action::"Pay"::request{ input.user: context.input.user, input.amount: a }'
    domain = f"where (formerly within 1d ({event} && tp(t)))"
    counted, added = (
        facts_of(f"exists (n: Long). (({how} for (a: Long), (t: Timepoint). {domain}) == n && n > 3)")[0]
        for how in ("count", "sum a")
    )

    assert isinstance(counted, dict)
    assert isinstance(added, dict)
    assert (counted["count"], added["sum"]) == ("calls", "/arguments/amount")


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        (f"previous within 1h {LOGIN}", PREVIOUS),
        (f"{LOGIN} since within 1h {LOGIN}", EACH_EVENT),
        (f"formerly within 1h ({LOGIN} && formerly within 1h {LOGOUT})", NESTED),
        ('formerly within 1h App::Action::"Login"::response{ output.ok: true }', ANSWER),
    ],
)
def test_what_declarations_cannot_say_has_a_reason(formula: str, reason: str):
    with pytest.raises(Unsayable, match=reason.rsplit("`", maxsplit=1)[-1]):
        facts_of(formula)


def test_opa_judges_a_trace_by_the_facts_of_the_fold(tmp_path: Path):
    opa = find_program()
    if opa is None:
        skip_or_fail("OPA (`make tools`)")
        return
    converted = convert(read_policies(permit(f"!{LOGOUT} since within 1m {LOGIN}")), "corpus.x")
    trace = "\n".join(
        f'@{at} scope(principal: App::User::"ada", resource: App::Gateway::"g")'
        f' App::Action::"{action}"::request(input: {{ user: "ada" }}, requestId: "{at}")'
        for at, action in (
            (0, "Read"),
            (5, "Login"),
            (9, "Read"),
            (12, "Logout"),
            (14, "Read"),
            (20, "Login"),
            (90, "Read"),
        )
    )
    asked: list[JsonObject] = [
        {"package": "x", "input": found}
        for _, found in list_inputs(read_trace(trace), converted.facts, lambda _condition, _arguments, _pointer: False)
    ]

    assert evaluate(opa, {"x": converted.module}, asked, tmp_path) == [False, False, True, False, False, False, False]
