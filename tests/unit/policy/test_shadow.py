"""A shadow policy decides in a process of its own. Calls leave their inputs, and nothing of it waits, grows or raises."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.config import PolicySettings, TaskLimit
from gateway.model.decision import Decision, PolicyRevision
from gateway.policy import verdict
from gateway.policy.shadow import ShadowDifference, ShadowPolicy
from gateway.policy.trials.comparison import PolicyFiles
from tests.unit.harness import GRANTS, bench, call

STRICTER = GRANTS.replace('tools: ["read_*", "stop_*"]', "tools: [read_more]")
ALLOWED = Decision("allow", (), (), PolicyRevision("test", "1"))


class Watched:
    """A shadow policy that was not started, and all that it told."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.differences: list[ShadowDifference] = []
        settings = PolicySettings(shadow=Path("/nowhere"))
        self.policy = ShadowPolicy(
            settings, supported=frozenset(), on_difference=self.differences.append, on_result=self.results.append
        )

    def ask(self, number: int, **changes: Any) -> None:
        self.policy.note(str(number), {}, changes.get("decision", ALLOWED), size=changes.get("size", 1))


async def test_a_full_queue_drops_and_counts():
    watched = Watched()
    for number in range(300):
        watched.ask(number)
        watched.policy.confirm(str(number))

    assert watched.results == ["dropped"] * 44
    assert watched.policy.status().counts["dropped"] == 44


async def test_calls_that_end_without_a_decision_do_not_grow_the_memory():
    watched = Watched()
    for number in range(2000):
        watched.ask(number)

    assert len(watched.policy._noted) == 1024
    assert watched.results == ["dropped"] * (2000 - 1024)


async def test_a_large_call_and_a_call_without_a_verdict_are_left_out():
    watched = Watched()
    watched.ask(1, size=300_000)
    watched.ask(2, decision=verdict.refuse("policy/late", "late", "wait"))
    watched.policy.confirm("1")
    watched.policy.confirm("2")

    assert watched.results == ["dropped"]
    assert watched.policy._noted == {}


async def test_a_folder_that_is_not_there_is_told_and_stops_nothing(tmp_path: Path):
    (tmp_path / "next").mkdir()
    async with bench(tmp_path, policy="shadow: nowhere,") as there:
        shadow = there.gateway.shadow
        assert shadow is not None
        while "nowhere" not in (shadow.status().problem or ""):
            await asyncio.sleep(0.05)
        assert (await there.ask(call(path="a"))).status == 200


async def test_grants_are_tried_on_live_calls(tmp_path: Path):
    """A folder with nothing but `grants.yaml`: other grants beside the rules in force, without an OPA."""
    (tmp_path / "next").mkdir()
    (tmp_path / "next/grants.yaml").write_text(STRICTER, "utf-8")
    async with bench(tmp_path, policy="shadow: next,") as there:
        shadow = there.gateway.shadow
        assert shadow is not None
        for tool in ("read_file", "read_more"):
            assert (await there.ask(call(tool, path="a"))).status == 200
        while sum(shadow.status().counts.values()) < 2:
            await asyncio.sleep(0.05)

        assert shadow.status().counts == {"agreed": 1, "differed": 1, "failed": 0, "dropped": 0}
        decided = there.entries("call")
    (found,) = there.entries("shadow")

    assert (found["id"], found["enforced"]["effect"]) == (decided[0]["id"], "allow")
    assert (found["shadow"]["effect"], found["shadow"]["codes"]) == ("deny", ["tool/not-granted"])


async def test_other_limits_of_tasks_come_into_force_in_the_shadow_too(tmp_path: Path):
    (tmp_path / "next").mkdir()
    (tmp_path / "next/grants.yaml").write_text(GRANTS, "utf-8")
    async with bench(tmp_path, policy="shadow: next,") as there:
        shadow = there.gateway.shadow
        assert shadow is not None
        await there.ask(call(path="a"))
        while shadow.status().counts["agreed"] < 1:
            await asyncio.sleep(0.05)
        shadow.adopt(there.configuration.policy.with_limits({"calls": TaskLimit(soft=1)}))
        await there.ask(call(path="a"))
        while not there.entries("shadow"):
            await asyncio.sleep(0.05)
        assert shadow.status().problem is None
    (found,) = there.entries("shadow")

    assert found["shadow"]["codes"] == ["budget/calls"]


@pytest.mark.parametrize(
    ("made", "changed"),
    [
        (["acme/acme.rego"], {"overlay": "next"}),
        (["gateway/gateway.rego"], {"path": "next"}),
        (["grants.yaml"], {"grants": "next/grants.yaml"}),
        (["grants.yaml", "acme/acme.rego"], {"grants": "next/grants.yaml", "overlay": "next"}),
        (
            ["data.json", "gateway/overlay/overlay.rego"],
            {"path": "next", "overlay": None, "grants": None, "limits": {}},
        ),
    ],
)
def test_what_a_folder_takes_the_place_of(tmp_path: Path, made: list[str], changed: dict[str, Any]):
    for name in made:
        (tmp_path / "next" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "next" / name).touch()
    before: dict[str, Any] = {
        "path": "p",
        "grants": "g",
        "overlay": "o",
        "limits": {"calls": {"soft": 1}},
        "plan_keys": ("k",),
    }
    places: dict[str, Any] = {
        name: str(tmp_path / value) if isinstance(value, str) else value for name, value in changed.items()
    }

    assert PolicyFiles(**before).with_folder(tmp_path / "next") == PolicyFiles(**{**before, **places})
