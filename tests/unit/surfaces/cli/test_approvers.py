from __future__ import annotations

from typing import Any

import pytest

from gateway.model.decision import Obligation
from gateway.surfaces.cli.approvers import describe, describe_obligations

WHOLE: dict[str, Any] = {
    "count": 2,
    "group": "sre",
    "exclude": ["requester", "user", "delegates"],
    "assurance": "login",
    "expires_seconds": 600,
    "scopes": ["once", "destination"],
}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"count": 1}, "1 person"),
        (
            WHOLE,
            (
                "2 different persons in the group sre, authenticated by login or stronger, but not the calling agent, the user"
                " or the delegates, within 10 min, for this call or its destinations for the task"
            ),
        ),
        (
            {"count": 1, "exclude": ["requester"], "assurance": "chat", "expires_seconds": 90, "scopes": ["once"]},
            "1 person, but not the calling agent, within 90 s, for this call",
        ),
        ({"count": 1, "assurance": "passkey", "exclude": []}, "1 person, authenticated by passkey"),
        ({"count": 1, "max_age_seconds": 300}, "1 person, logged in within 5 min before the answer"),
    ],
)
def test_a_rule_on_approvers_is_told_in_words(rule: dict[str, Any], words: str):
    assert describe(rule) == words


def test_other_obligations_are_told_as_they_are():
    found = list(
        describe_obligations([Obligation("limit", {"max_bytes": 1}), Obligation("require_approvers", {"count": 1})])
    )

    assert found == ['obligation limit {"max_bytes": 1}', "may approve: 1 person"]
