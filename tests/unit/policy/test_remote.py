from __future__ import annotations

from typing import Any, cast

from gateway.errors import PolicyUnavailable
from gateway.policy.embedded import Entrypoint
from gateway.policy.opa_client import OpaClient
from gateway.policy.remote import RemotePolicy

DENIED: dict[str, Any] = {
    "version": 1,
    "effect": "deny",
    "reasons": [{"code": "a/b", "message": "m"}],
    "obligations": [],
    "policy": {"name": "tiny"},
}


class _Server:
    """An OPA that can be made to fail."""

    def __init__(self) -> None:
        self.ready = True
        self.held = "r1"
        self.decision: object = DENIED
        self.asked = 0
        self.closed = False

    async def require_ready(self) -> None:
        if not self.ready:
            raise PolicyUnavailable("OPA is not ready", "wait")

    async def revision(self) -> str:
        return self.held

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        self.asked += 1
        return self.decision if entrypoint == "decision" else {"version": 1, "visible": []}

    async def aclose(self) -> None:
        self.closed = True


def _remote() -> tuple[_Server, RemotePolicy]:
    server = _Server()
    return server, RemotePolicy(cast("OpaClient", server))


async def test_an_opa_that_is_ready_is_tried_and_named():
    server, remote = _remote()
    assert not remote.ready

    await remote.open()

    assert remote.ready
    assert (remote.name, remote.revision, remote.problem) == ("tiny", "r1", None)
    assert await remote.evaluate("decision", b"{}") == DENIED
    await remote.aclose()
    assert server.closed


async def test_the_same_revision_is_not_tried_again():
    server, remote = _remote()
    await remote.open()
    asked = server.asked

    assert not await remote.look()
    assert server.asked == asked


async def test_another_revision_is_tried_and_told():
    server, remote = _remote()
    await remote.open()
    server.held = "r2"

    assert await remote.look()
    assert remote.revision == "r2"


async def test_an_opa_that_goes_is_not_ready_until_it_is_back_and_tried():
    server, remote = _remote()
    await remote.open()
    server.ready = False

    assert not await remote.look()
    assert not remote.ready
    assert remote.problem == "OPA is not ready; wait"

    server.ready = True
    asked = server.asked
    assert not await remote.look()
    assert remote.ready
    assert server.asked > asked


async def test_a_policy_that_answers_a_fixture_badly_is_a_problem():
    server, remote = _remote()
    server.decision = {"effect": "allow"}

    await remote.open()

    assert not remote.ready
    assert "does not follow the contract" in str(remote.problem)
