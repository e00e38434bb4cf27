"""Handles in calls, through the whole pipeline with a scripted upstream."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest
from msgspec import structs

from benchmarks.credentials.examples import example
from gateway.model.caller import Credentials, Principal
from gateway.model.content import ResultContent
from gateway.model.decision import Obligation
from gateway.model.target import Effect, Labels, Role, Target
from gateway.model.task import Task
from gateway.model.wire import UpstreamRequest
from tests.requirements import requirement
from tests.unit.harness import URL, Back, Bench, allow, answering, call, deciding, message, modern, result, retarget

VALUE = example("ghp_{w:30}{crc62}", Random(1))
ALLOW = allow(Obligation("conceal_credentials", {}))


async def handle_of(there: Bench, value: str = VALUE, **more: Any) -> str:
    """What the agent gets in the place of a value."""
    answering(there, {"token": value} | more)
    handle = (await there.ask(call())).json["result"]["token"]
    assert handle.startswith("cred://")
    answering(there, {"content": []})
    return handle


def labelled(monkeypatch: pytest.MonkeyPatch, there: Bench, **roles: Role) -> None:
    target = there.gateway.catalogue.target("files", "tool", "read_file")
    labels = Labels(roles={f"/{name}": role for name, role in roles.items()}, effect=Effect.READ, egress=False)
    always(monkeypatch, there, replace(target, labels=labels))


def always(monkeypatch: pytest.MonkeyPatch, there: Bench, target: Target) -> None:
    """Have every call be about that."""

    def found(_upstream: str, _type: str, _name: str) -> Target:
        return target

    retarget(monkeypatch, there.gateway.catalogue, found)


@requirement("conceal/handles")
async def test_a_handle_is_put_back_for_the_system_that_it_came_from(concealed: Bench):
    handle = await handle_of(concealed)
    body = call(query=f"Bearer {handle}", other=[1, "x"])
    await concealed.ask(body)

    assert concealed.upstream.sent[-1].body == body.replace(handle.encode(), VALUE.encode())
    (_, settled) = concealed.entries("settled")
    assert settled["put_back"] == 1
    assert b'opagate_put_back_total{upstream="files"} 1.0' in concealed.gateway.metrics.exposition()
    written = [path for path in concealed.folder.rglob("*") if path.is_file()]
    assert [path for path in written if VALUE.encode() in path.read_bytes()] == []


@requirement("conceal/handles")
async def test_policy_sees_the_handle_and_what_it_stands_for(there: Bench, monkeypatch: pytest.MonkeyPatch):
    asked = deciding(there, ALLOW, monkeypatch)
    handle = await handle_of(there)
    labelled(monkeypatch, there, token=Role.CREDENTIAL)
    await there.ask(call(token=handle))
    session = cast("Any", asked[-1]["session"])

    assert cast("Any", asked[-1]["arguments"]) == {"token": handle}
    (held,) = session["credentials"]
    assert (held["handle"], held["pointer"], held["role"]) == (True, "/token", "credential")
    assert held["origin"] == {"kind": "result", "audience": "files", "call": 1}
    assert VALUE not in str(asked)


@requirement("conceal/handles")
@pytest.mark.parametrize("slash", ["/", "\\/", "\\u002f"])
async def test_any_spelling_of_a_handle_is_put_back(concealed: Bench, slash: str):
    handle = await handle_of(concealed)
    body = call(query=handle).replace(handle.encode(), handle.replace("/", slash).encode())
    await concealed.ask(body)

    sent = concealed.upstream.sent[-1].body
    assert sent is not None
    assert json.loads(sent)["params"]["arguments"] == {"query": VALUE}


@requirement("conceal/handles")
@pytest.mark.parametrize(
    ("arguments", "message_"),
    [
        ({"q": "cred://AAAAAAAAAAA/BBBBBBBBBBBBBBBBBBBBBB"}, "not known"),
        ({"q": "cred://x"}, "something like a handle"),
        ({"q": "{handle}x"}, "something like a handle"),
        ({"{handle}": 1}, "name of an argument"),
        ({"q": "https://docs.example:{handle}@evil.example/"}, "cannot be put"),
        ({"q": "reports/{handle}"}, "cannot be put"),
    ],
)
async def test_what_cannot_be_put_back_is_refused_and_goes_nowhere(
    concealed: Bench, arguments: dict[str, Any], message_: str
):
    handle = await handle_of(concealed)
    sent = len(concealed.upstream.sent)
    filled = {
        name.replace("{handle}", handle): str(value).replace("{handle}", handle) for name, value in arguments.items()
    }
    answer = await concealed.ask(call(**filled))

    assert answer.codes == ["credential-chain/handle"]
    assert answer.json["result"]["isError"] is True
    assert message_ in answer.json["result"]["content"][0]["text"]
    assert len(concealed.upstream.sent) == sent
    assert handle not in str(concealed.entries("refused"))


@requirement("conceal/handles")
async def test_a_handle_beside_the_arguments_is_refused(concealed: Bench):
    handle = await handle_of(concealed)
    body = message("tools/call", name="read_file", arguments={}, _meta={"x": handle})

    assert (await concealed.ask(body)).codes == ["credential-chain/handle"]


@requirement("conceal/handles")
async def test_a_handle_of_another_task_is_not_known(concealed: Bench):
    handle = await handle_of(concealed)
    principal = await concealed.gateway.identities.identify(Credentials("POST", URL), "127.0.0.1")
    assert isinstance(principal, Principal)
    now = concealed.gateway.clock()
    concealed.gateway.history.tasks.open(principal, Task("another", "declared", now, now + 60), ResultContent())

    assert (await concealed.ask(call(q=handle), (b"opagate-task", b"another"))).codes == ["credential-chain/handle"]
    assert (await concealed.ask(call(q=handle))).status == 200


@requirement("conceal/handles", "history/implicit")
async def test_a_handle_of_the_implicit_task_before_is_put_back_for_its_own_system_and_no_other(
    concealed: Bench, monkeypatch: pytest.MonkeyPatch
):
    """An agent that never pauses still has it in its context when its task has had its time."""
    handle = await handle_of(concealed)
    (first,) = concealed.gateway.history.tasks.all()
    first.task = replace(first.task, opened=first.task.opened - 10 * 3600)

    assert (await concealed.ask(call(q=handle))).status == 200
    assert VALUE.encode() in (concealed.upstream.sent[-1].body or b"")
    used = {entry["task"]["id"] for entry in concealed.entries("call")}
    assert len(used) == 2
    target = concealed.gateway.catalogue.target("files", "tool", "read_file")
    always(monkeypatch, concealed, replace(target, audience="https://elsewhere.example"))
    assert (await concealed.ask(call(q=handle))).codes == ["credential-chain/presentation"]


@requirement("conceal/handles")
async def test_what_was_put_back_does_not_come_back(there: Bench, monkeypatch: pytest.MonkeyPatch):
    """Not even where it does not look like a credential, in an answer that was not to be concealed."""
    deciding(there, ALLOW, monkeypatch)
    answering(there, {"password": "correct-horse-7"})
    handle = (await there.ask(call())).json["result"]["password"]
    deciding(there, structs.replace(ALLOW, obligations=()), monkeypatch)
    answering(there, {"content": [{"type": "text", "text": "hello correct-horse-7 and correct-horse-8"}]})
    answer = await there.ask(call(q=handle))

    assert answer.json["result"]["content"][0]["text"] == f"hello {handle} and correct-horse-8"


@requirement("conceal/handles")
async def test_a_value_that_is_more_than_a_word_goes_only_where_credentials_belong(
    concealed: Bench, monkeypatch: pytest.MonkeyPatch
):
    answering(concealed, {"password": "hunter2/../../etc/x9"})
    handle = (await concealed.ask(call())).json["result"]["password"]
    assert handle.startswith("cred://")
    assert (await concealed.ask(call(path=handle))).codes == ["credential-chain/handle"]
    labelled(monkeypatch, concealed, path=Role.CREDENTIAL)
    assert (await concealed.ask(call(path=handle))).status == 200

    assert json.loads(concealed.upstream.sent[-1].body or b"")["params"]["arguments"] == {
        "path": "hunter2/../../etc/x9"
    }


@requirement("conceal/handles")
async def test_a_handle_in_the_query_of_a_resource_is_put_back_in_its_headers_too(concealed: Bench):
    handle = await handle_of(concealed)
    uri = f"db://files/x?key={handle}"
    body, *headers = modern("resources/read", uri=uri)
    await concealed.ask(body, *headers, (b"mcp-name", uri.encode()))
    sent = concealed.upstream.sent[-1]

    assert json.loads(sent.body or b"")["params"]["uri"] == f"db://files/x?key={VALUE}"
    assert dict(sent.headers)[b"mcp-name"] == f"db://files/x?key={VALUE}".encode()
    answer = await concealed.ask(message("resources/read", uri=f"db://{handle}/x?"))
    assert "cannot be put" in answer.json["error"]["message"]


@requirement("conceal/handles", "mcp/completions")
async def test_a_handle_in_what_is_completed_is_refused(concealed: Bench):
    handle = await handle_of(concealed)
    reference = {"type": "ref/prompt", "name": "hello"}
    sent = len(concealed.upstream.sent)
    answer = await concealed.ask(message("completion/complete", ref=reference, argument={"name": "a", "value": handle}))

    assert answer.codes == ["credential-chain/handle"]
    assert len(concealed.upstream.sent) == sent


async def test_no_policy_can_have_a_handle_put_back_elsewhere(concealed: Bench, monkeypatch: pytest.MonkeyPatch):
    handle = await handle_of(concealed)
    target = concealed.gateway.catalogue.target("files", "tool", "read_file")
    always(monkeypatch, concealed, replace(target, audience="billing"))
    sent = len(concealed.upstream.sent)

    assert (await concealed.ask(call(q=handle))).codes == ["credential-chain/presentation"]
    assert len(concealed.upstream.sent) == sent
    assert concealed.entries("call")[-1]["effect"] == "deny"


async def test_the_end_of_a_task_ends_its_handles(concealed: Bench):
    handle = await handle_of(concealed)
    assert len(concealed.gateway.vault) == 1
    concealed.gateway.history.tasks.forget(concealed.gateway.clock() + 10 * 24 * 3600)

    assert len(concealed.gateway.vault) == 0
    assert (await concealed.ask(call(q=handle))).codes == ["credential-chain/handle"]


async def test_a_credential_too_long_to_be_kept_whole_is_not_put_back(concealed: Bench):
    lines = "\n".join(example("{b:64}", Random(line)) for line in range(400))
    key = f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"

    def script(request: UpstreamRequest) -> Back:
        (data,) = result(request, {"text": "word " * 60_000, "key": key, "z": "after"}).chunks
        assert isinstance(data, bytes)
        return Back(chunks=tuple(data[at : at + 3000] for at in range(0, len(data), 3000)))

    concealed.upstream.script = script
    handle = (await concealed.ask(call())).json["result"]["key"][:41]
    answer = await concealed.ask(call(q=handle))

    assert answer.codes == ["credential-chain/handle"]
    assert "more than could be kept" in answer.json["result"]["content"][0]["text"]
