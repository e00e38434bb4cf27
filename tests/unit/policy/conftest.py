"""A tiny policy tree, so that these tests say nothing about the shipped rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

DECISION = """package gateway.decision

default result := {
\t"version": 1,
\t"effect": "deny",
\t"reasons": [{"code": "tiny/default", "message": "nothing allows this"}],
\t"obligations": [],
\t"policy": {"name": "tiny"},
}

result := {
\t"version": 1,
\t"effect": "allow",
\t"reasons": [],
\t"obligations": [],
\t"policy": {"name": "tiny"},
} if {
\tinput.subject.id in data.gateway.grants.agents
}
"""
VISIBILITY = """package gateway.visibility

default result := {"version": 1, "visible": []}

result := {"version": 1, "visible": [resource.id | some resource in input.resources]} if {
\tinput.subject.id in data.gateway.grants.agents
}
"""
GRANTS = "agents: [spiffe://corp/agent/triage]\n"

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes the tiny policy, with files added or replaced; an empty text removes one."""

    def written(changes: dict[str, str]) -> Path:
        files = {
            "gateway/decision/decision.rego": DECISION,
            "gateway/visibility/visibility.rego": VISIBILITY,
            "gateway/grants/data.yaml": GRANTS,
            **changes,
        }
        folder = tmp_path / "rego"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text:
                path.write_text(text, encoding="utf-8")
            else:
                path.unlink(missing_ok=True)
        return folder

    return written
