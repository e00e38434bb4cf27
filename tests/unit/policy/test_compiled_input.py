"""The input of a compiled policy: the same values as in the document for an engine, in types of Rego alone."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.model.call import Call, Context, HeldLease, OpenLeases
from gateway.model.caller import Principal
from gateway.model.content import Sighting
from gateway.model.errors import PolicyInput
from gateway.model.facts import CredentialFact, CredentialOrigin, SessionFacts
from gateway.model.target import Target
from gateway.policy import document
from tests.unit.policy.test_document import (
    CALL,
    CALLS,
    CONTEXT,
    CONTEXTS,
    COUNTS,
    FACTS,
    PRINCIPAL,
    PRINCIPALS,
    SESSIONS,
    TARGETS,
)


@given(PRINCIPALS, CALLS, CONTEXTS, SESSIONS, st.none() | st.builds(OpenLeases, st.integers(1, 9), COUNTS))
def test_a_compiled_policy_has_the_values_of_the_whole_document(
    principal: Principal, call: Call, context: Context, facts: SessionFacts, open_leases: OpenLeases | None
):
    asked = document.decision(principal, call, structs.replace(context, leases=open_leases), facts)

    found = document.plain(asked)

    assert found == document.plain(json.loads(document.encode(asked)))
    assert _types(found) <= {dict, list, str, int, bool, type(None), Decimal}


@given(PRINCIPALS, st.lists(TARGETS, max_size=3), CONTEXTS, SESSIONS)
def test_a_compiled_policy_has_the_values_of_a_whole_list(
    principal: Principal, targets: list[Target], context: Context, facts: SessionFacts
):
    held = tuple(HeldLease("l", target, "x", ("a",), "gateway", 1.5) for target in targets)
    for asked in (
        document.visibility(principal, targets, context, facts),
        document.leases(principal, held, context, facts),
    ):
        found = document.plain(asked)

        assert found == document.plain(json.loads(document.encode(asked)))
        assert _types(found) <= {dict, list, str, int, bool, type(None), Decimal}


def _types(value: Any) -> set[Any]:
    """Return the types of a value and of everything in it."""
    found: set[Any] = {type(value)}
    parts: list[Any] = []
    if type(value) is dict:
        parts = [*value, *value.values()]
    elif type(value) is list:
        parts = [*value]
    return found.union(*map(_types, parts))


@pytest.mark.parametrize("form", [document.encode, document.plain])
@pytest.mark.parametrize(
    ("context", "facts"),
    [
        ({"client_name": "\ud800"}, {}),
        ({"approval": {"id": "\ud800"}}, {}),
        ({"endorsement": {"id": "\ud800"}}, {}),
        ({}, {"call_destinations": ("\ud800",)}),
        ({}, {"credentials": (CredentialFact.of(Sighting("fp", "d", "/\ud800"), CredentialOrigin("user")),)}),
        ({}, {"raises": {"\ud800": 1}}),
    ],
)
def test_a_fact_that_is_no_unicode_is_refused(form: Any, context: dict[str, Any], facts: dict[str, Any]):
    asked = document.decision(PRINCIPAL, CALL, structs.replace(CONTEXT, **context), structs.replace(FACTS, **facts))

    with pytest.raises(PolicyInput, match="Unicode"):
        form(asked)


def test_a_part_of_several_inputs_cannot_be_changed_and_a_copy_can():
    asked: Any = document.decision(PRINCIPAL, CALL, CONTEXT, FACTS)
    with pytest.raises(TypeError):
        asked["subject"]["id"] = "other"

    copied = copy.deepcopy(asked)
    copied["subject"]["id"] = "other"
    copied["session"]["calls"] = 1.5

    found: Any = document.plain(copied)
    assert (found["subject"]["id"], found["session"]["calls"]) == ("other", Decimal("1.5"))
    assert asked["subject"]["id"] == PRINCIPAL.id
