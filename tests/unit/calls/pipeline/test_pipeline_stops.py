"""Stopped callers, tasks and systems, through the whole pipeline: refused everywhere, cut, and let go on afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.stops.model import Selection, Stop
from gateway.authority.stops.switch import StopEffects, StopOrder
from gateway.calls.pipeline.revocation import Stops
from gateway.model.decision import Reason
from tests.unit.approving import HOLDING, approve, desk, pending
from tests.unit.harness import READING, Bench, Held, answering, bench, call, message, modern
from tests.unit.surfaces.pages.asking import ask_page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

ME = "dev"
LEASED = f"{READING}\n    credential: {{kind: gateway, bind: task, scopes: {{read: [files:read]}}}}"
BY = {"id": "account 0", "channel": "socket"}
ALL = Selection("all")
OF_FILES = Selection("upstream", "files")
OF_ME = Selection("agent", ME)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path) as started:
        yield started


async def stop(there: Bench, chosen: Selection) -> tuple[Stop, StopEffects]:
    switch = there.gateway.stops.switch
    assert switch is not None
    found = await switch.stop(StopOrder(chosen, "a test"), BY)
    assert not isinstance(found, Reason), found
    return found


async def resume(there: Bench, *stops: Stop) -> None:
    switch = there.gateway.stops.switch
    assert switch is not None
    await switch.resume(stops, BY, "a test")


REQUESTS: dict[str, tuple[Any, ...]] = {
    "a call": (call(),),
    "a call of the stateless era": modern("tools/call", name="read_file", arguments={}),
    "a new session": (message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={}),),
    "a list": (message("tools/list"),),
    "a list of the stateless era": modern("tools/list"),
    "a resource": (message("resources/read", uri="file:///a"),),
    "a prompt": (message("prompts/get", name="hello"),),
    "a completion": (
        message(
            "completion/complete", ref={"type": "ref/prompt", "name": "hello"}, argument={"name": "a", "value": "b"}
        ),
    ),
    "a subscription": modern("subscriptions/listen", notifications={"toolsListChanged": True}),
    "a ping": (message("ping"),),
    "a notification": (b'{"jsonrpc":"2.0","method":"notifications/initialized"}',),
    "a stream": (None,),
    "an unreadable body": (b"{",),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("chosen", [ALL, OF_ME, Selection("user", ME)])
async def test_a_stopped_caller_gets_nothing_at_all(there: Bench, chosen: Selection, request_: tuple[Any, ...]):
    found, _ = await stop(there, chosen)

    answer = await there.ask(*request_)

    assert answer.status == 403
    assert answer.codes == ["stop/in-force"]
    assert found.id.encode() in answer.body
    assert b"a test" not in answer.body, "the reason is for operators"
    assert there.upstream.sent == []


@pytest.mark.parametrize(
    "request_", [found for name, found in REQUESTS.items() if "unreadable" not in name],
    ids=[name for name in REQUESTS if "unreadable" not in name],
)  # fmt: skip
async def test_a_stopped_system_is_sent_nothing_at_all(there: Bench, request_: tuple[Any, ...]):
    await stop(there, OF_FILES)

    assert (await there.ask(*request_)).codes == ["stop/in-force"]
    assert there.upstream.sent == []


@pytest.mark.parametrize("path", ["/tasks", "/tasks/task-1"])
async def test_a_stopped_caller_opens_and_sees_no_task(there: Bench, path: str):
    await stop(there, ALL)

    answer = await ask_page(there, "POST" if path == "/tasks" else "GET", path, body=b'{"goal": "mail"}')

    assert answer.status == 403
    assert b"stop/in-force" in answer.body
    assert there.entries("task") == []


async def test_a_stopped_task_is_refused_and_another_task_of_its_caller_goes_on(there: Bench):
    tasks = [(await ask_page(there, "POST", "/tasks", body=b'{"goal": "mail"}')).json["id"] for _ in range(2)]
    await stop(there, Selection("task", tasks[0]))

    def within(task: str) -> tuple[Any, ...]:
        return call(), (b"opagate-task", task.encode())

    assert (await there.ask(*within(tasks[0]))).codes == ["stop/in-force"]
    assert there.upstream.sent == []
    assert "result" in (await there.ask(*within(tasks[1]))).json
    assert "result" in (await there.ask(call())).json


async def test_the_stop_of_a_task_stops_the_tasks_below_it_and_not_those_above(there: Bench):
    tasks = [(await ask_page(there, "POST", "/tasks", body=b'{"goal": "mail"}')).json["id"]]
    for _ in range(3):
        body = b'{"parent": "%s"}' % tasks[-1].encode()
        tasks.append((await ask_page(there, "POST", "/tasks", body=body)).json["id"])
    await stop(there, Selection("task", tasks[1]))

    found = [(await there.ask(call(), (b"opagate-task", task.encode()))).json for task in tasks]

    assert ["result" in answer for answer in found] == [True, False, False, False]


async def test_calls_go_on_after_the_last_of_two_stops_is_resumed(there: Bench):
    first, _ = await stop(there, OF_ME)
    second, _ = await stop(there, ALL)

    await resume(there, first)
    assert (await there.ask(call())).codes == ["stop/in-force"]
    await resume(there, second)
    assert (await there.ask(call())).json["result"] == {"content": []}


@pytest.mark.parametrize(
    "chosen", [Selection("agent", "other"), Selection("user", "other"), Selection("agent", ME, "https://x")]
)
async def test_a_stop_of_another_leaves_a_caller_alone(there: Bench, chosen: Selection):
    await stop(there, chosen)

    assert (await there.ask(call())).json["result"] == {"content": []}


@pytest.mark.parametrize("chosen", [Selection("upstream", "mail"), Selection("task", "task-none")])
async def test_a_name_that_the_gateway_does_not_know_is_refused(there: Bench, chosen: Selection):
    switch = there.gateway.stops.switch
    assert switch is not None

    found = await switch.stop(StopOrder(chosen, "a test"), BY)
    assert isinstance(found, Reason)
    assert found.code == "stop/target"


@pytest.mark.parametrize("chosen", [ALL, OF_FILES, OF_ME])
@pytest.mark.parametrize("labels", [READING, LEASED])
async def test_a_call_under_way_is_cut_and_settled(tmp_path: Path, chosen: Selection, labels: str):
    upstream = Held()
    async with bench(tmp_path, upstream, labels=labels) as there:
        running = asyncio.ensure_future(there.ask(call()))
        await upstream.arrived.wait()

        _, effects = await stop(there, chosen)
        answer = await running

        assert effects.answers == 1
        assert (effects.leases > 0) is (labels == LEASED)
        assert answer.codes == ["stop/in-force"]
        assert [entry["outcome"] for entry in there.entries("settled")] == ["unknown"]
        assert (await there.ask(call())).codes == ["stop/in-force"]
        if there.gateway.authority is not None:
            leases = there.gateway.authority.leases.all()
            assert [lease for lease in leases if lease.state == "active" and lease.task != "catalogue"] == []


@pytest.mark.parametrize("chosen", [ALL, OF_FILES, OF_ME])
@pytest.mark.parametrize("is_approved", [False, True])
async def test_a_held_call_is_refused_at_once_and_its_approval_never_counts(
    tmp_path: Path, chosen: Selection, *, is_approved: bool
):
    async with bench(tmp_path, more=HOLDING) as there:
        asked = asyncio.Event()
        end_watch = desk(there).watch(lambda _approval: asked.set())
        running = asyncio.ensure_future(there.ask(call("ask_first", path="a")))
        await asked.wait()
        end_watch()
        if is_approved:
            switch = there.gateway.stops.switch
            assert switch is not None
            question = pending(there)
            ordered = asyncio.ensure_future(switch.stop(StopOrder(chosen, "a test"), BY))
            granting = asyncio.ensure_future(approve(there)) if question.state == "pending" else None
            await ordered
            if granting is not None:
                await asyncio.gather(granting, return_exceptions=True)
            stopped = next(iter(there.gateway.stops.register))
        else:
            stopped, effects = await stop(there, chosen)
            assert effects.questions == 1

        answer = await asyncio.wait_for(running, 300)

        assert answer.codes == ["stop/in-force"]
        assert there.upstream.sent == []
        await resume(there, stopped)
        # The yes from before the stop does not release the call afterwards.
        again = asyncio.ensure_future(there.ask(call("ask_first", path="a")))
        while not [one for one in desk(there).list_open() if one.state == "pending"]:
            await asyncio.sleep(0)
            assert not again.done(), (await again).body
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def open_below(there: Bench) -> list[str]:
    """Open a task, a task below it, and a task below that one. Return their ids."""
    tasks = [(await ask_page(there, "POST", "/tasks", body=b'{"goal": "mail"}')).json["id"]]
    for _ in range(2):
        body = b'{"parent": "%s"}' % tasks[-1].encode()
        tasks.append((await ask_page(there, "POST", "/tasks", body=body)).json["id"])
    return tasks


@pytest.mark.parametrize("of", [0, 1, 2], ids=["root", "parent", "itself"])
async def test_the_stop_of_a_task_cuts_calls_under_way_below_it(tmp_path: Path, of: int):
    upstream = Held()
    async with bench(tmp_path, upstream, labels=LEASED) as there:
        tasks = await open_below(there)
        running = asyncio.ensure_future(there.ask(call(), (b"opagate-task", tasks[2].encode())))
        await upstream.arrived.wait()

        _, effects = await stop(there, Selection("task", tasks[of]))

        assert (effects.answers, effects.leases) == (1, 1)
        assert (await running).codes == ["stop/in-force"]


def _refuse_nothing(*_asked: object) -> None:
    """Let a call on, as before a stop."""


async def test_a_call_that_began_before_the_stop_of_a_task_above_is_lent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with bench(tmp_path, labels=LEASED) as there:
        tasks = await open_below(there)
        await stop(there, Selection("task", tasks[0]))
        with monkeypatch.context() as begun:
            begun.setattr(Stops, "refuse", _refuse_nothing)
            answer = await there.ask(call(), (b"opagate-task", tasks[2].encode()))

        assert answer.codes == ["credential/ended"]
        assert there.upstream.sent == []
        assert there.gateway.authority is not None
        assert [lease for lease in there.gateway.authority.leases.all() if lease.task == tasks[2]] == []


async def test_the_stop_of_a_task_withdraws_questions_below_it(tmp_path: Path):
    async with bench(tmp_path, more=HOLDING) as there:
        tasks = await open_below(there)
        asked = asyncio.Event()
        desk(there).watch(lambda _approval: asked.set())
        of_child = (b"opagate-task", tasks[2].encode())
        running = asyncio.ensure_future(there.ask(call("ask_first", path="a"), of_child))
        await asked.wait()

        _, effects = await stop(there, Selection("task", tasks[0]))

        assert effects.questions == 1
        assert (await running).codes == ["stop/in-force"]


async def test_no_credential_is_lent_to_a_stopped_system_not_even_for_the_gateways_own_list(tmp_path: Path):
    async with bench(tmp_path, labels=LEASED) as there:
        await there.ask(call())
        await stop(there, OF_FILES)
        before = len(there.entries("lease"))

        await there.gateway.catalogue.refresh("files")

        requested = [entry for entry in there.entries("lease")[before:] if entry["event"] == "requested"]
        assert requested == []


async def test_a_stop_and_its_end_are_on_record_with_the_person_and_the_reason(there: Bench):
    stopped, _ = await stop(there, OF_ME)
    await there.ask(call())
    await resume(there, stopped)

    entries = [(entry["action"], entry["id"], entry["by"], entry["reason"]) for entry in there.entries("switch")]
    assert entries == [("stopped", stopped.id, BY, "a test"), ("resumed", stopped.id, BY, "a test")]
    (refused,) = there.entries("refused")
    assert [reason["code"] for reason in refused["reasons"]] == ["stop/in-force"]


async def test_readiness_tells_how_many_stops_are_in_force_and_no_name(there: Bench):
    await stop(there, OF_ME)
    await stop(there, ALL)

    shown = (await ask_page(there, "GET", "/readyz")).json

    assert shown["stops"] == {"agent": 1, "all": 1}
    assert ME not in str(shown)


async def test_an_answer_is_no_different_without_a_stop(there: Bench):
    answering(there, {"content": [{"type": "text", "text": "x"}]})

    assert (await there.ask(call())).json["result"]["content"][0]["text"] == "x"
    assert len(there.gateway.answers) == 0
