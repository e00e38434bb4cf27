"""The question about leases, on both engines: the same whole document, and no lease that a list would not show."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.policy.conftest import FAILED, Engines, cases, take
from tests.policy.test_fixtures import places

LISTS = [case for case in cases() if case.entrypoint == "visibility"]


def asked(listed: dict[str, Any]) -> dict[str, Any]:
    """Return the question about a lease for each target of a list."""
    document = copy.deepcopy(listed)
    resources: Any = document.pop("resources")
    return document | {
        "leases": [
            {
                "id": resource.get("id", "?"),
                "resource": resource,
                "audience": "files",
                "scope": ["read"],
                "kind": "exchange",
                "expires": "2026-11-24T10:01:00Z",
            }
            for resource in resources or ()
        ]
    }


@pytest.mark.parametrize("case", LISTS, ids=lambda case: case.name)
async def test_a_lease_stays_where_its_target_is_listed(case: Any, embedded: dict[str, Engines]):
    answer = await embedded[case.policy].both("leases", asked(case.input))

    assert answer == {"version": 1, "keep": case.expected["visible"]}


@pytest.mark.opa
@pytest.mark.parametrize("case", LISTS[:1], ids=lambda case: case.name)
async def test_both_engines_agree_on_leases_with_any_fact_missing(case: Any, engines: dict[str, Engines]):
    whole = asked(case.input)
    for pointer in ["", *places(whole)]:
        document = copy.deepcopy(whole)
        if pointer:
            take(document, pointer)
        answer = await engines[case.policy].both("leases", document, typed=False)
        assert answer == FAILED or answer["version"] == 1
