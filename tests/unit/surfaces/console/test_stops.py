"""The switch at the console: operators alone stop and resume calls, with a reason and a fresh login, on record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.unit.harness import call
from tests.unit.surfaces.console.test_operating import operator, visitor
from tests.unit.surfaces.console.visiting import Browser, headers_of, visited

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.surfaces.console.sessions import Role


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path) as browser:
        yield browser


async def test_an_operator_stops_and_resumes_an_agent_on_record(stranger: Browser):
    inside = stranger.visit(operator())

    stopped = await inside.send(
        "/console/stops/stop", scope="agent", name="dev", issuer="", until="", reason="odd mail"
    )
    refused = await stranger.there.ask(call())
    shown = (await inside.get("/console/stops")).body.decode()
    overview = (await inside.get("/console")).body.decode()
    (identifier,) = set(re.findall(r"stop-[0-9a-f]{12}", shown))
    resumed = await inside.send("/console/stops/resume", id=identifier, reason="mended")

    assert headers_of(stopped, "location") == ["/console/stops?done=stopped"]
    assert refused.codes == ["stop/in-force"]
    assert "odd mail" in shown
    assert "1 in force" in overview
    assert headers_of(resumed, "location") == ["/console/stops?done=resumed"]
    assert "result" in (await stranger.there.ask(call())).json
    entries = [
        (one["action"], one["by"]["id"], one["by"]["channel"], one["reason"])
        for one in stranger.there.entries("switch")
    ]
    assert entries == [("stopped", "olga", "console", "odd mail"), ("resumed", "olga", "console", "mended")]


@pytest.mark.parametrize(
    ("role", "age", "fields", "code"),
    [
        ("viewer", 0, {}, "console/role"),
        ("approver", 0, {}, "console/role"),
        ("operator", 3600, {}, "console/fresh"),
        ("operator", 0, {"reason": " "}, "console/reason"),
        ("operator", 0, {"scope": "everything"}, "stop/invalid"),
        ("operator", 0, {"scope": "agent"}, "stop/invalid"),
        ("operator", 0, {"scope": "upstream", "name": "none"}, "stop/target"),
        ("operator", 0, {"until": "soon"}, "stop/time"),
        ("operator", 0, {"until": "2020-01-01"}, "stop/past"),
    ],
)
async def test_nothing_is_stopped_without_role_fresh_login_reason_and_choice(
    stranger: Browser, role: Role, age: float, fields: dict[str, str], code: str
):
    inside = stranger.visit(visitor(role, age=age))
    form = {"scope": "all", "name": "", "issuer": "", "until": "", "reason": "an incident"} | fields

    answer = await inside.send("/console/stops/stop", **form)

    assert answer.status in {400, 403, 404}
    assert code in answer.body.decode()
    assert not stranger.there.gateway.stops.register.stops


async def test_a_viewer_sees_the_stops_and_no_switch(stranger: Browser):
    await stranger.visit(operator()).send(
        "/console/stops/stop", scope="agent", name="<b>\u202edev", issuer="", until="", reason="<script>"
    )

    shown = (await stranger.visit(visitor("viewer")).get("/console/stops")).body.decode()

    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "\u202e" not in shown
    assert 'action="/console/stops/' not in shown
