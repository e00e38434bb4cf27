"""The official server suite: through the gateway every check has the outcome that it has without it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.conformance.renaming import renamed
from tests.conformance.run import Findings, Node, differences, server_suite
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway, running_opa

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.node

ENGINES = ["embedded", pytest.param("opa", marks=pytest.mark.opa)]
REQUIREMENTS: Mapping[str, list[str]] = {
    "2025-11-25": [],
    "2026-07-28": ["tasks-status-notifications: tasks-status-notifications"],
}
"""Each frozen set of the suite → the checks of it that have a name and no code: it leaves them out with every server."""


@pytest.fixture(scope="module")
def direct(
    node: Node, everything_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Mapping[str, Future[Findings]]]:
    """What the suite finds without a gateway, for each set of requirements. It looks while the first gateways are looked
    at: most of the time it waits for tasks."""
    folder = tmp_path_factory.mktemp("direct")
    with ThreadPoolExecutor(max_workers=1) as side_by_side:
        yield {
            each: side_by_side.submit(server_suite, node, everything_server.mcp, each, folder / each)
            for each in REQUIREMENTS
        }


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
        # With people to ask, each answer passes the code of held calls too.
        yield stack.enter_context(running_gateway(f"{config}approvals: {{}}\n", folder))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("requirements", REQUIREMENTS)
def test_every_check_has_the_same_outcome_through_the_gateway(
    node: Node,
    direct: Mapping[str, Future[Findings]],
    everything_server: ServerProcess,
    gateway: GatewayProcess,
    *,
    requirements: str,
    tmp_path: Path,
) -> None:
    """Some checks measure time, and other tests run beside this one. A difference counts that each of three rounds shows."""
    url = gateway.mcp("everything")
    found, through = compare(node, direct, everything_server, url=url, requirements=requirements, folder=tmp_path)
    assert not found, "\n".join([*map(str, found.items()), through.output, *gateway.printed().splitlines()[-40:]])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("gateway", ENGINES[:1], indirect=True)
@pytest.mark.parametrize("requirements", REQUIREMENTS)
def test_every_check_has_the_same_outcome_through_the_one_endpoint(
    node: Node,
    direct: Mapping[str, Future[Findings]],
    everything_server: ServerProcess,
    gateway: GatewayProcess,
    *,
    requirements: str,
    tmp_path: Path,
) -> None:
    """The suite calls the tools of its own server, so a proxy before the endpoint takes its names off. With one engine: the
    endpoint stands before the pipeline, and the engine behind it."""
    with renamed(f"{gateway.origin}/mcp", "everything") as url:
        found, through = compare(node, direct, everything_server, url=url, requirements=requirements, folder=tmp_path)
    # The suite makes a remark of lists that come as JSON; a list of several upstreams does.
    found.pop("server-sse-multiple-streams: server-sse-streams-functional", None)
    assert not found, "\n".join([*map(str, found.items()), through.output, *gateway.printed().splitlines()[-40:]])


def compare(
    node: Node,
    direct: Mapping[str, Future[Findings]],
    server: ServerProcess,
    *,
    url: str,
    requirements: str,
    folder: Path,
) -> tuple[dict[str, str], Findings]:
    """Return the checks whose outcomes differ in each round. The suite passes what it requires in one of the rounds."""
    through = server_suite(node, url, requirements, folder / "out")
    found, passed = differences(direct[requirements].result().scenarios, through.scenarios), through.passed
    for again in range(2):
        if not found and passed:
            break
        alone = server_suite(node, server.mcp, requirements, folder / f"alone-{again}")
        through = server_suite(node, url, requirements, folder / f"out-{again}")
        shown = differences(alone.scenarios, through.scenarios)
        found, passed = {check: shown[check] for check in found if check in shown}, passed or through.passed
    assert passed, through.output
    return found, through


@pytest.mark.parametrize("requirements", REQUIREMENTS)
def test_the_server_itself_passes_every_check_also_of_what_is_not_required(
    direct: Mapping[str, Future[Findings]], requirements: str
) -> None:
    alone = direct[requirements].result()
    assert alone.passed, alone.output
    assert alone.checks > 80
    assert alone.unproven() == REQUIREMENTS[requirements], alone.output
