"""Task ids that another gateway of one database gave out, on their way through two whole gateways."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model.decision import Obligation
from tests.unit.harness import allow, answering, call, deciding, message
from tests.unit.surfaces.app.test_people import two_gateways

PLAIN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


async def test_a_late_result_keeps_the_limits_and_the_concealment_of_its_call_at_another_gateway(
    tmp_path: Path, schema_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STORE_URL", schema_url)
    async with two_gateways(tmp_path) as (one, two):
        unknown = await two.ask(message("tasks/result", taskId="t1"))
        assert unknown.codes == ["session/foreign"]
        bounded = Obligation("limit", {"max_bytes": 500})
        deciding(one, allow(bounded, Obligation("conceal_credentials", {})), monkeypatch)
        answering(one, {"task": {"taskId": "t1", "status": "working"}})
        assert (await one.ask(call())).json["result"]["task"]["taskId"] == "t1"

        answering(two, {"content": [{"type": "text", "text": f"token {PLAIN}"}]})
        shown = await two.ask(message("tasks/result", taskId="t1"))
        assert PLAIN not in shown.body.decode()
        assert "cred://" in shown.body.decode()
        answering(two, {"content": [{"type": "text", "text": "a" * 500}]})
        assert (
            "larger than policy allows"
            in (await two.ask(message("tasks/result", taskId="t1"))).json["error"]["message"]
        )
        answering(two, {"tasks": [{"taskId": "t1", "status": "working"}, {"taskId": "theirs", "status": "working"}]})
        listed = await two.ask(message("tasks/list"))
        assert [each["taskId"] for each in listed.json["result"]["tasks"]] == ["t1"]
        (call_entry,) = one.entries("call")
        assert call_entry["task"]["id"] in {entry["task"] for entry in two.entries("observed")}
