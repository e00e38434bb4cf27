"""The official server suite: through the gateway every check has the outcome that it has without it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.conformance.run import Checks, Findings, Node, differences, server_suite
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway, running_opa

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.node

ENGINES = ["embedded", pytest.param("opa", marks=pytest.mark.opa)]


@pytest.fixture(scope="module", params=["2025-11-25", "2026-07-28"])
def requirements(request: pytest.FixtureRequest) -> str:
    """A frozen set of requirements of the suite."""
    return request.param


@pytest.fixture(scope="module")
def direct(
    node: Node, everything_server: ServerProcess, requirements: str, tmp_path_factory: pytest.TempPathFactory
) -> Findings:
    """What the suite finds without a gateway."""
    return server_suite(node, everything_server.mcp, requirements, tmp_path_factory.mktemp("direct"))


@pytest.fixture(scope="module", params=ENGINES)
def gateway(
    request: pytest.FixtureRequest, everything_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Generator[GatewayProcess]:
    """A gateway before the fixture server, with the embedded engine or with a real OPA."""
    folder = tmp_path_factory.mktemp(request.param)
    policy = open_policy(folder)
    with ExitStack() as stack:
        opa = None
        if request.param == "opa":
            opa = stack.enter_context(running_opa(request.getfixturevalue("opa_path"), policy, folder))
        config = open_config(policy, {"everything": everything_server.mcp}, opa=opa)
        yield stack.enter_context(running_gateway(config, folder))


def test_the_server_itself_passes_all_that_is_required(direct: Findings) -> None:
    assert direct.passed, direct.output
    assert direct.checks > 80
    failed = direct.failures()
    assert [failure for failure in failed if not failure.startswith("tasks-")] == [], (
        "only the tasks extension, which the server does not offer, may fail"
    )


def comparable(findings: Findings) -> dict[str, Checks]:
    """All scenarios but those of the tasks extension. They call tools that the fixture server does not list, which the
    gateway refuses with a result of its own before the server can refuse them with an error."""
    return {name: checks for name, checks in findings.scenarios.items() if not name.startswith("tasks-")}


def test_every_check_has_the_same_outcome_through_the_gateway(
    node: Node, direct: Findings, requirements: str, gateway: GatewayProcess, tmp_path: Path
) -> None:
    through = server_suite(node, gateway.mcp("everything"), requirements, tmp_path / "out")
    found = differences(comparable(direct), comparable(through))
    assert not found, "\n".join([*found, through.output, *gateway.printed().splitlines()[-40:]])
    assert through.passed, through.output
