"""Held calls under attack: floods, replayed states, declined questions, and a thousand equal calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.calls.pipeline.people import HELD_PER_CALLER
from tests.servers.receivers import SECRET, Hooks, receiving
from tests.unit.approving import QUICK, approve, desk, events, pending, vote
from tests.unit.harness import Bench, Held, answering, bench, call, modern

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

ROOM = "limits: {in_flight_per_caller: 2000, in_flight: 2000}\n"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=QUICK) as started:
        yield started


@pytest.fixture
def hooks() -> Generator[Hooks]:
    with receiving() as found:
        yield found


def ask(there: Bench, path: str = "a", **more: Any) -> Any:
    return there.ask(*modern("tools/call", name="ask_first", arguments={"path": path}, **more))


async def state_of(there: Bench, **more: Any) -> str:
    return (await ask(there, **more)).json["result"]["requestState"]


async def test_a_thousand_equal_calls_are_one_question_one_message_and_one_pass(tmp_path: Path, hooks: Hooks):
    (tmp_path / "secret").write_text(SECRET, "utf-8")
    more = (
        f"approvals: {{hold: 20ms, channels: [{{kind: webhook, url: '{hooks.url}/x', secret: 'file:secret'}}]}}\n{ROOM}"
    )
    async with bench(tmp_path, more=more) as there:
        first = await asyncio.gather(*(there.ask(call("ask_first", path="a")) for _ in range(1_000)))
        while "sent" not in events(there):
            await asyncio.sleep(0.01)
        assert {tuple(answer.codes) for answer in first} == {("approval/grant", "approval/pending")}
        assert events(there) == ["asked", "sent"]
        assert [one.event["type"] for one in hooks.received] == ["approval.asked"]

        await approve(there)
        second = await asyncio.gather(*(there.ask(call("ask_first", path="a")) for _ in range(1_000)))
        passed = [answer for answer in second if answer.json["result"].get("isError") is not True]
        assert len(passed) == len(there.upstream.sent) == 1
        assert [event for event in events(there) if event != "sent"] == ["asked", "granted", "asked"]


async def test_an_agent_that_asks_again_and_again_fills_nothing(there: Bench):
    answers = [await there.ask(call("ask_first", path=f"{number}")) for number in range(200)]

    codes = [answer.codes[-1] for answer in answers]
    assert codes[:100] == ["approval/pending"] * 100
    assert set(codes[100:]) == {"approval/budget"}
    assert sum(not desk(there).waits_in_line(one) for one in desk(there).list_open()) == 5
    assert events(there) == ["asked"] * 100
    assert there.upstream.sent == []


# --- replayed states ---------------------------------------------------------------------------------


async def test_a_state_lets_a_call_pass_once(there: Bench):
    state = await state_of(there)
    await approve(there)
    passed = await ask(there, requestState=state)
    again = await ask(there, requestState=state)

    assert "requestState" not in passed.json["result"]
    assert again.json["result"]["resultType"] == "input_required"
    assert len(there.upstream.sent) == 1
    assert events(there) == ["asked", "granted", "asked"]


async def test_a_state_of_an_upstream_that_looks_like_ours_is_not_ours(there: Bench):
    ours = await state_of(there)
    answering(there, {"resultType": "input_required", "requestState": "oga1.theirs"})
    given = await there.ask(*modern("tools/call", name="read_file", arguments={"path": "a"}))
    back = await there.ask(*modern("tools/call", name="read_file", arguments={"path": "a"}, requestState="oga1.theirs"))

    assert given.json["result"]["requestState"] == "oga1.theirs"
    assert back.codes == ["session/foreign"]
    assert all(ours.encode() not in (request.body or b"") for request in there.upstream.sent)
    assert len(there.upstream.sent) == 1


async def test_our_state_with_another_tool_reaches_no_upstream(there: Bench):
    ours = await state_of(there)
    await approve(there)
    answer = await there.ask(*modern("tools/call", name="read_file", arguments={"path": "a"}, requestState=ours))

    assert answer.json["result"] == {"content": []}
    (sent,) = there.upstream.sent
    assert b"oga1." not in (sent.body or b"")
    assert [one.state for one in desk(there).list_open()] == ["granted"]


async def test_our_state_in_another_method_is_refused(there: Bench):
    ours = await state_of(there)
    answer = await there.ask(*modern("tools/list", requestState=ours))

    assert answer.codes == ["session/foreign"]
    assert there.upstream.sent == []


# --- declined ----------------------------------------------------------------------------------------


async def test_who_declines_after_the_yes_of_another_is_heard(there: Bench):
    state = await state_of(there)
    await approve(there)
    responses = {"io.opagate/approval": {"action": "decline"}}
    answer = await ask(there, requestState=state, inputResponses=responses)

    assert answer.codes == ["approval/grant", "approval/withdrawn"]
    assert there.upstream.sent == []
    assert events(there) == ["asked", "granted", "withdrawn"]
    assert (await ask(there)).json["result"]["resultType"] == "input_required"


async def test_who_declines_takes_nothing_from_the_equal_call_that_passes(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream, more=QUICK) as there:
        state = await state_of(there)
        await approve(there)
        passing = asyncio.create_task(ask(there, requestState=state))
        await upstream.arrived.wait()
        declined = await ask(there, requestState=state, inputResponses={"io.opagate/approval": {"action": "decline"}})
        upstream.proceed.set()

        assert (await passing).json["result"] == {"content": []}
        assert declined.codes == ["approval/grant", "approval/withdrawn"]
        assert events(there) == ["asked", "granted", "asked", "withdrawn"]


# --- told apart --------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["legacy", "stateless"])
@pytest.mark.parametrize("style", ["result", "protocol"])
async def test_silence_and_a_no_are_told_apart_in_each_form(tmp_path: Path, era: str, style: str):
    more = f"approvals: {{hold: 5s, pending: 200ms}}\nerrors: {style}\n"
    async with bench(tmp_path, more=more) as there:

        async def one(path: str, answer: str | None) -> Any:
            body, headers = call("ask_first", path=path), list[tuple[bytes, bytes]]()
            if era == "stateless":
                body, *headers = modern("tools/call", name="ask_first", arguments={"path": path})
            waiting = asyncio.create_task(there.ask(body, *headers))
            while not [one for one in desk(there).list_open() if one.state == "pending"] and not waiting.done():
                await asyncio.sleep(0)
            if answer is not None:
                await vote(there, pending(there), answer=answer)
            return await waiting

        silent, refused = await one("silent", None), await one("refused", "deny")

    assert (silent.codes[-1], refused.codes[-1]) == ("approval/expired", "approval/denied")
    assert b"No person refused this call" in silent.body
    assert b"A person refused this call" in refused.body
    assert b"No person" not in refused.body


async def test_calls_between_question_and_release_change_nothing_by_themselves(there: Bench):
    await ask(there)
    for number in range(HELD_PER_CALLER):
        assert (await there.ask(call("read_file", path=f"{number}"))).json["result"] == {"content": []}
    await approve(there)

    assert (await ask(there)).json["result"] == {"content": []}
