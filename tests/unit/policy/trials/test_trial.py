"""A policy is tried in a process of its own: loaded, read, asked and timed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, folders
from gateway.policy.folder.bundle import Bundle
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.folder.reload import PolicyFolder
from gateway.policy.plan.loading import Plans
from gateway.policy.trials import child_process, trial
from gateway.policy.trials.trial import Trial
from tests import tiny_policy
from tests.machine import find_children, is_alive, needs_proc
from tests.tiny_policy import OVERLAY
from tests.unit.policy.trials.test_speed import SLOW

Tree = Callable[[dict[str, str]], Path]

RED = 'package gateway.decision_test\n\nimport data.gateway.decision\n\ntest_red if decision.result.effect == "allow" with input as {}\n'
GREEN = RED.replace("allow", "deny")
TEST = "gateway/decision/decision_test.rego"
FAILING_TEST = "package overlay.tickets_test\n\ntest_red if false\n"
REST = 0.001
"""Seconds between two looks at another process: a test that never rests takes the processor from it."""
MANY = "some _ in _hundred"
ENDLESS = {
    "gateway/visibility/visibility.rego": f"""package gateway.visibility

default result := {{"version": 1, "visible": []}}

result := {{"version": 1, "visible": [count(_many)]}} if input.version == 1

_many := {{1 | {"; ".join([MANY] * 6)}}}

_hundred := split("{"x" * 100}", "")
"""
}
INDEXES = "; ".join(f"some {name}, _ in _hundred" for name in "abcd")
GREEDY = {
    name: text.replace(f"1 | {'; '.join([MANY] * 6)}", f"[a, b, c, d] | {INDEXES}") for name, text in ENDLESS.items()
}

ORPHAN = """
import asyncio, pathlib
import msgspec
from gateway.policy.trials import trial

async def main():
    start = asyncio.create_subprocess_exec

    async def started(*words, **options):
        process = await start(*words, **options)
        made = pathlib.Path("{started}")
        made.with_suffix(".new").write_text(str(process.pid))
        made.with_suffix(".new").rename(made)
        return process

    asyncio.create_subprocess_exec = started
    await trial.require(msgspec.json.decode(pathlib.Path("{trial}").read_bytes(), type=trial.Trial))

