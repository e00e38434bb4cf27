"""The candidate policy: recorded decisions that would change, found in a process of its own, for operators, and on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import PolicyBroken, PolicyUnavailable
from gateway.policy.trials import comparison
from gateway.policy.trials.comparison import Compared, ComparedVerdict, PolicyFiles
from gateway.surfaces.console import policy
from gateway.surfaces.console.policy import CandidateRuns, judge
from tests.unit.harness import GRANTS, call
from tests.unit.surfaces.console.visiting import Browser, person, visited

STRICTER = GRANTS.replace('tools: ["read_*", "stop_*"]', "tools: [read_more]")
QUICK = "policy: {grants: grants.yaml, engine: {kind: embedded, deadline: 20s}}"


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    (tmp_path / "stricter.yaml").write_text(STRICTER)
    async with visited(tmp_path, pages="{candidate: {grants: stricter.yaml}}") as browser:
        yield browser


def operator(browser: Browser) -> Browser:
    return browser.visit(person("oda", "operator"))


async def policy_page(browser: Browser) -> str:
    return (await browser.get("/console/policy")).body.decode()


async def test_the_page_lists_the_decisions_that_would_change(stranger: Browser):
    for tool in ("read_file", "read_more", "hidden", "ask_first"):
        await stranger.there.ask(call(tool, path="a"))
    inside = operator(stranger)
    before = await policy_page(inside)
    done = await inside.send("/console/policy/compare")
    after = await policy_page(inside)

    assert "Compare on the last 200 decisions" in before
    assert done.status == 303
    assert "1 of the last 4 recorded decisions would change" in after
    assert "decisions are not compared" not in after
    assert "files/read_file" in after
    assert "tool/not-granted" in after.partition("would change")[2]
    assert "without its arguments" in after, "the journal keeps a digest of them"
    assert "files/read_more" not in after


async def test_calls_of_observe_mode_are_compared_by_the_verdict_of_policy(tmp_path: Path):
    (tmp_path / "wider.yaml").write_text(GRANTS.replace('"read_*"', '"*"'))
    async with visited(tmp_path, "enforce: false\n", pages="{candidate: {grants: wider.yaml}}") as browser:
        for tool in ("read_file", "hidden", "ask_first"):
            await browser.there.ask(call(tool, path="a"))
        inside = operator(browser)
        await inside.send("/console/policy/compare")
        after = await policy_page(inside)

    assert "decisions are not compared" not in after
    assert "2 of the last 3 recorded decisions would change" in after


async def test_a_comparison_is_on_record_before_it_begins(stranger: Browser):
    await operator(stranger).send("/console/policy/compare")
    (entry,) = [one for one in stranger.there.entries("console") if one["event"] == "policy-compare"]

    assert (entry["by"]["id"], entry["candidate"]) == ("oda", {"grants": str(stranger.there.folder / "stricter.yaml")})


async def test_the_candidate_decides_no_call(stranger: Browser):
    await operator(stranger).send("/console/policy/compare")
    await stranger.there.ask(call("read_file", path="a"))

    assert stranger.there.entries("call")[0]["effect"] == "allow"


async def test_only_operators_compare(stranger: Browser):
    for visitor in (person("vera", "viewer"), person("bob", "approver")):
        inside = stranger.visit(visitor)
        assert (await inside.send("/console/policy/compare")).status == 403
    assert (await stranger.post("/console/policy/compare")).status == 401
    assert "Compare on" not in await policy_page(stranger.visit(person("vera", "viewer")))
    assert stranger.there.entries("console") == []


async def test_a_form_of_another_login_compares_nothing(stranger: Browser):
    answer = await operator(stranger).post("/console/policy/compare", csrf="x")

    assert (answer.status, stranger.there.entries("console")) == (403, [])


async def test_two_browsers_make_one_comparison(stranger: Browser):
    one, other = operator(stranger), stranger.visit(person("otto", "operator"))
    answers = await asyncio.gather(one.send("/console/policy/compare"), other.send("/console/policy/compare"))

    assert sorted(answer.status for answer in answers) == [303, 409]
    assert (await one.send("/console/policy/compare")).status == 303, "and the next one begins"


async def test_a_candidate_that_cannot_be_loaded_is_told_in_a_sentence(stranger: Browser):
    (stranger.there.folder / "stricter.yaml").write_text("upstreams: [")
    answer = await operator(stranger).send("/console/policy/compare")

    assert answer.status == 503
    assert b"stricter.yaml" in answer.body


async def test_without_a_candidate_there_is_nothing_to_compare(tmp_path: Path):
    async with visited(tmp_path) as browser:
        inside = operator(browser)
        assert "Candidate" not in await policy_page(inside)
        assert (await inside.send("/console/policy/compare")).status == 409


def row(effect: str) -> dict[str, Any]:
    return {"effect": effect}


def test_a_decision_that_the_policy_in_force_would_not_repeat_is_not_compared():
    allow, deny = ComparedVerdict("allow", ()), ComparedVerdict("deny", ("a/b",))
    asked = [
        policy._RecordedInput(row("deny"), {}),
        policy._RecordedInput(row("allow"), None),
        policy._RecordedInput(row("allow"), {}),
        policy._RecordedInput(row("deny"), {}),
    ]
    compared = Compared(("1", "2"), ((allow, deny), (allow, deny), (deny, deny)))
    found = judge("oda", "now", asked, compared)

    assert (found.looked, found.unclear) == (4, 2)
    assert [(one.before, one.after) for one in found.differences] == [(allow, deny)]


async def test_a_process_that_ends_too_early_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparison, "PATIENCE", 0.001)
    with pytest.raises(PolicyUnavailable, match="took more than"):
        await comparison.compare(PolicyFiles(), PolicyFiles(), [], ())


async def test_the_process_has_a_bound_of_processor_time(tmp_path: Path):
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "endless.rego").write_text(
        "package endless\n\nfindings contains x if {\n\tsome a in numbers.range(0, 100000)\n"
        "\tsome b in numbers.range(0, 100000)\n\tsome c in numbers.range(0, 100000)\n\tx := a + b + c\n}\n"
    )
    with pytest.raises((PolicyBroken, PolicyUnavailable)):
        await comparison.compare(PolicyFiles(), PolicyFiles(overlay=str(overlay)), [{}], ())


def test_the_runs_of_no_candidate_describe_nothing():
    assert CandidateRuns(None).describe() is None


async def test_the_page_has_the_shadow_policy_with_its_latest_differences(tmp_path: Path):
    (tmp_path / "next").mkdir()
    (tmp_path / "next/grants.yaml").write_text(STRICTER)
    async with visited(tmp_path, policy="shadow: next,") as browser:
        shadow = browser.there.gateway.shadow
        assert shadow is not None
        await browser.there.ask(call("read_file", path="a"))
        while not browser.there.entries("shadow"):
            await asyncio.sleep(0.05)
        found = await policy_page(browser.visit(person("vera", "viewer")))
        decision = browser.there.entries("call")[0]["id"]
        shown = await browser.visit(person("vera", "viewer")).get(f"/console/decisions/{decision}")

    assert "<dt>shadow</dt>" in shown.body.decode()
    assert "0 calls decided alike, 1 otherwise" in found
    assert f'href="/console/decisions/{decision}"' in found
    assert "tool/not-granted" in found.partition('id="shadow"')[2]
