"""A policy folder that a real OPA watches, and that the gateway compares with OPA's contents."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import OpaEngine, PolicySettings
from gateway.model.decision import Decision
from gateway.policy.folder import bundle
from gateway.policy.folder.folders import PolicyFolders, read_policy
from gateway.policy.policy import Policy, PolicyEvent
from gateway.surfaces.cli.opa_admin import OpaAdmin
from gateway.surfaces.cli.opa_push import push
from tests import tiny_policy

pytestmark = pytest.mark.opa

Start = Callable[..., Any]
DECISION = "gateway/decision/decision.rego"
OTHER = {DECISION: tiny_policy.decision('input.subject.id == "other"')}
BROKEN = {DECISION: tiny_policy.decision("input.subject.id == nothing")}


class Watched:
    """A policy in an OPA, and the events that the gateway has told of it."""

    def __init__(self, url: str, folder: Path, **more: Any) -> None:
        self.events: list[PolicyEvent] = []
        engine = OpaEngine.model_validate({"kind": "opa", "url": url, "deadline": timedelta(seconds=5)})
        settings = PolicySettings(engine=engine, path=folder, reload=timedelta(milliseconds=200), **more)
        self.policy = Policy.build(settings, supported=frozenset(), clock=time.time, on_event=self.events.append)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @property
    def revision(self) -> str:
        return self.policy.status().revision

    async def decide(self, subject: str) -> Decision:
        return await self.policy.decide({"version": 1, "subject": {"id": subject}, "resources": []})

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a thing that OPA does and cannot tell of."""
        end = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end, f"{self.kinds} {self.policy.status()}"
            await asyncio.sleep(0.02)

    async def until_well(self) -> None:
        await self.until(lambda: self.policy.status().ready and self.policy.status().problem is None)


@contextlib.asynccontextmanager
async def _watched(url: str, folder: Path, **more: Any) -> AsyncGenerator[Watched]:
    watched = Watched(url, folder, **more)
    await watched.policy.start()
    try:
        yield watched
    finally:
        await watched.policy.stop()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/opa.sock"


async def test_a_good_edit_comes_into_force_with_its_revision(url: str, start: Start, policy: Path):
    start(url, "--watch", "--bundle", policy)
    first = bundle.read_folder(policy).revision
    async with _watched(url, policy) as watched:
        await watched.until_well()
        assert watched.revision == first

        tiny_policy.write(policy, OTHER)
        second = bundle.read_folder(policy).revision
        await watched.until(lambda: watched.revision == second)

        decision = await watched.decide("other")
        assert decision.allowed
        assert decision.policy.revision == second
        assert [e.status.revision for e in watched.events if e.kind == "loaded"] == [first, second]
        assert "problem" not in watched.kinds[1:]


async def test_a_broken_edit_is_told_with_its_line_and_the_policy_before_it_decides(
    url: str, start: Start, policy: Path
):
    start(url, "--watch", "--bundle", policy)
    text = (policy / DECISION).read_text("utf-8")
    async with _watched(url, policy) as watched:
        await watched.until_well()
        first = watched.revision

        tiny_policy.write(policy, BROKEN)
        await watched.until(lambda: watched.policy.status().problem is not None)
        problem = str(watched.policy.status().problem)
        assert f"{DECISION} is not in OPA as it is in the folder; mend the folder" in problem
        decision = await watched.decide("friend")
        assert decision.allowed
        assert decision.policy.revision == first
        assert watched.kinds[-1] == "problem"

        tiny_policy.write(policy, {DECISION: text})
        await watched.until_well()
        await watched.until(lambda: watched.kinds[-1] == "mended")
        assert (watched.revision, watched.kinds.count("loaded")) == (first, 1)

        tiny_policy.write(policy, BROKEN)
        await watched.until(lambda: watched.policy.status().problem is not None)
        tiny_policy.write(policy, OTHER)
        second = bundle.read_folder(policy).revision
        await watched.until(lambda: watched.revision == second)
        assert (await watched.decide("other")).allowed
        assert watched.kinds[-1] == "loaded"


async def test_an_opa_that_was_restarted_is_compared_again_and_the_revision_is_not_told_twice(
    url: str, start: Start, policy: Path, tmp_path: Path
):
    other = tiny_policy.write(tmp_path / "other", {**_files(policy), **OTHER})
    opa = start(url, "--bundle", policy)
    async with _watched(url, policy) as watched:
        await watched.until_well()
        first = watched.revision
        opa.kill()
        await watched.until(lambda: not watched.policy.status().ready)
        opa = start(url, "--bundle", policy)
        await watched.until_well()
        assert (watched.revision, watched.kinds.count("loaded")) == (first, 1)

        opa.kill()
        await watched.until(lambda: not watched.policy.status().ready)
        start(url, "--bundle", other)
        await watched.until(lambda: watched.revision.startswith("opa+"))

        assert "OPA has not taken the configured policy" in str(watched.policy.status().problem)
        assert (await watched.decide("other")).policy.revision == watched.revision