asyncio.run(main())
"""


async def _trial(policy: Bundle, **more: Any) -> Trial:
    return Trial((await Plans().load(policy)).code, policy.data, policy.sources, **more)


async def _refusal(given: Trial) -> str:
    with pytest.raises(PolicyBroken) as raised:
        await trial.require(given)
    assert raised.value.remedy
    return raised.value.message


async def test_a_good_policy_passes(tree: Tree):
    policy = bundle.read_folder(tree({}))

    await trial.require(await _trial(policy, limit=10.0, places={"grants": "grants.yaml"}))


async def test_data_in_the_place_of_a_rule_are_told(tree: Tree):
    policy = bundle.read_folder(tree({"gateway/decision/data.json": '{"result": {"effect": "allow"}}'}))
    good = bundle.read_folder(tree({"gateway/decision/data.json": ""}))
    code = (await Plans().load(good)).code

    said = await _refusal(Trial(code, policy.data, policy.sources))

    assert said == "gateway/decision/data.json: it gives data.gateway.decision.result, and so does a rule"


async def test_a_policy_that_is_too_slow_is_told(tmp_path: Path):
    own = tiny_policy.write(tmp_path / "own", {"slow/slow.rego": SLOW})
    policy = folders.read_policy(PolicyFolders(find_shipped(), None, own))

    refusal = await _refusal(await _trial(policy, limit=0.02))

    assert "ms of processor time for tools/call with many long arguments" in refusal
    assert "the slowest rule is at overlay/slow/slow.rego:1" in refusal


async def test_data_that_cannot_be_read_in_full_are_told_with_their_place(tmp_path: Path):
    usual = {"id": "g", "agents": ["*"], "issuers": ["*"], "tools": ["send"]}
    place = tmp_path / "grants.yaml"
    for fields, problem in (
        ({"scope": ["x"]}, "/grants.yaml: upstream 'mail', grant 1: there is no field \"scope\""),
        ({"when": {"/to": {"matches": "(a{500}){500}"}}}, "/grants.yaml: upstream 'mail', grant 1: when /to: "),
    ):
        place.write_text(json.dumps({"upstreams": {"mail": [{**usual, **fields}]}}), encoding="utf-8")
        policy = bundle.read_folder(find_shipped(), place)

        assert problem in await _refusal(await _trial(policy, places={"grants": str(place)}))


async def test_a_trial_without_end_is_ended_and_says_where_it_was(tree: Tree):
    refusal = await _refusal(await _trial(bundle.read_folder(tree(ENDLESS)), seconds=2))

    assert refusal == "the policy took more than 2 s of processor time to be tried, and was at its fixtures"


async def test_a_rule_that_takes_all_memory_is_ended(tree: Tree):
    policy = bundle.read_folder(tree(GREEDY))

    refusal = await _refusal(await _trial(policy, memory=200 * 2**20))

    assert refusal == "the policy took more than 200 MiB of memory to be tried, and was at its fixtures"


@needs_proc
async def test_a_process_that_is_killed_says_where_it_was(tree: Tree):
    given = await _trial(bundle.read_folder(tree(ENDLESS)))
    before = _children()
    trying = asyncio.create_task(trial.require(given))
    child = await _new_child(before)

    os.kill(child, signal.SIGKILL)

    with pytest.raises(PolicyBroken, match="ended with status -9, and was at ") as raised:
        await trying
    assert "save a file to try again" in raised.value.remedy


@pytest.mark.parametrize("written", [b"", b'{"at":"its data"}\n{"prob', b"\xff\n"])
def test_an_answer_that_was_cut_is_a_refusal(written: bytes):
    with pytest.raises(PolicyBroken, match="ended with status 1"):
        trial._require_good(Trial(b"", "{}"), trial._lines(written), 1)


@needs_proc
async def test_the_process_ends_with_the_gateway(tree: Tree, tmp_path: Path):
    """A gateway that is killed can end nothing itself."""
    given, started, program = tmp_path / "trial", tmp_path / "started", tmp_path / "program.py"
    given.write_bytes(msgspec.json.encode(await _trial(bundle.read_folder(tree(ENDLESS)))))
    program.write_text(ORPHAN.format(trial=given, started=started), encoding="utf-8")
    gateway = await asyncio.create_subprocess_exec(sys.executable, program, env=child_process.clean_environment())
    while not started.exists():
        await asyncio.sleep(REST)
    orphan = int(started.read_text("utf-8"))

    gateway.kill()
    await gateway.wait()

    while is_alive(orphan):
        await asyncio.sleep(REST)


@needs_proc
async def test_a_trial_that_is_called_off_leaves_no_process(tree: Tree):
    given = await _trial(bundle.read_folder(tree(ENDLESS)))
    before = _children()
    trying = asyncio.create_task(trial.require(given))
    child = await _new_child(before)

    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying

    assert child not in _children()


async def _new_child(before: set[int]) -> int:
    while not (found := _children() - before):
        await asyncio.sleep(REST)
    return found.pop()


def _children() -> set[int]:
    """Return the child processes; servers of other tests may be among them."""
    return find_children(os.getpid())


async def test_the_process_has_none_of_the_secrets_of_the_gateway(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", "secret")

    assert "MY_TOKEN" not in child_process.clean_environment()
    await trial.require(await _trial(bundle.read_folder(tree({}))))


# --- before a folder is put into force ---------------------------------------------------------------


async def _opened(places: PolicyFolders, *, require_tests: bool = True) -> PolicyFolder:
    opened = PolicyFolder(
        places, deadline=60.0, monotonic=lambda: 0.0, trial=trial.require, require_tests=require_tests
    )
    await opened.open()
    return opened


async def test_a_red_test_keeps_the_policy_before_in_force(tree: Tree):
    folder = tree({TEST: GREEN})
    opened = await _opened(PolicyFolders(folder))
    before = opened.revision
    tree({TEST: RED, "gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})

    await opened.look()
    assert not await opened.look()
    assert f"{TEST}:5: the test gateway.decision_test.test_red fails" in str(opened.problem)
    assert opened.revision == before

    tree({TEST: GREEN, "gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})
    await opened.look()
    assert await opened.look()
    assert opened.problem is None
    assert opened.revision != before


async def test_a_policy_with_a_red_test_does_not_start_unless_tests_are_not_required(tree: Tree):
    folder = PolicyFolders(tree({TEST: RED}))

    with pytest.raises(PolicyBroken, match="test_red fails"):
        await _opened(folder)
    assert (await _opened(folder, require_tests=False)).ready


async def test_own_tests_beside_the_shipped_rules_run_on_own_data(tmp_path: Path):
    folder = tmp_path / "policy"
    shutil.copytree(find_shipped(), folder, ignore=shutil.ignore_patterns("*_test.rego"))
    own = "package gateway.own_test\n\ntest_own if data.gateway.settings.task_limits.calls.soft == 7\n"
    (folder / "own_test.rego").write_text(own, "utf-8")

    with pytest.raises(PolicyBroken, match=r"own_test\.rego:3: the test gateway\.own_test\.test_own fails"):
        await _opened(PolicyFolders(folder))

    (folder / "own_test.rego").write_text(own.replace("== 7", "> 7"), "utf-8")
    assert (await _opened(PolicyFolders(folder))).ready


async def test_a_red_test_of_an_overlay_keeps_the_overlay_before_in_force(tmp_path: Path):
    own = tiny_policy.write(tmp_path / "own", {"tickets/tickets.rego": OVERLAY})
    opened = await _opened(PolicyFolders(find_shipped(), None, own))
    before = opened.revision
    changed = OVERLAY.replace("undeclared-task", "not-declared")
    tiny_policy.write(own, {"tickets/tickets.rego": changed, "tickets/tickets_test.rego": FAILING_TEST})

    await opened.look()
    assert not await opened.look()
    assert "overlay/tickets/tickets_test.rego:3: the test overlay.tickets_test.test_red fails" in str(opened.problem)
    assert opened.revision == before


async def test_a_red_test_beside_the_policy_in_force_is_told(tree: Tree):
    """Else the next start would be the first to find it."""
    opened = await _opened(PolicyFolders(tree({TEST: GREEN})))
    before, current = opened.revision, opened.current

    tree({TEST: RED})
    await opened.look()
    assert not await opened.look()
    assert f"{TEST}:5: the test gateway.decision_test.test_red fails" in str(opened.problem)
    assert (opened.revision, opened.current) == (before, current)

    tree({TEST: GREEN})
    await opened.look()
    assert not await opened.look()
    assert opened.problem is None


async def test_tests_that_change_are_nothing_where_they_are_not_required(tree: Tree):
    opened = await _opened(PolicyFolders(tree({TEST: GREEN})), require_tests=False)
    tree({TEST: RED})

    await opened.look()
    assert not await opened.look()
    assert opened.problem is None


async def test_edits_during_a_trial_are_tried_themselves(tree: Tree):
    """What comes into force is what was tried, and the last edit comes into force at last."""
    folder = tree({TEST: GREEN})
    more = "gateway/more/more.rego"
    edits = [
        {more: "package gateway.more\n\nx := 2\n", TEST: RED},
        {more: "package gateway.more\n\nx := 3\n", TEST: GREEN},
    ]
    tried: list[int] = []

    async def try_and_edit(given: Trial) -> None:
        tried.append(len(edits))
        if len(tried) > 1 and len(edits) == 2:
            tree(edits.pop(0))
        await trial.require(given)

    opened = PolicyFolder(PolicyFolders(folder), deadline=60.0, monotonic=lambda: 0.0, trial=try_and_edit)
    await opened.open()
    tree({more: "package gateway.more\n\nx := 1\n"})
    for _ in range(4):
        await opened.look()
    red, problem = opened.revision, str(opened.problem)
    tree(edits.pop(0))
    in_force = [opened.revision for _ in range(4) if await opened.look()]

    assert "test_red fails" in problem
    assert in_force == [bundle.read_folder(folder).revision]
    assert red not in in_force
    assert opened.problem is None


async def test_a_trial_that_cannot_start_is_tried_again(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    opened = await _opened(PolicyFolders(tree({})))
    before = opened.revision
    tree({"gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})
    await opened.look()

    with monkeypatch.context() as full:

        async def refuse(*_: object, **__: object) -> None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        full.setattr(asyncio, "create_subprocess_exec", refuse)
        assert not await opened.look()
        assert "cannot be started: Resource temporarily unavailable" in str(opened.problem)

    assert await opened.look()
    assert opened.problem is None
    assert opened.revision != before


async def test_a_slow_rule_keeps_the_policy_before_in_force(tmp_path: Path):
    own = tiny_policy.write(
        tmp_path / "own", {"slow/slow.rego": SLOW.replace("some c, _ in input.arguments", "c := 1")}
    )
    opened = PolicyFolder(
        PolicyFolders(find_shipped(), None, own), deadline=0.1, monotonic=lambda: 0.0, trial=trial.require
    )
    await opened.open()
    before = opened.revision
    slower = SLOW.replace("some c,", "some d, _ in input.arguments\n\tsome c,")
    tiny_policy.write(own, {"slow/slow.rego": slower})

    await opened.look()
    looking = asyncio.create_task(opened.look())
    turns = 0
    while not looking.done():
        await asyncio.wait({looking}, timeout=REST)
        turns += 1

    assert not await looking
    assert "the slowest rule is at overlay/slow/slow.rego:1" in str(opened.problem)
    assert opened.revision == before
    assert turns > 100, "the loop goes on while the policy is tried"


def test_whatever_is_not_the_shipped_policy_alone_is_tried(tree: Tree, tmp_path: Path):
    assert PolicyFolders(find_shipped()).are_shipped
    for places in (
        PolicyFolders(tree({})),
        PolicyFolders(find_shipped(), tmp_path),
        PolicyFolders(find_shipped(), None, tmp_path),
    ):
        assert not places.are_shipped
