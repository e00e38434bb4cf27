"""The official client suite: a real client behind the gateway looks to the suite's servers as it does without it.

The scenarios `auth/*` are about a client's own authorization at the server. The gateway ends the agent's authorization
and uses its own towards the server, so they say nothing about it. Scenarios of extensions belong to no version.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.conformance.run import Node, client_scenario, client_scenarios, differences
from tests.conformance.through_gateway import gateway_on_request

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.node

SCENARIOS = [
    ("2025-11-25", "initialize"),
    ("2025-11-25", "tools_call"),
    ("2025-11-25", "sse-retry"),
    ("2025-11-25", "elicitation-sep1034-client-defaults"),
    ("2025-11-25", "json-schema-2020-12-preservation"),
    ("2026-07-28", "tools_call"),
    ("2026-07-28", "request-metadata"),
    ("2026-07-28", "http-standard-headers"),
    ("2026-07-28", "http-custom-headers"),
    ("2026-07-28", "http-invalid-tool-headers"),
    ("2026-07-28", "json-schema-ref-no-deref"),
    ("2026-07-28", "json-schema-2020-12-preservation"),
    ("2026-07-28", "sep-2322-client-request-state"),
]


@pytest.mark.parametrize(("version", "scenario"), SCENARIOS)
def test_every_check_has_the_same_outcome_through_the_gateway(
    node: Node, version: str, scenario: str, tmp_path: Path
) -> None:
    module = [sys.executable, "-m", "tests.conformance.client"]
    gateway = tmp_path / "gateway"
    gateway.mkdir()
    with gateway_on_request(gateway) as asked, ThreadPoolExecutor() as side_by_side:
        wrapper = [sys.executable, "-m", "tests.conformance.through_gateway", str(asked)]
        alone = side_by_side.submit(client_scenario, node, module, scenario, version, tmp_path / "direct")
        through = client_scenario(node, wrapper, scenario, version, tmp_path / "through")
        direct = alone.result()

    assert direct.passed, direct.output
    assert direct.checks > 0
    assert differences(direct.kinds, through.kinds) == {}, through.output
    assert through.passed, through.output


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_no_scenario_that_is_not_about_authorization_is_left_out(node: Node, version: str) -> None:
    listed = client_scenarios(node, version)

    assert any(name.startswith("auth/") for name in listed)
    assert {name for name in listed if not name.startswith("auth/")} == {
        scenario for known, scenario in SCENARIOS if known == version
    }
