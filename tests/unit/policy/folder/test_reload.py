from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import PolicyBroken, PolicyLate, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import authoring
from gateway.policy.folder import bundle, folders, reload
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.folder.reload import PolicyFolder
from gateway.policy.plan.store import StoredPlan
from tests.unit.clock import Clock

Tree = Callable[[dict[str, str]], Path]

AGENT: JsonObject = {"subject": {"id": "spiffe://corp/agent/triage"}}
EMPTY_GRANTS = {"gateway/grants/data.yaml": "upstreams: {agents: []}\n"}
PROBLEMS = """package gateway.grants.problems

found contains {"upstream": "files", "index": i, "problem": sprintf("no agent %q", [agent])} if {
	some i, agent in data.gateway.grants.upstreams.agents
	startswith(agent, "x")
}
"""
BROKEN = {"gateway/decision/extra.rego": "package gateway.decision\n\nx := \n"}


async def _effect(folder: PolicyFolder) -> object:
    answer: Any = await folder.evaluate("decision", AGENT)
    return answer["effect"]


@pytest.fixture
async def opened(tree: Tree) -> PolicyFolder:
    folder = PolicyFolder(PolicyFolders(tree({})), deadline=60.0, monotonic=lambda: 0.0)
    await folder.open()
    return folder


async def test_before_it_is_opened_nothing_is_answered(tree: Tree):
    folder = PolicyFolder(PolicyFolders(tree({})), deadline=60.0, monotonic=lambda: 0.0)

    assert not folder.ready
    assert folder.revision == ""
    with pytest.raises(PolicyUnavailable):
        await folder.evaluate("decision", AGENT)


async def test_an_opened_folder_answers_and_says_which_policy(opened: PolicyFolder, tree: Tree):
    assert opened.ready
    assert opened.name == "tiny"
    assert opened.revision == bundle.read_folder(tree({})).revision
    assert await _effect(opened) == "allow"
    assert not await opened.look()
    assert opened.problem is None

    await opened.aclose()

    assert not opened.ready


async def test_a_change_comes_into_force_once_the_folder_is_still(opened: PolicyFolder, tree: Tree):
    before = opened.revision
    tree(EMPTY_GRANTS)

    assert not await opened.look()
    assert await _effect(opened) == "allow"
    assert await opened.look()
    assert await _effect(opened) == "deny"
    assert opened.revision != before


