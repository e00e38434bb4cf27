"""A policy is tried in a process of its own: loaded, read, asked, timed and tested."""

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

import pytest

from gateway.errors import PolicyBroken
from gateway.policy import bundle, child_process, embedded, trial
from gateway.policy.folders import PolicyFolders, find_shipped
from gateway.policy.reload import PolicyFolder
from gateway.policy.selftest import Suite
from gateway.policy.trial import Trial
from tests import tiny_policy
from tests.machine import is_alive, needs_proc
from tests.tiny_policy import OVERLAY

Tree = Callable[[dict[str, str]], Path]

RED = 'package gateway.decision_test\n\nimport data.gateway.decision\n\ntest_red if decision.result.effect == "allow" with input as {}\n'
GREEN = RED.replace("allow", "deny")
TEST = "gateway/decision/decision_test.rego"
FAILING_TEST = "package overlay.tickets_test\n\ntest_red if false\n"
ENDLESS = """package a_test

_many := [1 | some _ in _hundred; some _ in _hundred; some _ in _hundred; some _ in _hundred; some _ in _hundred]

_hundred := split("{}", "")

test_endless if count(_many) == 0
"""

ORPHAN = """
import asyncio, pathlib
from gateway.policy import bundle, trial
from gateway.policy.selftest import Suite

async def main():
    policy = bundle.read_folder(pathlib.Path("{policy}"))
    start = asyncio.create_subprocess_exec

    async def started(*words, **options):
        process = await start(*words, **options)
        made = pathlib.Path("{started}")
        made.with_suffix(".new").write_text(str(process.pid))
        made.with_suffix(".new").rename(made)
        return process

    asyncio.create_subprocess_exec = started
    await trial.require(trial.Trial(policy, (Suite(policy),)))

asyncio.run(main())
"""


async def _refusal(given: Trial) -> str:
    with pytest.raises(PolicyBroken) as raised:
        await trial.require(given)
    assert raised.value.remedy
    return raised.value.message


async def test_a_good_policy_passes(tree: Tree):
    policy = bundle.read_folder(tree({TEST: GREEN}))

    await trial.require(Trial(policy, (Suite(policy),), 10.0, {"grants": "grants.yaml"}))


async def test_what_is_wrong_with_a_policy_is_told_as_the_gateway_tells_it(tree: Tree):
    broken = bundle.read_folder(tree({"gateway/decision/extra.rego": "package gateway.decision\n\nx := \n"}))
    misspelt = bundle.read_folder(
        tree({"gateway/decision/extra.rego": "package gateway.decision\n\nx if input.subjekt\n"})
    )

    assert "gateway/decision/extra.rego:4: expecting expression" in await _refusal(Trial(broken))
    assert "gateway/decision/extra.rego:3: `input` has no field `subjekt`" in await _refusal(Trial(misspelt))


async def test_a_red_test_is_told_with_its_file_and_line(tree: Tree):
    policy = bundle.read_folder(tree({TEST: RED + "\ntest_also_red if false\n"}))

    assert await _refusal(Trial(policy, (Suite(policy),))) == (
        f"{TEST}:5: the test gateway.decision_test.test_red fails: it has no value (and 1 more)"
    )
    await trial.require(Trial(policy))


async def test_grants_that_are_too_slow_are_told(tmp_path: Path):
    usual = {"agents": ["*"], "issuers": ["*"], "tools": ["send"]}
    expression = "([a-z]{{3}}|[0-9]{{4}}|[A-Z_-]{{5}}){{12}}{}"
    grants = [{**usual, "id": f"g{i}", "when": {"/to": {"matches": expression.format(i)}}} for i in range(2000)]
    (tmp_path / "grants.yaml").write_text(json.dumps({"upstreams": {"mail": grants}}), encoding="utf-8")
    policy = bundle.read_folder(find_shipped(), tmp_path / "grants.yaml")

    refusal = await _refusal(Trial(policy, limit=0.125, places={"grants": "grants.yaml"}))

    assert "ms of processor time for tools/call of mail/send" in refusal
    assert "it looks at 2000 grants; the slowest is upstream 'mail', grant " in refusal


