"""The one way through, stage by stage, with every part real but the upstream."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.calls.pipeline.pipeline import _refuse_unknown_upstream
from gateway.identity import anonymous
from gateway.model.caller import AuthMethod, Credentials, Principal
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import IdentityUnavailable
from tests.requirements import requirement
from tests.unit.harness import Bench, Held, bench, call
from tests.unit.surfaces.pages.asking import ask_page


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


@pytest.mark.parametrize(
    ("method", "name", "said"),
    [
        (AuthMethod.JWT, "fils", "The nearest name is 'files'. Ask the operator for its name."),
        (AuthMethod.ANONYMOUS, "fils", "Ask the operator for its name."),
        (AuthMethod.JWT, "made-up-secret", "Ask the operator for its name."),
        (AuthMethod.JWT, "files" * 100_000, "Ask the operator for its name."),
    ],
)
def test_a_caller_with_credentials_learns_the_nearest_upstream(method: AuthMethod, name: str, said: str):
    refusal = _refuse_unknown_upstream(name, ["files", "mail"], Principal("ada", "https://idp.example", method))

    assert (refusal.status, refusal.reason.code, refusal.reason.remedy) == (404, "upstream/unknown", said)


async def test_an_answer_says_protocol_where_configured(tmp_path: Path):
    async with bench(tmp_path, more="errors: protocol\njournal: {results: none, arguments: none}\n") as there:
        answer = await there.ask(call("hidden"))
        await there.ask(call())
        assert answer.json["error"]["code"] == -31001
        assert answer.codes == ["tool/not-granted"]
        assert "result" not in there.entries("settled")[0]


# --- how much at once ------------------------------------------------------------------------------


async def test_one_caller_has_so_many_requests_at_once_and_takes_none_from_another(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream, more="limits: {in_flight_per_caller: 1}\n") as there:
        first = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        second = await there.ask(call())
        task = await ask_page(there, "POST", "/tasks")
        upstream.proceed.set()
        other = await there.ask(call(), client_ip="127.0.0.2")

        assert (second.status, second.codes) == (429, ["limit/in-flight-per-caller"])
        assert (task.status, other.status, (await first).status) == (429, 200, 200)
        assert (await there.ask(call())).status == 200, "what has ended is not counted"
        (refused, _) = there.entries("refused")
        assert refused["principal"]["id"] == "dev"


async def test_callers_that_are_known_are_told_apart_by_who_they_are_and_not_by_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    upstream, asking = Held(), ["ada"]

    async def identify(_credentials: Credentials, _client_ip: str | None) -> Principal:
        return Principal(id=asking[0], issuer=anonymous.ISSUER, method=AuthMethod.JWT)

    async with bench(tmp_path, upstream, more="limits: {in_flight_per_caller: 1}\n") as there:
        monkeypatch.setattr(there.gateway.identities, "identify", identify)
        first = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        elsewhere = await there.ask(call(), client_ip="127.0.0.2")
        upstream.proceed.set()
        asking[0] = "bob"

        assert elsewhere.codes == ["limit/in-flight-per-caller"]
        assert (await there.ask(call())).status == 200
        await first


async def test_a_caller_that_leaves_gives_back_its_place(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream, more="limits: {in_flight_per_caller: 1}\n") as there:
        first = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        upstream.proceed.set()

        assert (await there.ask(call())).status == 200