async def test_calls_are_decided_by_the_policy_before_while_another_is_judged(
    opened: PolicyFolder, tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    judge, effects, judged = authoring.judge, list[object](), list[int]()

    def in_another_thread(*asked: Any) -> StoredPlan:
        assert threading.current_thread() is not threading.main_thread()
        stored = judge(*asked)
        judged.append(len(effects))
        return stored

    monkeypatch.setattr(authoring, "judge", in_another_thread)
    tree(EMPTY_GRANTS | {"gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})
    await opened.look()

    looking = asyncio.create_task(opened.look())
    while not looking.done():
        effects.append(await _effect(opened))
        await asyncio.sleep(0)

    assert await looking
    assert set(effects) == {"allow"}
    assert judged[0] > 10, "calls are decided while OPA judges"
    assert await _effect(opened) == "deny"


async def test_a_copy_under_way_is_not_taken_for_a_policy(opened: PolicyFolder, tree: Tree):
    tree(EMPTY_GRANTS)
    assert not await opened.look()
    tree({"gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})

    assert not await opened.look()
    assert await _effect(opened) == "allow"
    assert await opened.look()


async def test_a_change_while_reading_waits_for_the_next_look(
    opened: PolicyFolder, tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    opened._seen = folders.fingerprint(PolicyFolders(tree(EMPTY_GRANTS)))
    marks = iter([opened._seen, (("other", 0, 0, 0),)])

    def fingerprint(*_: object) -> object:
        return next(marks)

    monkeypatch.setattr(folders, "fingerprint", fingerprint)

    assert not await opened.look()
    assert await _effect(opened) == "allow"


async def test_a_broken_policy_leaves_the_last_good_in_force_and_says_so(opened: PolicyFolder, tree: Tree):
    before = opened.revision
    folder = tree(BROKEN)
    await opened.look()

    assert not await opened.look()
    assert opened.problem is not None
    assert "gateway/decision/extra.rego:" in opened.problem
    assert opened.ready
    assert opened.revision == before
    assert await _effect(opened) == "allow"

    (folder / "gateway/decision/extra.rego").unlink()
    await opened.look()
    assert not await opened.look()
    assert opened.problem is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ('default result := {"effect": "allow"}', "does not follow the contract"),
        ("result := {} if input.arguments.nope", "gave no answer"),
        (
            'default result := {"version":1,"effect":"allow","reasons":[],"obligations":[],"policy":{"name":"open"}}',
            "allows a call on an empty input",
        ),
        (
            'default result := {}\n\nresult := {"x": 1} if input.version\n\nresult := {"x": 2} if input.version',
            "fails on a fixture",
        ),
    ],
)
async def test_a_policy_that_answers_a_fixture_badly_is_not_put_into_force(
    opened: PolicyFolder, tree: Tree, rule: str, problem: str
):
    tree({"gateway/decision/decision.rego": f"package gateway.decision\n\n{rule}\n"})
    await opened.look()

    assert not await opened.look()
    assert problem in str(opened.problem)
    assert await _effect(opened) == "allow"


@pytest.mark.parametrize("rule", ["x := ", "default result := {}", "result := {} if input.arguments.nope"])
async def test_a_policy_that_fails_leaves_the_last_good_in_force(opened: PolicyFolder, tree: Tree, rule: str):
    before = opened.revision
    tree({"gateway/decision/decision.rego": f"package gateway.decision\n\n{rule}\n"})
    await opened.look()

    assert not await opened.look()
    assert opened.problem is not None
    assert (opened.revision, await _effect(opened)) == (before, "allow")


async def test_grants_with_problems_are_not_put_into_force(tree: Tree):
    folder = PolicyFolder(
        PolicyFolders(tree({"gateway/grants/problems/problems.rego": PROBLEMS})), deadline=60.0, monotonic=lambda: 0.0
    )
    await folder.open()
    tree({"gateway/grants/data.yaml": "upstreams: {agents: [spiffe://corp/agent/other, xb, xa]}\n"})
    await folder.look()

    assert not await folder.look()
    assert folder.problem is not None
    assert "rego/gateway/grants/data.yaml: upstream 'files', grant 2: no agent \"xb\" (and 1 more)" in folder.problem
    assert await _effect(folder) == "allow"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"gateway/decision/data.json": '{"result": {"effect": "allow"}}'},
            "conflicting rule for data path gateway/decision/result",
        ),
        (
            {"gateway/more/more.rego": "package gateway.more\n\nx if input.subjct.id\n"},
            "undefined ref: input.subjct.id",
        ),
        (
            {"gateway/denials/x/x.rego": 'package gateway.denials.x\n\ndenials contains {"code": "x/y"}\n'},
            "the decision never asks `data.gateway.denials.x.denials`",
        ),
    ],
)
async def test_a_policy_with_a_mistake_that_nothing_shows_leaves_the_last_good_in_force(
    opened: PolicyFolder, tree: Tree, change: dict[str, str], said: str
):
    before = opened.revision
    tree(EMPTY_GRANTS | change)
    await opened.look()

    assert not await opened.look()
    assert said in str(opened.problem)
    assert opened.revision == before
    assert await _effect(opened) == "allow"


async def test_settings_with_problems_are_not_put_into_force(tree: Tree):
    """The shipped rules about limits, beside a decision that asks for none."""
    names = (
        "gateway/problems/problems.rego",
        "gateway/bounds/bounds.rego",
        "gateway/lib/approvers/approvers.rego",
        "gateway/lib/patterns/patterns.rego",
    )
    limits = (find_shipped() / "gateway/settings/data.yaml").read_text("utf-8")
    rules = {name: (find_shipped() / name).read_text("utf-8") for name in names}
    folder = tree({**rules, "gateway/settings/data.yaml": limits})
    opened = PolicyFolder(PolicyFolders(folder), deadline=60.0, monotonic=lambda: 0.0)
    await opened.open()
    tree({"gateway/settings/data.yaml": limits.replace("spread: {hard: 10}", "spread: {soft: 10, hard: 10}")})
    await opened.look()

    assert not await opened.look()
    assert opened.problem is not None
    assert "gateway/settings/data.yaml: task_limits.spread needs two numbers, soft and hard" in opened.problem
    assert await _effect(opened) == "allow"