async def test_data_that_cannot_be_read_in_full_are_told_with_their_place(tmp_path: Path):
    grant = {
        "id": "g",
        "agents": ["*"],
        "issuers": ["*"],
        "tools": ["send"],
        "when": {"/to": {"matches": "(a{500}){500}"}},
    }
    place = tmp_path / "grants.yaml"
    for fields, problem in (
        ({"scope": ["x"]}, "/grants.yaml: upstream 'mail', grant 1: there is no field \"scope\""),
        (grant, "/grants.yaml: upstream 'mail', grant 1 (g): when /to: compiled regex exceeded size limit"),
    ):
        place.write_text(json.dumps({"upstreams": {"mail": [{**grant, "when": {}, **fields}]}}), encoding="utf-8")

        assert problem in await _refusal(
            Trial(bundle.read_folder(find_shipped(), place), places={"grants": str(place)})
        )


async def test_a_trial_without_end_is_ended_and_says_where_it_was(tree: Tree):
    policy = bundle.read_folder(tree({"a_test.rego": ENDLESS.replace("{}", "x" * 100)}))

    refusal = await _refusal(Trial(policy, (Suite(policy),), seconds=2))

    assert "the policy took more than 2 s of processor time to be tried" in refusal
    assert "and was at the test a_test.test_endless (a_test.rego:7)" in refusal


async def test_rego_that_the_parser_never_finishes_ends_with_the_trial(tree: Tree):
    """`parse_cost` refuses such a file when it is read; the process bounds what the estimate does not see."""
    endless = f"package a\n\nx := {'[' * 120}1{']' * 120}\n"
    policy = bundle.read_folder(tree({"a.rego": endless, "a_test.rego": endless}))

    refusal = await _refusal(Trial(policy, seconds=1))

    assert refusal == "the policy took more than 1 s of processor time to be tried, and was at loading it"


async def test_a_test_that_takes_all_memory_is_ended_and_named(tree: Tree):
    greedy = "package a_test\n\ntest_greedy if count(numbers.range(1, 10000000000)) == 0\n"
    policy = bundle.read_folder(tree({"a_test.rego": greedy}))

    refusal = await _refusal(Trial(policy, (Suite(policy),)))

    assert refusal == (
        "the policy took more than 2048 MiB of memory to be tried, and was at the test a_test.test_greedy (a_test.rego:3)"
    )


@needs_proc
async def test_a_process_that_is_killed_says_where_it_was(tree: Tree):
    policy = bundle.read_folder(tree({"a_test.rego": ENDLESS.replace("{}", "x" * 100)}))
    before = _children()
    trying = asyncio.create_task(trial.require(Trial(policy, (Suite(policy),))))
    child = await _new_child(before)

    os.kill(int(child), signal.SIGKILL)

    with pytest.raises(PolicyBroken, match="ended with status -9, and was at ") as raised:
        await trying
    assert "save a file to try again" in raised.value.remedy


@pytest.mark.parametrize("written", [b"", b'{"at":"its data"}\n{"prob', b"\xff\n"])
def test_an_answer_that_was_cut_is_a_refusal(tree: Tree, written: bytes):
    with pytest.raises(PolicyBroken, match="ended with status 1"):
        trial._require_good(Trial(bundle.read_folder(tree({}))), trial._lines(written), 1)


@needs_proc
async def test_the_process_ends_with_the_gateway(tree: Tree, tmp_path: Path):
    """A gateway that is killed can end nothing itself."""
    policy = tree({"a_test.rego": ENDLESS.replace("{}", "x" * 100)})
    started = tmp_path / "started"
    program = tmp_path / "program.py"
    program.write_text(ORPHAN.format(policy=str(policy), started=str(started)), encoding="utf-8")
    gateway = await asyncio.create_subprocess_exec(sys.executable, program, env=child_process.clean_environment())
    while not started.exists():
        await asyncio.sleep(0)
    orphan = int(started.read_text("utf-8"))

    gateway.kill()
    await gateway.wait()

    while is_alive(orphan):
        await asyncio.sleep(0)


@needs_proc
async def test_a_trial_that_is_called_off_leaves_no_process(tree: Tree):
    policy = bundle.read_folder(tree({"a_test.rego": ENDLESS.replace("{}", "x" * 100)}))
    before = _children()
    trying = asyncio.create_task(trial.require(Trial(policy, (Suite(policy),))))
    child = await _new_child(before)

    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying

    assert child not in _children()


