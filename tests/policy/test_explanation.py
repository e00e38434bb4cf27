"""The grants near a call: the same on both engines, and at one with the decision."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.policy import grants as grant_fits
from tests.policy.conftest import Case, Engines, cases

CASES = [case for case in cases() if case.entrypoint == "decision"]
UNGRANTED = {"tool/not-granted", "tool/arguments"}


@pytest.mark.opa
async def test_every_fixture_has_the_same_grants_on_both_engines(engines: dict[str, Engines]):
    for case in CASES:
        for document in (case.input, _without_arguments(case.input)):
            answer = await engines[case.policy].both("explanation", document, typed=False)
            assert grant_fits.read_fits(answer) is not None, case.name


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case.input.get("arguments"), dict)], ids=lambda case: case.name
)
async def test_a_grant_holds_exactly_if_policy_gives_one(case: Case, embedded: dict[str, Engines]):
    engine = embedded[case.policy]
    decision = await engine.both("decision", case.input)
    found = grant_fits.read_fits(await engine.both("explanation", case.input))

    assert found is not None
    granted = UNGRANTED.isdisjoint(reason["code"] for reason in decision["reasons"])
    assert any(fit.holds for fit in found) == granted


def _without_arguments(document: dict[str, Any]) -> dict[str, Any]:
    other = copy.deepcopy(document)
    other.pop("arguments", None)
    return other
