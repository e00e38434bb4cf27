from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.explain import fact

CALL: dict[str, Any] = {
    "target": {"id": "mail/send", "pin": "match"},
    "principal": {"id": "triage"},
    "arguments": {"to": ["a", "b"], "a/b": {"~": 1}},
    "task": {"id": "t"},
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/resource/properties/pin", "match"),
        ("/resource/id", "mail/send"),
        ("/subject/id", "triage"),
        ("/context/task/id", "t"),
        ("/arguments/to/1", "b"),
        ("/arguments/a~1b/~0", 1),
        ("/arguments/to/2", None),
        ("/arguments/to/x", None),
        ("/arguments/to/1/deeper", None),
        ("/argumentsx", None),
        ("/session/calls", None),
        ("", None),
    ],
)
def test_a_fact_is_found_where_the_journal_keeps_it(pointer: str, value: object):
    assert fact(CALL, pointer) == value