async def test_grants_with_problems_in_a_file_of_their_own_are_refused_at_the_start(tree: Tree, tmp_path: Path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("upstreams: {agents: [xa]}\n", encoding="utf-8")
    folder = tree({"gateway/grants/problems/problems.rego": PROBLEMS})

    with pytest.raises(PolicyBroken, match=r"^/.*mine\.yaml: upstream 'files', grant 1: no agent") as raised:
        await PolicyFolder(PolicyFolders(folder, mine), deadline=60.0, monotonic=lambda: 0.0).open()
    assert raised.value.remedy


@pytest.mark.parametrize("rule", ["found := 1", "found := {1}", "found := x if { x := 1 / count(input) }"])
async def test_a_policy_that_cannot_say_what_is_wrong_with_its_grants_is_refused(tree: Tree, rule: str):
    folder = tree({"gateway/grants/problems/problems.rego": f"package gateway.grants.problems\n\n{rule}\n"})

    with pytest.raises(PolicyBroken):
        await PolicyFolder(PolicyFolders(folder), deadline=60.0, monotonic=lambda: 0.0).open()


async def test_a_broken_policy_cannot_be_opened(tree: Tree):
    folder = PolicyFolder(PolicyFolders(tree(BROKEN)), deadline=60.0, monotonic=lambda: 0.0)

    with pytest.raises(PolicyBroken):
        await folder.open()

    assert not folder.ready


async def test_a_folder_that_went_away_leaves_the_last_good_in_force(opened: PolicyFolder, tree: Tree):
    folder = tree({})
    folder.rename(folder.with_name("gone"))

    assert not await opened.look()
    assert "cannot be read" in str(opened.problem)
    assert await _effect(opened) == "allow"


async def test_a_folder_that_came_back_as_it_was_is_no_problem_any_more(opened: PolicyFolder, tree: Tree):
    folder = tree({})
    await opened.look()
    await opened.look()
    away = folder.with_name("away")
    folder.rename(away)
    await opened.look()
    assert opened.problem is not None
    away.rename(folder)

    assert not await opened.look()
    assert opened.problem is None


async def test_a_broken_policy_is_still_broken_when_its_folder_has_come_back(opened: PolicyFolder, tree: Tree):
    folder = tree(BROKEN)
    await opened.look()
    await opened.look()
    broken = opened.problem
    assert broken is not None
    away = folder.with_name("away")
    folder.rename(away)
    await opened.look()
    assert opened.problem != broken
    away.rename(folder)

    await opened.look()
    assert opened.problem == broken


@pytest.fixture
async def watched(tree: Tree) -> tuple[PolicyFolder, Clock]:
    """An opened folder, and the clock by which it is looked at."""
    clock = Clock(100.0)
    folder = PolicyFolder(PolicyFolders(tree({})), deadline=60.0, monotonic=clock)
    await folder.open()
    clock.now = 200.0
    return folder, clock


async def _looked(folder: PolicyFolder, clock: Clock) -> float:
    """How current it is after a look, a second after the one before."""
    clock.now += 1
    await folder.look()
    return folder.current


async def test_a_folder_is_current_as_of_the_last_look_at_which_it_was_as_the_policy_in_force(
    watched: tuple[PolicyFolder, Clock], tree: Tree
):
    folder, clock = watched
    assert folder.current == 100.0
    assert await _looked(folder, clock) == 201.0

    tree(EMPTY_GRANTS)
    assert await _looked(folder, clock) == 201.0, "it is not still"
    assert await _looked(folder, clock) == 203.0


@pytest.mark.parametrize("how", ["broken", "gone", "never-still"])
async def test_a_newer_policy_that_is_kept_out_leaves_it_no_more_current_than_it_was(
    watched: tuple[PolicyFolder, Clock], tree: Tree, how: str
):
    folder, clock = watched
    place = tree(BROKEN if how == "broken" else {})
    if how == "gone":
        place.rename(place.with_name("gone"))
    for number in range(4):
        if how == "never-still":
            tree({f"gateway/more/more_{number}.rego": "package gateway.more\n"})
        assert await _looked(folder, clock) == 100.0

    if how == "gone":
        place.with_name("gone").rename(place)
    tree({"gateway/decision/extra.rego": ""})
    await _looked(folder, clock)
    assert await _looked(folder, clock) == clock.now
    assert folder.problem is None


async def test_a_defect_while_loading_is_no_good_policy_at_the_next_look(
    watched: tuple[PolicyFolder, Clock], tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    folder, clock = watched
    monkeypatch.setattr(reload, "CompiledPolicy", fail)
    tree(EMPTY_GRANTS)
    await folder.look()
    with pytest.raises(ZeroDivisionError):
        await folder.look()

    assert await _looked(folder, clock) == 100.0
    assert "report this as a defect" in str(folder.problem)


async def test_a_folder_that_came_back_with_what_was_broken_is_no_more_current(
    watched: tuple[PolicyFolder, Clock], tree: Tree
):
    folder, clock = watched
    place = tree(BROKEN)
    for name in ("away", place.name):
        await _looked(folder, clock)
        await _looked(folder, clock)
        place = place.rename(place.with_name(name))

    assert await _looked(folder, clock) == 100.0


async def test_fixtures_are_not_about_time_but_calls_are(tree: Tree):
    ticks = itertools.count(0, 10)
    folder = PolicyFolder(
        PolicyFolders(tree({})), deadline=1.0, monotonic=lambda: 0.0, thread_time=lambda: float(next(ticks))
    )
    await folder.open()

    with pytest.raises(PolicyLate):
        await folder.evaluate("decision", AGENT)


async def test_touched_files_with_the_same_content_change_nothing(opened: PolicyFolder, tree: Tree):
    (tree({}) / "gateway/grants/data.yaml").touch()
    await opened.look()

    assert not await opened.look()
    assert opened.problem is None
