"""The parts of a call beside its arguments, in the policy input."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gateway.model.call import Call, Context
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import PolicyInput
from gateway.model.facts import SessionFacts
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.model.wire import JsonObject
from gateway.policy import document
from gateway.policy.plan import values

ADA = Principal("ada", "https://idp.example", AuthMethod.JWT)
TASK = Task("t", "implicit", 0.0)
NONE = frozenset[str]()
FACTS = SessionFacts(1, 1, NONE, NONE, NONE, NONE, 0)


def asked(beside: Any) -> JsonObject:
    """Return the question about a call with these parts."""
    call = Call("tools/call", Target("tool", "crm", "read", "crm"), {}, beside)
    return document.decision(ADA, call, Context(0.0, "trace", None, None, TASK), FACTS)


def test_they_are_in_the_context_and_absent_if_there_are_none():
    beside: Any = {"headers": {"x-tenant": "eu"}, "params": {"task": {"ttl": 5}, "_meta": {"a/b": [1]}}}
    context = json.loads(document.encode(asked(beside)))["context"]
    plain: Any = document.plain(asked(beside))

    assert {name: context.pop(name) for name in beside} == beside
    assert context == json.loads(document.encode(asked({})))["context"]
    assert plain["context"]["params"] == values.plain(beside["params"])


@pytest.mark.parametrize("value", [math.inf, 2**64, "\ud800"])
def test_a_value_that_readers_would_not_read_alike_is_refused(value: object):
    for read in (document.encode, document.plain):
        with pytest.raises(PolicyInput):
            read(asked({"params": {"x": [value]}}))
