"""Parts of a held call beside its arguments: people see them, and a requester cannot change them after the question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.approvals.rules import Approver
from gateway.surfaces.cli import approvals
from tests.unit.approving import BOB, QUICK, approve, desk, pending
from tests.unit.harness import Bench, bench, message
from tests.unit.recurring import BOSS, Work, endorse, recurring_bench, task_of_kind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=QUICK) as started:
        yield started


async def passes(there: Bench, **params: Any) -> bool:
    """Return whether a call passes, or asks a person."""
    sent = len(there.upstream.sent)
    answer = await there.ask(message("tools/call", name="ask_first", arguments={"path": "a"}, **params))
    if len(there.upstream.sent) > sent:
        return True
    assert answer.codes[-1] == "approval/pending"
    return False


PLAIN: dict[str, Any] = {"_meta": {"com.acme/as": "ursula"}, "task": {"ttl": 1000}}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"_meta": {"com.acme/as": "root"}},
        {"_meta": {"com.acme/as": "ursula", "com.acme/dry-run": False}},
        {"_meta": {"com.acme/as": "ursula"}},
        {**PLAIN, "task": {"ttl": 1001}},
        {**PLAIN, "com.acme/force": True},
        {**PLAIN, "_meta": {**PLAIN["_meta"], "io.modelcontextprotocol/related-task": {"taskId": "t"}}},
    ],
)
async def test_what_people_did_not_see_does_not_pass(there: Bench, changed: dict[str, Any]):
    assert not await passes(there, **PLAIN)
    await approve(there)

    answer = await there.ask(message("tools/call", name="ask_first", arguments={"path": "a"}, **changed))

    assert there.upstream.sent == []
    assert "result" not in answer.json or answer.codes == ["approval/changed"]
    assert await passes(there, **PLAIN)


async def test_a_yes_is_for_one_client(there: Bench):
    def request(name: str) -> dict[str, Any]:
        return {"_meta": {"io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"}}}

    assert not await passes(there, **request("a"))
    await approve(there)
    body = message("tools/call", name="ask_first", arguments={"path": "a"}, **request("b"))

    assert (await there.ask(body)).codes == ["approval/changed"]
    assert await passes(there, **request("a"))


async def test_what_differs_in_each_request_does_not_ask_again(there: Bench):
    def request(number: int) -> dict[str, Any]:
        trace = f"00-{number:032x}-{number:016x}-01"
        return {"_meta": {**PLAIN["_meta"], "progressToken": number, "traceparent": trace}}

    assert not await passes(there, **request(1))
    await approve(there)

    assert await passes(there, **request(2))


async def test_people_see_the_parts_beside_the_arguments_without_credentials(
    there: Bench, capfd: pytest.CaptureFixture[str]
):
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    meta = {"com.acme/as": "root\u202e", "com.acme/token": secret}
    await there.ask(message("tools/call", name="ask_first", arguments={"path": "a"}, _meta=meta, task={"ttl": 5}))
    asked = pending(there)

    shown: Any = await desk(there).describe(asked.id)
    assert shown["beside"]["value"]["params"]["task"] == {"ttl": 5}
    assert shown["beside"]["value"]["params"]["_meta"]["com.acme/as"] == "root\u202e"
    assert secret not in json.dumps(shown)
    assert there.gateway.people is not None
    found: Any = await there.gateway.people.office.show(asked.id, Approver(BOB))
    assert found["is_whole"]
    capfd.readouterr()
    approvals._print_question(found)
    printed = capfd.readouterr().out
    assert "beside the arguments:" in printed
    assert "\u202e" not in printed


async def test_an_endorsement_is_for_the_same_parts_beside_the_arguments(tmp_path: Path):
    async with recurring_bench(tmp_path) as there:
        await endorse(there, to=BOSS)
        later = await task_of_kind(there)
        body = message("tools/call", name="read_file", arguments={"to": BOSS}, _meta={"com.acme/as": "root"})

        assert (await send(there, later, body)).codes[-1] == "approval/pending"
        assert await later.passes(to=BOSS)


async def send(there: Bench, work: Work, body: bytes) -> Any:
    return await there.ask(body, work.auth, (b"opagate-task", work.name.encode()))
