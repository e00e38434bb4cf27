"""A tiny policy tree, so that these tests say nothing about the shipped rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny_policy

AGENT = "input.subject.id in data.gateway.grants.upstreams.agents"
GRANTS = "upstreams: {agents: [spiffe://corp/agent/triage]}\n"

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes the tiny policy, with files added or replaced; an empty text removes one."""

    def written(changes: dict[str, str]) -> Path:
        files = {
            "gateway/decision/decision.rego": tiny_policy.decision(AGENT),
            "gateway/visibility/visibility.rego": tiny_policy.visibility(AGENT),
            "gateway/grants/data.yaml": GRANTS,
            **changes,
        }
        return tiny_policy.write(tmp_path / "rego", files)

    return written
