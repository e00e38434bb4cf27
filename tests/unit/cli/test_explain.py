from __future__ import annotations

from typing import Any

from gateway.cli.explain import outcome


def test_an_outcome_says_what_was_concealed():
    settled: dict[str, Any] = {
        "kind": "settled",
        "outcome": "completed",
        "duration_ms": 2.5,
        "bytes": 10,
        "status": 200,
    }

    assert outcome({}, settled) == "completed after 2.5 ms, 10 bytes, HTTP 200"
    assert "; 1 handles put back; 0 credentials" in outcome({}, {**settled, "put_back": 1, "concealed": 0})
    assert outcome({}, {**settled, "concealed": 2}).endswith("; 2 credentials concealed")
