from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from gateway.model.errors import PolicyLate, PolicyUnavailable
from gateway.policy.contract import Entrypoint
from gateway.policy.opa.client import Held, OpaClient
from gateway.policy.opa.contents import BundleState, OpaLabels, Pushed, Report
from gateway.policy.opa.remote import Agreement, RemotePolicy
from tests.unit.clock import Clock

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
        self.revision = "r1"
        self.pushed = Pushed()
        self.decision: object = DENIED
        self.asked = self.looks = 0
        self.late = False
        self.fetched: float | None = 0.0
        """When it had its bundle, by its own clock; without one it reports nothing."""
        self.closed = False

    async def require_ready(self) -> None:
        if self.late:
            raise PolicyLate("OPA did not answer", "wait")
        if not self.ready:
            raise PolicyUnavailable("OPA is not ready", "wait")

    async def held(self) -> Held:
        return Held(self.revision, frozenset({"b"}), self.pushed)

    async def report(self) -> Report:
        if self.fetched is None:
            raise PolicyUnavailable("OPA reports nothing", "have it report")
        at = datetime(2026, 11, 27, tzinfo=UTC) + timedelta(seconds=self.fetched)
        return Report(OpaLabels("one"), {"b": BundleState(at, at, at, at)})

    async def evaluate(self, entrypoint: Entrypoint, document: bytes, *, is_look: bool = False) -> object:
        self.asked += 1
        self.looks += is_look
        return self.decision if entrypoint == "decision" else {"version": 1, "visible": []}

    async def aclose(self) -> None:
        self.closed = True


def _remote(stale_after: float = math.inf) -> tuple[_Server, RemotePolicy, Clock]:
    server, clock = _Server(), Clock(100.0)
    return server, RemotePolicy(cast("OpaClient", server), stale_after=stale_after, monotonic=clock), clock


async def test_an_opa_that_is_ready_is_tried_and_named():
    server, remote, _ = _remote()
    assert not remote.ready

    await remote.open()

    assert remote.ready
    assert (remote.name, remote.revision, remote.problem) == ("tiny", "r1", None)
    assert await remote.evaluate("decision", {}) == DENIED
    await remote.aclose()
    assert server.closed


async def test_the_same_revision_is_not_tried_again():
    server, remote, _ = _remote()
    await remote.open()
    asked = server.asked

    assert not await remote.look()
    assert server.asked == asked


async def test_another_revision_is_tried_and_told():
    server, remote, _ = _remote()
    await remote.open()
    server.revision = "r2"

    assert await remote.look()
    assert remote.revision == "r2"


async def test_an_opa_that_goes_is_not_ready_until_it_is_back_and_tried():
    server, remote, _ = _remote()
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


async def test_one_late_look_says_little_and_two_in_a_row_count():
    server, remote, _ = _remote()
    await remote.open()
    for _ in range(3):
        server.late = True
        await remote.look()
        assert remote.ready
        server.late = False
        await remote.look()
        assert remote.ready
    server.late = True
    await remote.look()
    await remote.look()
    assert not remote.ready
    assert remote.problem == "OPA did not answer; wait"
    server.late = False
    await remote.look()
    assert remote.ready


async def test_a_late_look_does_not_make_an_opa_ready_that_never_was():
    server, remote, _ = _remote()
    server.late = True
    await remote.open()
    assert not remote.ready


async def test_fixtures_have_the_time_of_a_look_and_decisions_have_not():
    server, remote, _ = _remote()
    await remote.open()
    assert server.looks == server.asked > 0
    await remote.evaluate("decision", {})
    assert server.looks == server.asked - 1


async def test_a_policy_that_answers_a_fixture_badly_is_a_problem():
    server, remote, _ = _remote()
    server.decision = {"effect": "allow"}

    await remote.open()

    assert not remote.ready
    assert "does not follow the contract" in str(remote.problem)


async def test_a_push_that_has_not_ended_is_a_problem_until_it_has():
    server, remote, _ = _remote()
    await remote.open()
    server.pushed = Pushed(pushing="r2", push="a")

    assert not await remote.look()
    assert not remote.ready
    assert remote.problem == (
        "a push of revision r2 to OPA has not ended; if it was killed, run `opagate policy push --take-over`"
    )

    server.pushed, server.revision = Pushed("r2", push="a"), "r2"
    assert await remote.look()
    assert (remote.ready, remote.problem, remote.revision) == (True, None, "r2")


async def test_without_a_limit_nobody_asks_how_old_the_bundles_are():
    server, remote, clock = _remote()
    server.fetched = None
    clock.now += 3600

    await remote.open()

    assert remote.problem is None


async def test_it_is_as_current_as_its_bundles_and_says_which_has_not_come_anew():
    server, remote, clock = _remote(stale_after=60)
    await remote.open()
    clock.now = 160.0
    await remote.look()
    assert (remote.current, remote.problem) == (100.0, None)

    clock.now = 161.0
    assert not await remote.look()
    assert (remote.current, remote.ready) == (100.0, True)
    assert "has not had its bundle 'b' anew for longer than policy.stale_after" in str(remote.problem)
    assert "see OPA's log" in str(remote.problem)

    server.fetched = 1.0
    asked = server.asked
    assert not await remote.look()
    assert (remote.current, remote.problem, server.asked) == (161.0, None, asked)


async def test_an_opa_that_does_not_report_is_a_problem_at_once_and_no_more_current_than_it_was():
    server, remote, clock = _remote(stale_after=60)
    server.fetched = None

    await remote.open()

    assert remote.ready
    assert remote.problem == (
        "OPA reports nothing; have it report; after policy.stale_after of that, calls are refused"
    )
    clock.now = 150.0
    await remote.look()
    assert remote.current == 100.0


async def test_an_opa_that_is_gone_is_no_more_current_than_it_was():
    server, remote, clock = _remote(stale_after=60)
    await remote.open()
    server.ready, server.fetched, clock.now = False, 1.0, 150.0

    await remote.look()

    assert (remote.current, remote.problem) == (100.0, "OPA is not ready; wait")


class _Agreement:
    """An agreement that a test sets by hand."""

    is_reached = True
    revision = "r1"

    def __init__(self) -> None:
        self.problem: str | None = None

    async def look(self, held: Held) -> None:
        pass

    def forget(self) -> None:
        pass


async def test_with_a_configured_policy_its_age_is_that_of_the_agreement_and_not_of_the_bundles():
    server, clock, agreement = _Server(), Clock(100.0), _Agreement()
    remote = RemotePolicy(
        cast("OpaClient", server), stale_after=60.0, monotonic=clock, agreement=cast("Agreement", agreement)
    )
    server.fetched = None  # a folder that OPA was given has no age
    await remote.open()
    assert (remote.current, remote.problem) == (100.0, None)

    clock.now = 130.0
    await remote.look()
    assert (remote.current, remote.problem) == (130.0, None)

    clock.now, agreement.problem = 150.0, "OPA has not taken the configured policy"
    await remote.look()
    assert (remote.current, remote.problem) == (130.0, "OPA has not taken the configured policy")

    clock.now, server.ready, agreement.problem = 160.0, False, None
    await remote.look()
    assert remote.current == 130.0
