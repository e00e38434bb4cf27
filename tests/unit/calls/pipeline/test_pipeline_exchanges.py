"""An upstream's own exchange of several rounds, before and after a person has approved its call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.policy.verdict import refuse
from tests.unit.approving import QUICK, approve, desk, events, pending
from tests.unit.harness import Bench, answering, bench, deciding, modern

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=QUICK) as started:
        yield started


async def test_an_upstreams_own_exchange_goes_on_under_one_approval(there: Bench):
    def ask(**more: Any) -> Any:
        return there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, **more))

    answering(there, {"resultType": "input_required", "requestState": "theirs-1"})
    first = (await ask()).json
    await approve(there)
    second = (await ask(requestState=first["result"]["requestState"])).json
    assert second["result"]["requestState"] == "theirs-1"

    answering(there, {"resultType": "input_required", "requestState": "theirs-2"})
    third = (await ask(requestState="theirs-1", inputResponses={"k": {"action": "accept"}})).json
    assert third["result"]["requestState"] == "theirs-2"

    answering(there, {"resultType": "complete", "content": []})
    last = (await ask(requestState="theirs-2")).json
    assert last["result"] == {"resultType": "complete", "content": []}
    assert events(there) == ["asked", "granted"]

    # The exchange is over: the same call without its state is a new call.
    assert (await ask()).json["result"]["resultType"] == "input_required"


def _input_request(*keys: str) -> dict[str, Any]:
    params: dict[str, Any] = {"mode": "form", "message": "How many?", "requestedSchema": {"type": "object"}}
    requests = {key: {"method": "elicitation/create", "params": params} for key in keys}
    return {"resultType": "input_required", "inputRequests": requests}


def _ask_first(there: Bench, *keys: str, path: str = "a", **more: Any) -> Any:
    if keys:
        more["inputResponses"] = {key: {"action": "accept", "content": {"n": 1}} for key in keys}
    return there.ask(*modern("tools/call", name="ask_first", arguments={"path": path}, **more))


async def _begin_stateless_exchange(there: Bench) -> None:
    """Have a person approve a call whose upstream then asks for `amount` and `reason`, without a state."""
    answering(there, _input_request("amount", "reason"))
    first = (await _ask_first(there)).json
    await approve(there)
    asked = (await _ask_first(there, requestState=first["result"]["requestState"])).json
    assert set(asked["result"]["inputRequests"]) == {"amount", "reason"}
    assert "requestState" not in asked["result"]


async def test_an_exchange_without_a_state_goes_on_under_one_approval(there: Bench):
    await _begin_stateless_exchange(there)
    answering(there, _input_request("again"))
    second = (await _ask_first(there, "reason", "amount")).json
    assert set(second["result"]["inputRequests"]) == {"again"}

    answering(there, {"resultType": "complete", "content": []})
    assert (await _ask_first(there, "again")).json["result"] == {"resultType": "complete", "content": []}
    assert events(there) == ["asked", "granted"]
    assert len(there.upstream.sent) == 3

    # The exchange is over: no earlier round can be continued again.
    for keys in (("again",), ("amount", "reason"), ()):
        assert "requestState" in (await _ask_first(there, *keys)).json["result"]
    assert len(there.upstream.sent) == 3


@pytest.mark.parametrize(
    ("keys", "more"),
    [
        (("amount",), {}),
        (("amount", "reason", "more"), {}),
        (("amount", "reason"), {"path": "b"}),
        (("amount", "reason"), {"meta": {"x": 1}}),
        (("amount", "reason"), {"task": {}}),
        ((), {}),
    ],
)
async def test_other_responses_or_another_call_than_was_asked_for_ask_a_person(
    there: Bench, keys: tuple[str, ...], more: dict[str, Any]
):
    await _begin_stateless_exchange(there)
    assert "requestState" in (await _ask_first(there, *keys, **more)).json["result"]
    assert len(there.upstream.sent) == 1


async def test_an_exchange_without_a_state_is_continued_once(there: Bench):
    await _begin_stateless_exchange(there)
    answers = await asyncio.gather(*(_ask_first(there, "amount", "reason") for _ in range(5)))
    assert ["requestState" in answer.json["result"] for answer in answers].count(False) == 1
    assert len(there.upstream.sent) == 2


async def test_a_round_of_an_exchange_is_continued_once(there: Bench):
    def ask(**more: Any) -> Any:
        return there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, **more))

    answering(there, {"resultType": "input_required", "requestState": "theirs-1"})
    first = (await ask()).json
    await approve(there)
    await ask(requestState=first["result"]["requestState"])
    answers = await asyncio.gather(*(ask(requestState="theirs-1") for _ in range(5)))

    states = sorted(answer.json["result"]["requestState"][:8] for answer in answers)
    assert [state.startswith("theirs") for state in states].count(True) == 1
    assert len(there.upstream.sent) == 2


async def test_a_round_that_could_not_be_decided_may_come_again(there: Bench, monkeypatch: pytest.MonkeyPatch):
    def ask(**more: Any) -> Any:
        return there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, **more))

    answering(there, {"resultType": "input_required", "requestState": "theirs-1"})
    first = (await ask()).json
    await approve(there)
    await ask(requestState=first["result"]["requestState"])
    with monkeypatch.context() as failing:
        deciding(there, refuse("policy/late", "Late.", ""), failing)
        assert (await ask(requestState="theirs-1")).codes == ["policy/late"]

    assert (await ask(requestState="theirs-1")).json["result"]["requestState"] == "theirs-1"


async def test_an_approval_is_for_the_answers_that_the_person_saw(there: Bench):
    def ask(value: int) -> Any:
        responses = {"k": {"action": "accept", "content": {"amount": value}}}
        return there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, inputResponses=responses))

    await ask(1)
    shown = await desk(there).describe(pending(there).id)
    await approve(there)

    assert shown is not None
    assert shown["responses"]["value"]["k"]["content"] == {"amount": 1}
    assert (await ask(1_000_000)).json["result"]["resultType"] == "input_required"
    assert there.upstream.sent == []
    assert (await ask(1)).json["result"] == {"content": []}


async def test_an_upstreams_state_is_put_back_when_the_question_comes_in_the_middle(there: Bench):
    answering(there, {"resultType": "input_required", "requestState": "theirs-1"})
    given = (await there.ask(*modern("tools/call", name="read_file", arguments={"path": "a"}))).json
    assert given["result"]["requestState"] == "theirs-1"

    answering(there, {"resultType": "complete", "content": []})
    responses = {"k": {"action": "accept", "content": {"n": 1}}}
    asked = (
        await there.ask(
            *modern(
                "tools/call",
                name="ask_first",
                arguments={"path": "a"},
                requestState="theirs-1",
                inputResponses=responses,
            )
        )
    ).json
    own = asked["result"]["requestState"]
    assert "theirs-1" not in own
    await approve(there)
    done = (await there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, requestState=own))).json

    assert done["result"]["content"] == []
    sent = there.upstream.sent[-1]
    assert sent.message is not None
    assert (sent.message.params["requestState"], sent.message.params["inputResponses"]) == ("theirs-1", responses)
