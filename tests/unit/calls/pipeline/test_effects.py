"""Effects that happen once, through the whole way of a call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.model.errors import UpstreamBroken, UpstreamUnreachable
from tests.unit.harness import Back, Bench, Held, answering, bench, call, message, result

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.wire import UpstreamRequest

ONCE = "{effect: read, egress: false, sensitivity: internal, effect_key: [/path, /amount]}"
LOST = UpstreamBroken("it broke off")


def sent(there: Bench) -> list[Any]:
    """Return the arguments of the calls that reached the upstream."""
    calls = [request.message.params for request in there.upstream.sent if request.message is not None]
    return [params["arguments"] for params in calls if "arguments" in params]


def replies(back: Back | BaseException, *others: Back | BaseException) -> Any:
    """Return a script: these answers in turn, and results after them."""
    waiting = [back, *others]

    def script(request: UpstreamRequest) -> Back | BaseException:
        return waiting.pop(0) if waiting else result(request, {"content": []})

    return script


async def test_the_same_effect_is_refused_after_a_call_that_was_carried_out(tmp_path: Path):
    async with bench(tmp_path, labels=ONCE) as there:
        assert "content" in (await there.ask(call(path="a"))).json["result"]
        again = await there.ask(call(path="a"))
        other = await there.ask(call(path="b"))

        assert again.codes == ["effect/repeated"]
        assert "was carried out" in again.body.decode()
        assert "content" in other.json["result"]
        assert sent(there) == [{"path": "a"}, {"path": "b"}]


@pytest.mark.parametrize("spelled", [{"path": " A "}, {"path": "\uff41"}, {"path": "a", "note": 1}])
async def test_another_spelling_of_a_call_is_the_same_effect(tmp_path: Path, spelled: dict[str, Any]):
    async with bench(tmp_path, labels=ONCE) as there:
        await there.ask(call(path="a"))

        assert (await there.ask(call(**spelled))).codes == ["effect/repeated"]


@pytest.mark.parametrize("number", [10, 10.0, "10", "10.00", "+10.0"])
async def test_another_form_of_a_number_is_the_same_effect(tmp_path: Path, number: object):
    async with bench(tmp_path, labels=ONCE) as there:
        await there.ask(call(path="a", amount=10))

        assert (await there.ask(call(path="a", amount=number))).codes == ["effect/repeated"]
        assert "content" in (await there.ask(call(path="a", amount=10.01))).json["result"]
        assert sent(there) == [{"path": "a", "amount": 10}, {"path": "a", "amount": 10.01}]


@pytest.mark.parametrize("back", [LOST, Back(504, "text/plain", (b"late",)), Back(200, chunks=(b'{"id":7,"resu',))])
async def test_the_same_effect_is_refused_after_a_lost_answer(tmp_path: Path, back: Back | BaseException):
    async with bench(tmp_path, labels=ONCE) as there:
        there.upstream.script = replies(back)
        await there.ask(call(path="a"))
        again = await there.ask(call(path="a"))

        assert again.codes == ["effect/repeated"]
        assert "may have been carried out: its answer was lost" in again.body.decode()
        assert there.entries("call")[0]["id"] in again.body.decode()
        assert sent(there) == [{"path": "a"}]


@pytest.mark.parametrize(
    "back",
    [
        UpstreamUnreachable("it is away"),
        Back(429, "text/plain", (b"slow down",)),
        Back(chunks=(b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}',)),
        Back(chunks=(b'{"jsonrpc":"2.0","id":7,"result":{"content":[],"isError":true}}',)),
    ],
)
async def test_a_failed_call_may_be_made_again(tmp_path: Path, back: Back | BaseException):
    async with bench(tmp_path, labels=ONCE) as there:
        there.upstream.script = replies(back)
        await there.ask(call(path="a"))

        assert "content" in (await there.ask(call(path="a"))).json["result"]
        assert (await there.ask(call(path="a"))).codes == ["effect/repeated"]


async def test_of_equal_calls_at_once_one_reaches_the_upstream(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream, labels=ONCE) as there:
        calls = [asyncio.create_task(there.ask(call(path="a"))) for _ in range(12)]
        await upstream.arrived.wait()
        early = await asyncio.gather(*(asyncio.wait_for(there.ask(call(path="a")), 10) for _ in range(4)))
        upstream.proceed.set()
        answers = await asyncio.gather(*calls)

        assert all(answer.codes == ["effect/repeated"] for answer in early)
        assert (
            sum(
                "content" in answer.json.get("result", {}) and not answer.json["result"].get("isError")
                for answer in answers
            )
            == 1
        )
        assert sent(there) == [{"path": "a"}]


async def test_a_caller_that_leaves_does_not_free_the_effect(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream, labels=ONCE) as there:
        leaving = asyncio.create_task(there.ask(call(path="a")))
        await upstream.arrived.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        upstream.proceed.set()

        assert (await there.ask(call(path="a"))).codes == ["effect/repeated"]
        assert sent(there) == [{"path": "a"}]


async def test_a_refused_call_claims_nothing(tmp_path: Path):
    async with bench(tmp_path, labels=ONCE) as there:
        assert (await there.ask(call("hidden", path="a"))).codes == ["tool/not-granted"]
        assert (await there.ask(call("hidden", path="a"))).codes == ["tool/not-granted"]


async def test_a_call_without_a_value_of_the_key_has_no_effect_to_compare(tmp_path: Path):
    async with bench(tmp_path, labels=ONCE) as there:
        for _ in range(2):
            assert "content" in (await there.ask(call())).json["result"]


@pytest.mark.parametrize("back", [None, LOST])
async def test_an_effect_is_remembered_over_a_restart(tmp_path: Path, back: BaseException | None):
    async with bench(tmp_path, labels=ONCE) as there:
        if back is not None:
            there.upstream.script = replies(back)
        await there.ask(call(path="a"))
    async with bench(tmp_path, labels=ONCE) as there:
        assert (await there.ask(call(path="a"))).codes == ["effect/repeated"]
        assert sent(there) == []


async def test_a_person_frees_the_effect_of_a_call_that_did_nothing(tmp_path: Path):
    async with bench(tmp_path, labels=ONCE) as there:
        there.upstream.script = replies(LOST)
        await there.ask(call(path="a"))
        (entry,) = there.entries("call")
        stage = there.gateway.effects
        assert stage is not None

        assert await stage.confirm(entry["id"], entry["task"]["id"], "failed", {"operator": "ann"})
        assert not await stage.confirm(entry["id"], entry["task"]["id"], "done", {"operator": "ann"}), "settled once"
        assert "content" in (await there.ask(call(path="a"))).json["result"]
        assert [(each["id"], each["end"]) for each in there.entries("confirmed")] == [(entry["id"], "failed")]


CONFIRMED = (
    "{effect: read, egress: false, sensitivity: internal}\n      read_file: {effect_key: [/path, /amount]}\n      %s"
)
"""The labels of every tool, of one with an effect, and of one that confirms it."""


@pytest.mark.parametrize(
    ("shown", "is_confirmed"),
    [
        ({"content": [{"type": "text", "text": '{"path": "a", "amount": 5}'}]}, True),
        ({"content": [], "structuredContent": {"rows": [{"of": "a", "amount": "5.00"}]}}, True),
        ({"content": [{"type": "text", "text": "paid 5.00 for a."}]}, False),
        ({"content": [], "structuredContent": {"rows": [{"path": "a", "refund_amount": 5}]}}, True),
        ({"content": [], "structuredContent": {"path": "a", "rows": [], "page": 5, "of": ["5"]}}, False),
        ({"content": [], "structuredContent": {"path": "a", "state": "5 attempts failed"}}, False),
        ({"content": [{"type": "text", "text": '{"path": "a", "": 5, "page": 5}'}]}, False),
        ({"content": [{"type": "text", "text": "nothing was paid for a"}]}, False),
        ({"content": [{"type": "text", "text": '{"path": "a", "amount": 50}'}]}, False),
        ({"content": [{"type": "text", "text": "5"}], "isError": True}, False),
    ],
)
async def test_a_confirming_tool_shows_what_became_of_a_lost_call(tmp_path: Path, shown: Any, *, is_confirmed: bool):
    labels = CONFIRMED % "read_more: {confirms: {tool: read_file, argument: /path}}"
    async with bench(tmp_path, labels=labels) as there:
        there.upstream.script = replies(LOST)
        await there.ask(call(path="a", amount=5))
        refused = await there.ask(call(path="a", amount=5))
        answering(there, shown)
        await there.ask(call("read_more", path="b"))
        assert there.entries("confirmed") == []
        await there.ask(call("read_more", path="a"))

        assert "files/read_more" in refused.body.decode()
        assert [entry["end"] for entry in there.entries("confirmed")] == ["done"] * is_confirmed
        again = await there.ask(call(path="a", amount=5))
        assert again.codes == ["effect/repeated"]
        assert ("was carried out" in again.body.decode()) is is_confirmed


@pytest.mark.parametrize(("is_error", "again"), [(False, "effect/repeated"), (True, None)])
async def test_the_result_of_a_protocol_task_tells_what_its_call_did(
    tmp_path: Path, again: str | None, *, is_error: bool
):
    async with bench(tmp_path, labels=ONCE) as there:
        answering(there, {"task": {"taskId": "t-1", "status": "working"}})
        await there.ask(call(path="a"))
        assert (await there.ask(call(path="a"))).codes == ["effect/repeated"]
        assert [entry["lost"] for entry in there.entries("settled")] == ["deferred"]

        answering(there, {"content": [], "isError": is_error})
        await there.ask(message("tasks/result", taskId="t-1"))

        assert [entry["end"] for entry in there.entries("confirmed")] == ["failed" if is_error else "done"]
        answer = await there.ask(call(path="a"))
        assert again is None or answer.codes == [again]
        assert (len(sent(there)) == 2) is is_error