async def test_an_opa_with_another_policy_at_the_start_decides_nothing(
    url: str, start: Start, policy: Path, tmp_path: Path
):
    own = tiny_policy.write(tmp_path / "own", {**_files(policy), **OTHER})
    start(url, "--bundle", policy)
    async with _watched(url, own) as watched:
        await watched.until(lambda: "not in OPA as it is in the folder" in str(watched.policy.status().problem))
        decision = await watched.decide("friend")
        assert decision.reasons[0].code == "policy/unavailable"
        assert not watched.policy.status().ready
        assert "calls are refused until OPA holds it" in str(watched.policy.status().problem)

        tiny_policy.write(own, _files(policy))
        await watched.until_well()
        assert (await watched.decide("friend")).allowed
        assert watched.kinds[-1] == "loaded"


async def test_a_folder_that_cannot_be_read_is_told_and_opa_decides_on(
    url: str, start: Start, policy: Path, tmp_path: Path
):
    own = tmp_path / "own"
    shutil.copytree(policy, own)
    start(url, "--bundle", policy)
    async with _watched(url, own) as watched:
        await watched.until_well()
        own.rename(tmp_path / "away")
        await watched.until(lambda: "cannot be read" in str(watched.policy.status().problem))
        assert (await watched.decide("friend")).allowed
        (tmp_path / "away").rename(own)
        await watched.until_well()
        assert watched.kinds.count("loaded") == 1


async def test_data_in_opa_are_compared_with_those_of_the_folder(url: str, start: Start, policy: Path, tmp_path: Path):
    own = tmp_path / "own"
    shutil.copytree(policy, own)
    tiny_policy.write(policy, {"gateway/limits/data.yaml": "calls: 10\nrate: 1.0\n"})
    tiny_policy.write(own, {"gateway/limits/data.json": '{"calls": 11, "rate": 1}'})
    start(url, "--bundle", policy)
    async with _watched(url, own) as watched:
        await watched.until(lambda: "data.gateway.limits" in str(watched.policy.status().problem))
        tiny_policy.write(own, {"gateway/limits/data.json": '{"calls": 10, "rate": 1}'})
        await watched.until_well()


def _pushed(url: str, folders: PolicyFolders, name: str) -> str:
    """Push a policy from these folders; return its revision."""
    policy = read_policy(folders)
    admin = OpaAdmin(OpaEngine(kind="opa", url=url))
    push(admin, policy, name=name, at="")
    admin.close()
    return policy.revision


async def test_grants_of_the_configuration_reach_opa_by_a_push(url: str, start: Start, policy: Path, tmp_path: Path):
    grants = tmp_path / "grants.yaml"
    grants.write_text("upstreams: {agents: [friend]}\n", "utf-8")
    agent = "input.subject.id in data.gateway.grants.upstreams.agents"
    tiny_policy.write(policy, {DECISION: tiny_policy.decision(agent), "gateway/grants/data.yaml": "upstreams: {}\n"})
    places = PolicyFolders(policy, grants)
    opa = start(url)
    async with _watched(url, policy, grants=grants) as watched:
        await watched.until(lambda: "opagate policy push" in str(watched.policy.status().problem))
        assert not watched.policy.status().ready
        assert (await watched.decide("friend")).reasons[0].code == "policy/unavailable"

        first = await asyncio.to_thread(_pushed, url, places, "one")
        await watched.until_well()
        decision = await watched.decide("friend")
        assert (decision.allowed, decision.policy.revision) == (True, first)

        grants.write_text("upstreams: {agents: [other]}\n", "utf-8")
        await watched.until(lambda: "run `opagate policy push`" in str(watched.policy.status().problem))
        assert (await watched.decide("friend")).policy.revision == first
        second = await asyncio.to_thread(_pushed, url, places, "two")
        await watched.until(lambda: watched.revision == second)
        await watched.until_well()
        assert not (await watched.decide("friend")).allowed
        assert (await watched.decide("other")).allowed

        # An OPA that was restarted has forgotten the push.
        opa.kill()
        await watched.until(lambda: not watched.policy.status().ready)
        start(url)
        await watched.until(
            lambda: (
                "OPA has not taken" in str(watched.policy.status().problem)
                or "no answer" in str(watched.policy.status().problem)
            )
        )
        assert not (await watched.decide("other")).allowed
        await asyncio.to_thread(_pushed, url, places, "three")
        await watched.until_well()
        assert (await watched.decide("other")).allowed
        assert [e.status.revision for e in watched.events if e.kind == "loaded"] == [first, second]


def _files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}
