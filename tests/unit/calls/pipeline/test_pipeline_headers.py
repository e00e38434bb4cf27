"""Headers of callers: only those of MCP, of tracing and of the operator's list reach an upstream, and policy sees the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import parse
from gateway.model.errors import ConfigurationError
from tests.unit.approving import QUICK, approve, desk, pending
from tests.unit.harness import Bench, allow, bench, call, deciding, message, modern

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SECRET = b"ghp_" + b"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ADDED = f"{QUICK}journal: {{arguments: full}}\n"
TENANT = (b"x-tenant", b"eu")


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=ADDED, site="headers: [X-Tenant]") as started:
        yield started


def sent(there: Bench) -> dict[bytes, bytes]:
    """Return all headers of the last request that the upstream got."""
    return dict(there.upstream.sent[-1].sent_headers)


async def test_a_secret_in_any_other_header_stays_here(there: Bench):
    names = (b"x-foo", b"user-agent", b"accept-language", b"mcp-param-path2", b"x_tenant", b"cookie", b"x-tenant-2")
    await there.ask(call(path="a"), *((name, SECRET) for name in names))
    body, *headers = modern("tools/call", name="read_file", arguments={"path": "a"})
    await there.ask(body, *headers, *((name, SECRET) for name in names))
    await there.ask(message("tools/list"), *((name, SECRET) for name in names))
    await there.ask(None, *((name, SECRET) for name in names))

    assert len(there.upstream.sent) == 4
    assert SECRET not in repr([request.sent_headers for request in there.upstream.sent]).encode()
    assert b"x-tenant" not in sent(there)


async def test_a_secret_in_the_state_of_a_trace_begins_a_new_trace(there: Bench):
    for name, form in ((b"tracestate", b"a=%s"), (b"baggage", b"a=b,token=%s")):
        await there.ask(call(), (b"traceparent", PARENT), (name, form % SECRET))
        assert there.upstream.sent
        assert not {b"traceparent", b"tracestate", b"baggage"} & sent(there).keys()


async def test_an_honest_trace_goes_on(there: Bench):
    state = ((b"traceparent", PARENT), (b"tracestate", b"rojo=00f067aa0ba902b7"), (b"baggage", b"tier=gold"))
    await there.ask(call(), *state)
    assert {name: sent(there)[name] for name, _ in state} == dict(state)


@pytest.mark.parametrize("more", [((b"tracestate", b"a=b"),), ((b"traceparent", SECRET), (b"baggage", b"a=b"))])
async def test_without_a_trace_its_state_stays_here(there: Bench, more: Any):
    await there.ask(call(), *more)
    assert not {b"traceparent", b"tracestate", b"baggage"} & sent(there).keys()


async def test_a_query_of_the_request_reaches_no_upstream(there: Bench):
    await there.ask(call(), url=f"http://127.0.0.1:8080/mcp/files?x={SECRET.decode()}")
    assert SECRET not in repr(there.upstream.sent).encode()


# --- the operator's list ---------------------------------------------------------------------------------


async def test_policy_and_the_record_have_an_added_header(there: Bench, monkeypatch: pytest.MonkeyPatch):
    asked: Any = deciding(there, allow(), monkeypatch)
    await there.ask(call(), TENANT)
    await there.ask(message("tools/call", name="read_file", arguments={}, task={"ttl": 5}, _meta={"a/b": 1}))

    assert dict(there.upstream.sent[0].sent_headers)[b"x-tenant"] == b"eu"
    assert asked[0]["context"]["headers"] == {"x-tenant": "eu"}
    assert "params" not in asked[0]["context"]
    assert asked[1]["context"]["params"] == {"task": {"ttl": 5}, "_meta": {"a/b": 1}}
    first, second = there.entries("call")
    assert first["beside"]["value"] == {"headers": {"x-tenant": "eu"}}
    assert second["beside"]["value"]["params"]["task"] == {"ttl": 5}


async def test_the_record_conceals_a_credential_in_an_added_header(there: Bench):
    await there.ask(call(), (b"x-tenant", SECRET))
    assert SECRET.decode() not in json.dumps(there.entries("call"))


@pytest.mark.parametrize("more", [(TENANT, TENANT), ((b"x-tenant", b"\xff"),)])
async def test_an_added_header_with_two_readings_is_refused(there: Bench, more: Any):
    answer = await there.ask(call(), *more)
    assert (answer.status, answer.codes, there.upstream.sent) == (400, ["request/header"], [])


async def test_an_added_header_goes_with_messages_that_nobody_decides_too(there: Bench):
    """Servers choose their lists by it."""
    await there.ask(message("tools/list"), TENANT)
    assert sent(there)[b"x-tenant"] == b"eu"


# --- approvals ---------------------------------------------------------------------------------------------


async def test_people_see_an_added_header_and_a_yes_is_for_its_value(there: Bench):
    body = call("ask_first", path="a")
    assert (await there.ask(body, TENANT)).codes[-1] == "approval/pending"
    shown: Any = await desk(there).describe(pending(there).id)
    assert shown["beside"]["value"] == {"headers": {"x-tenant": "eu"}}
    await approve(there)

    for changed in ((), ((b"x-tenant", b"us"),)):
        assert (await there.ask(body, *changed)).codes == ["approval/changed"]
    assert there.upstream.sent == []
    await there.ask(body, TENANT)
    assert sent(there)[b"x-tenant"] == b"eu"


async def test_a_header_that_is_added_after_a_yes_is_refused(there: Bench):
    body = call("ask_first", path="a")
    await there.ask(body)
    await approve(there)

    assert (await there.ask(body, TENANT)).codes == ["approval/changed"]
    assert there.upstream.sent == []
    await there.ask(body)
    assert len(there.upstream.sent) == 1


# --- the setting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("url: 'https://x/', headers: [Authorization]", "name of a credential"),
        ("url: 'https://x/', headers: [x-api-key]", "name of a credential"),
        ("url: 'https://x/', headers: [mcp-session-id]", "name of a credential"),
        ("url: 'https://x/', headers: [connection]", "the gateway's own affair"),
        ("url: 'https://x/', headers: ['x tenant']", "no name of a header"),
        ("command: [x], headers: [x-tenant]", "a stdio upstream has no headers"),
        (
            "url: 'https://x/', headers: [x-unit], credential: {kind: header, name: X-Unit, value: '${PATH}'}",
            "carries the upstream's credential",
        ),
    ],
)
def test_a_name_that_must_not_pass_is_refused_at_load(tmp_path: Path, setting: str, said: str):
    with pytest.raises(ConfigurationError, match=said):
        parse(f"upstreams: {{a: {{audience: x, {setting}}}}}", base=tmp_path)
