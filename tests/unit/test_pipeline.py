"""The one way through, stage by stage, with every part real but the upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import IdentityUnavailable
from gateway.model.caller import Credentials, Principal
from gateway.model.decision import Reason, Refusal
from tests.requirements import requirement
from tests.unit.harness import Bench, bench, call


async def test_an_allowed_call_is_recorded_forwarded_and_settled(there: Bench):
    answer = await there.ask(call(path="a"))

    assert answer.status == 200
    assert [request.body for request in there.upstream.sent] == [call(path="a")]
    (entry,) = there.entries("call")
    (settled,) = there.entries("settled")
    assert (entry["effect"], entry["action"], entry["target"]["id"]) == ("allow", "tools/call", "files/read_file")
    assert (settled["id"], settled["outcome"], settled["bytes"]) == (entry["id"], "completed", len(answer.body))
    assert there.upstream.closed == 1


@requirement("mcp/tool-errors")
async def test_a_denied_call_is_recorded_and_goes_nowhere(there: Bench):
    answer = await there.ask(call("hidden"))

    assert answer.codes == ["tool/not-granted"]
    assert answer.json["result"]["isError"] is True
    assert there.upstream.sent == []
    assert [entry["effect"] for entry in there.entries("call")] == ["deny"]
    assert there.entries("settled") == []


async def test_a_caller_that_cannot_be_verified_because_a_key_server_is_away_is_told_to_try_again(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    async def identify(_credentials: Credentials, _ip: str | None) -> Principal:
        raise IdentityUnavailable("the key server is away")

    monkeypatch.setattr(there.gateway.identities, "identify", identify)
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (503, ["identity/unavailable"])


async def test_a_body_that_could_not_be_read_is_refused_for_its_own_reason(there: Bench):
    refusal = Refusal(413, Reason("request/too-large", "Too large."), -32600)

    answer = await there.ask(refusal)

    assert (answer.status, answer.codes) == (413, ["request/too-large"])
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["request/too-large"]


async def test_an_upstream_that_is_not_configured_is_unknown_and_its_name_is_not_repeated(
    there: Bench, capsys: pytest.CaptureFixture[str]
):
    answer = await there.ask(call(), upstream="made-up-secret")

    assert (answer.status, answer.codes) == (404, ["upstream/unknown"])
    assert b"made-up-secret" not in answer.body
    assert "made-up-secret" not in capsys.readouterr().out


async def test_an_answer_says_protocol_where_configured(tmp_path: Path):
    async with bench(tmp_path, more="errors: protocol\njournal: {results: none, arguments: none}\n") as there:
        answer = await there.ask(call("hidden"))
        await there.ask(call())
        assert answer.json["error"]["code"] == -31001
        assert answer.codes == ["tool/not-granted"]
        assert "result" not in there.entries("settled")[0]