async def _new_child(before: set[str]) -> str:
    while not (found := _children() - before):
        await asyncio.sleep(0)
    return found.pop()


def _children() -> set[str]:
    """Return the child processes; servers of other tests may be among them."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text("utf-8").split())


async def test_the_process_has_none_of_the_secrets_of_the_gateway(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", "secret")

    assert "MY_TOKEN" not in child_process.clean_environment()
    await trial.require(Trial(bundle.read_folder(tree({}))))


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
    edits = [
        {"gateway/more/more.rego": "package gateway.more\n\nx := 2\n", TEST: RED},
        {"gateway/more/more.rego": "package gateway.more\n\nx := 3\n", TEST: GREEN},
    ]
    tried: list[str] = []

    async def try_and_edit(given: Trial) -> None:
        tried.append(given.policy.revision)
        if len(tried) > 1 and edits:
            tree(edits.pop(0))
        await trial.require(given)

    opened = PolicyFolder(PolicyFolders(folder), deadline=60.0, monotonic=lambda: 0.0, trial=try_and_edit)
    await opened.open()
    tree({"gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})
    in_force = [opened.revision, *[opened.revision for _ in range(8) if await opened.look()]]

    first, second, red, last = tried
    assert in_force == [first, second, last]
    assert red not in in_force
    assert opened.revision == bundle.read_folder(folder).revision
    assert opened.problem is None


async def test_the_tests_of_a_policy_are_from_the_same_reading(tree: Tree, tmp_path: Path):
    """An edit between two readings would have one policy tested and another put into force."""
    own = tiny_policy.write(tmp_path / "own", {"tickets/tickets.rego": OVERLAY})
    folder = tiny_policy.write(
        shutil.copytree(find_shipped(), tmp_path / "copied"), {"x_test.rego": "package x_test\n"}
    )
    read: list[Trial] = []

    async def edit(given: Trial) -> None:
        (folder / "x_test.rego").unlink(missing_ok=True)
        read.append(given)

    opened = PolicyFolder(PolicyFolders(folder, None, own), deadline=60.0, monotonic=lambda: 0.0, trial=edit)
    await opened.open()

    assert "x_test.rego" in dict(read[0].suites[0].policy.tests)


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


async def test_slow_grants_keep_the_grants_before_in_force(tmp_path: Path):
    grants = tmp_path / "grants.yaml"
    grants.write_text("upstreams: {}\n", encoding="utf-8")
    opened = PolicyFolder(
        PolicyFolders(find_shipped(), grants), deadline=0.25, monotonic=lambda: 0.0, trial=trial.require
    )
    await opened.open()
    before = opened.revision
    expression = "([a-z]{{3}}|[0-9]{{4}}|[A-Z_-]{{5}}){{12}}{}"
    usual = {"agents": ["*"], "issuers": ["*"], "tools": ["send"]}
    slow = [{**usual, "id": f"g{i}", "when": {"/to": {"matches": expression.format(i)}}} for i in range(2000)]
    grants.write_text(json.dumps({"upstreams": {"mail": slow}}), encoding="utf-8")

    await opened.look()
    looking = asyncio.create_task(opened.look())
    turns = 0
    while not looking.done():
        await asyncio.wait([looking], timeout=0.01)
        turns += 1

    assert not await looking
    assert "the slowest is upstream 'mail', grant " in str(opened.problem)
    assert opened.revision == before
    assert turns > 20, "the loop goes on while the policy is tried"


async def test_a_tried_policy_is_not_checked_again_here(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> None:
        pytest.fail("the trees of a policy take memory that this process would keep")

    monkeypatch.setattr(embedded, "_fault", refuse)

    assert (await _opened(PolicyFolders(tree({})))).ready


def test_whatever_is_not_the_shipped_policy_alone_is_tried(tree: Tree, tmp_path: Path):
    assert PolicyFolders(find_shipped()).are_shipped
    for places in (
        PolicyFolders(tree({})),
        PolicyFolders(find_shipped(), tmp_path),
        PolicyFolders(find_shipped(), None, tmp_path),
    ):
        assert not places.are_shipped
