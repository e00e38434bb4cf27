"""Unknown outcomes at the console: operators alone settle them, with a reason, once, on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.base.control.operations import OperatorName
from gateway.calls.pipeline.effects import SETTLE, OutcomeOrder, SettledOutcome
from gateway.model.decision import Reason
from gateway.model.errors import UpstreamBroken
from tests.unit.harness import call
from tests.unit.surfaces.console.test_operating import operator, visitor
from tests.unit.surfaces.console.visiting import Browser, headers_of, visited

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.surfaces.console.sessions import Role

PAGE = "/console/decisions"


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path) as browser:
        yield browser


async def lose(browser: Browser) -> str:
    """Make a call whose answer is lost. Return its id."""
    browser.there.upstream.script = lambda _request: UpstreamBroken("it broke off")
    await browser.there.ask(call(path="a"))
    return str(browser.there.entries("call")[-1]["id"])


async def test_an_operator_settles_a_lost_call_once_and_the_page_says_so(stranger: Browser):
    identifier = await lose(stranger)
    inside = stranger.visit(operator())
    before = (await inside.get(f"{PAGE}/{identifier}")).body.decode()

    settled = await inside.send(f"{PAGE}/settle", id=identifier, end="failed", reason="not in the ledger")
    again = await inside.send(f"{PAGE}/settle", id=identifier, end="done", reason="it is")
    after = (await inside.get(f"{PAGE}/{identifier}")).body.decode()

    assert "It did nothing" in before
    assert "the answer was lost" in before
    assert headers_of(settled, "location") == [f"{PAGE}/{identifier}"]
    assert again.status == 404
    assert "It did nothing" not in after
    assert "not in the ledger" in after
    (entry,) = stranger.there.entries("confirmed")
    assert (entry["id"], entry["end"], entry["by"]["id"], entry["by"]["channel"]) == (
        identifier,
        "failed",
        "olga",
        "console",
    )


@pytest.mark.parametrize("role", ["viewer", "approver"])
async def test_others_than_operators_settle_nothing(stranger: Browser, role: Role):
    identifier = await lose(stranger)
    inside = stranger.visit(visitor(role))

    refused = await inside.send(f"{PAGE}/settle", id=identifier, end="failed", reason="gone")

    assert refused.status == 403
    assert stranger.there.entries("confirmed") == []


async def test_a_known_outcome_is_not_settled(stranger: Browser):
    await stranger.there.ask(call(path="a"))
    identifier = str(stranger.there.entries("call")[-1]["id"])
    inside = stranger.visit(operator())

    assert "It did nothing" not in (await inside.get(f"{PAGE}/{identifier}")).body.decode()
    assert (await inside.send(f"{PAGE}/settle", id=identifier, end="failed", reason="no")).status == 404
    assert stranger.there.entries("confirmed") == []


@pytest.mark.parametrize(("reason", "code"), [("", "stop/reason"), (" ", "stop/reason"), ("x" * 501, "stop/reason")])
async def test_a_word_without_a_reason_settles_nothing(stranger: Browser, reason: str, code: str):
    stage, identifier = stranger.there.gateway.effects, await lose(stranger)
    assert stage is not None

    found = await stage.settle_by_person(OutcomeOrder(identifier, "failed", reason), OperatorName("ann").describe())

    assert isinstance(found, Reason)
    assert found.code == code
    assert stranger.there.entries("confirmed") == []


async def test_the_operation_of_operators_settles_a_call_of_any_kept_task(stranger: Browser):
    stage, identifier = stranger.there.gateway.effects, await lose(stranger)
    assert stage is not None

    found = await stage.settle_by_person(OutcomeOrder(identifier, "done", "seen"), OperatorName("ann").describe())

    assert isinstance(found, SettledOutcome)
    assert stranger.there.gateway.control.find("calls/settle") is SETTLE
