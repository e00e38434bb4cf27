"""Users connect an agent through the pages of a whole gateway, and the call passes. Acceptance tests 22, 23, 25 and 27."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.stops.model import Selection
from gateway.authority.stops.switch import StopOrder
from gateway.calls.pipeline.waiting import CONNECTION_KEY
from gateway.config.keys import load as load_keys
from gateway.model.decision import Reason
from gateway.record.journal.reader import verify
from tests.unit.authority.brokers.asking import values_shown
from tests.unit.connecting import ORIGIN, Place, connecting
from tests.unit.harness import Back, call, message, result
from tests.unit.operating import perform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.unit.harness import Answer


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with connecting(tmp_path) as started:
        yield started


def link_in(answer: Answer) -> str:
    """Return the link of a readable refusal."""
    (url,) = set(re.findall(rf"{ORIGIN}/connect/[\w-]+", answer.body.decode()))
    return url


def asked_url(answer: Answer) -> tuple[str, str]:
    """Return the address and the state of a result `input_required`."""
    found = answer.json["result"]
    assert found["resultType"] == "input_required", found
    params = found["inputRequests"][CONNECTION_KEY]["params"]
    assert params["mode"] == "url"
    return params["url"], found["requestState"]


async def test_the_same_call_passes_once_its_user_has_connected(place: Place):
    refused = await place.call()
    assert refused.codes == ["credential/connect"]
    assert refused.json["result"]["isError"] is True

    told = await place.browser().connect(link_in(refused))
    assert (told.status, b"Connected" in told.body) == (200, True)
    answer = await place.call()
    assert answer.json["result"] == {"content": []}
    (value,) = place.carried()
    assert value.removeprefix("Bearer ") in place.at.live
    assert place.events() == ["asked", "agreed", "made"]


@pytest.mark.parametrize("chosen", [Selection("all"), Selection("user", "alice"), Selection("agent", "agent-1")])
@pytest.mark.parametrize("is_stopped_late", [False, True])
async def test_nobody_connects_while_an_operator_has_stopped_the_agent_or_the_user(
    place: Place, chosen: Selection, *, is_stopped_late: bool
):
    link, browser = link_in(await place.call()), place.browser()
    page = await browser.log_in(link) if is_stopped_late else None
    switch = place.bench.gateway.stops.switch
    assert switch is not None
    found = await switch.stop(StopOrder(chosen, "a test"), {"id": "account 0"})
    assert not isinstance(found, Reason)

    if page is None:
        told = await browser.log_in(link)
    else:
        (path,), (csrf,) = (re.findall(rf'{name}="([^"]+)"', page.body.decode()) for name in ("action", 'csrf" value'))
        told = await browser.post(path, csrf=csrf, answer="allow")
    assert (told.status, b"stop/in-force" in told.body) == (403, True)
    assert (await place.call()).codes == ["stop/in-force"]

    await switch.resume((found[0],), {"id": "account 0"}, "mended")
    await place.browser().connect(link)
    assert (await place.call()).json["result"] == {"content": []}


async def test_nothing_that_a_server_gave_is_left_in_the_open(place: Place):
    await place.browser().connect(link_in(await place.call()))
    await place.call()

    files = [path for path in place.bench.folder.rglob("*") if path.is_file()]
    secrets = [*place.at.secrets, *place.idp.secrets]
    assert values_shown(secrets, *(path.read_bytes().decode("latin-1") for path in files)) == []
    key = load_keys(place.bench.configuration, begun=True).chain
    assert verify(place.bench.configuration.journal.path, key=key).ok


async def test_the_page_names_agent_user_system_server_and_scopes(place: Place):
    page = await place.browser().log_in(link_in(await place.call()))

    text = page.body.decode()
    for word in ("agent-1", "alice", "files", place.at.url, "crm.read"):
        assert word in text
    headers = dict(page.headers)
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert (headers[b"cache-control"], headers[b"referrer-policy"]) == (b"no-store", b"same-origin")


async def test_foreign_names_are_text_on_the_page(place: Place):
    hostile = '<script>alert(1)</script>"'
    page = await place.browser().log_in(link_in(await place.call(agent=hostile)))

    text = page.body.decode()
    assert "<script" not in text
    assert "&quot;" in text
    assert "&lt;script&gt;" in text


async def test_the_link_of_one_user_opened_by_another_binds_nothing(place: Place):
    url = link_in(await place.call())
    place.idp.person = "mallory"
    page = await place.browser().log_in(url)

    assert (page.status, b"connection/person" in page.body) == (403, True)
    assert b"<form" not in page.body
    assert (await place.call()).codes == ["credential/connect"]
    assert place.events() == ["asked", "refused"]


async def test_a_form_from_another_page_counts_for_nothing(place: Place):
    browser = place.browser()
    url = link_in(await place.call())
    await browser.log_in(url)
    path = url.removeprefix(ORIGIN)

    assert (await browser.post(path, csrf="guess", answer="allow")).status == 403
    assert (await browser.post(path, answer="allow")).status == 403
    assert (await browser.post(path, csrf="guess")).status == 400
    assert (await browser.post(path, (b"origin", b"https://evil.example"), csrf="x", answer="allow")).status == 403
    assert place.events() == ["asked"]


async def test_the_cookie_is_closed_to_scripts_and_to_forms_of_other_sites(place: Place):
    first = await place.browser().get(link_in(await place.call()).removeprefix(ORIGIN))

    cookie = dict(first.headers)[b"set-cookie"]
    assert b"HttpOnly" in cookie
    assert b"SameSite=Lax" in cookie


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/connect/connect-unknown", 404),
        ("/oauth/login?code=c&state=s", 403),
        ("/oauth/callback/crm?code=c&state=s", 403),
        ("/oauth/callback/crm", 400),
        ("/oauth/callback/other?code=c&state=s", 404),
        ("/.well-known/oauth-client/crm", 404),
    ],
)
async def test_addresses_without_a_link_open_nothing(place: Place, path: str, status: int):
    answer = await place.browser().get(path)

    assert answer.status == status
    assert b"set-cookie" not in dict(answer.headers)


async def test_each_agent_of_a_user_needs_a_consent_of_its_own(place: Place):
    await place.browser().connect(link_in(await place.call()))

    assert (await place.call(agent="agent-2")).codes == ["credential/connect"]
    assert (await place.call()).json["result"] == {"content": []}


async def test_a_revoked_connection_takes_its_access_token_along_at_once(place: Place):
    browser = place.browser()
    await browser.connect(link_in(await place.call()))
    await place.call()
    (value,) = place.carried()
    authority = place.bench.gateway.authority
    assert authority is not None
    assert authority.office is not None
    assert await perform(place.bench.gateway.control, "connections/revoke", user="alice") == {"removed": 1}
    assert (await place.call()).codes == ["credential/connect"]
    assert place.carried() == [value]
    async with asyncio.timeout(300):
        while value.removeprefix("Bearer ") in place.at.live:
            await asyncio.sleep(0.01)
    causes = [entry.get("cause") for entry in place.bench.entries("lease") if entry["event"] == "ending"]
    assert causes == ["connection-removed"]


# --- the ways of clients -------------------------------------------------------------------------------


async def test_a_client_that_opens_addresses_is_asked_once_and_goes_on(place: Place):
    url, state = asked_url(await place.ask())
    again = (await place.ask(requestState=state, inputResponses={CONNECTION_KEY: {"action": "accept"}})).json["result"]
    assert (again["resultType"], again["inputRequests"]) == ("input_required", {})

    await place.browser().connect(url)
    answer = await place.ask(requestState=again["requestState"])
    assert answer.json["result"] == {"content": []}
    (sent,) = place.bench.upstream.sent
    assert "oga1." not in (sent.body or b"").decode()
    assert "inputResponses" not in (sent.body or b"").decode()


async def test_a_waiting_call_goes_on_the_moment_its_user_has_connected(tmp_path: Path):
    async with connecting(tmp_path, hold="20s") as place:
        url, state = asked_url(await place.ask())
        waiting = asyncio.create_task(place.ask(requestState=state))
        await place.browser().connect(url)

        assert (await asyncio.wait_for(waiting, 300)).json["result"] == {"content": []}


async def test_after_nine_rounds_the_refusal_is_readable(place: Place):
    url, state = asked_url(await place.ask())
    for _ in range(8):
        found = (await place.ask(requestState=state)).json["result"]
        assert found["resultType"] == "input_required"
        state = found["requestState"]
    last = await place.ask(requestState=state)

    assert last.codes == ["credential/connect"]
    assert link_in(last) == url


async def test_a_client_that_declines_is_asked_no_more(place: Place):
    _, state = asked_url(await place.ask())
    answer = await place.ask(requestState=state, inputResponses={CONNECTION_KEY: {"action": "decline"}})

    assert answer.codes == ["credential/declined"]
    assert (await place.call()).codes == ["credential/declined"]
    assert place.events() == ["asked", "declined"]


async def test_a_client_that_accepts_has_connected_nothing(place: Place):
    _, state = asked_url(await place.ask())
    await place.ask(requestState=state, inputResponses={CONNECTION_KEY: {"action": "accept", "content": {"ok": True}}})

    assert (await place.call()).codes == ["credential/connect"]
    assert place.events() == ["asked"]


async def test_a_state_of_another_caller_is_foreign(place: Place):
    _, state = asked_url(await place.ask())
    answer = await place.ask(agent="agent-2", requestState=state)

    assert answer.codes == ["session/foreign"]


async def test_a_stateless_client_without_addresses_gets_the_readable_refusal(place: Place):
    answer = await place.ask(meta={})

    assert answer.codes == ["credential/connect"]
    assert link_in(answer)


async def test_a_session_of_2025_11_25_gets_the_error_once_and_a_notice(place: Place):
    def answer(request: Any) -> Back:
        if request.method == "GET":
            return Back(type="text/event-stream")
        is_opening = request.message is not None and request.message.method == "initialize"
        return result(request, {"content": []}, session="s-1" if is_opening else None)

    place.bench.upstream.script = answer
    capabilities: dict[str, Any] = {"elicitation": {"url": {}}}
    opening = message(
        "initialize", 1, protocolVersion="2025-11-25", capabilities=capabilities, clientInfo={"name": "a"}
    )
    opened = await place.bench.ask(opening, place.token())
    headers = (
        (b"mcp-session-id", dict(opened.headers)[b"mcp-session-id"]),
        (b"mcp-protocol-version", b"2025-11-25"),
    )
    error = (await place.call(*headers)).json["error"]
    (elicitation,) = error["data"]["elicitations"]
    assert (error["code"], elicitation["mode"]) == (-32042, "url")

    second = await place.call(*headers)
    assert second.codes == ["credential/connect"]
    connections = place.bench.gateway.user_connections
    assert connections is not None
    await place.browser().connect(elicitation["url"])
    (kept,) = connections.notices._untold.values()
    assert elicitation["elicitationId"].encode() in kept[0]
    assert (await place.call(*headers)).json["result"] == {"content": []}


async def test_lists_go_without_a_credential_until_the_user_has_connected(place: Place):
    tools = await place.ask("tools/list")
    assert tools.status == 200
    assert place.carried() == [""]

    await place.browser().connect(link_in(await place.call()))
    await place.ask("tools/list")
    assert place.carried()[-1].startswith("Bearer access-")


async def test_a_list_that_the_upstream_refuses_names_the_link(place: Place):
    place.bench.upstream.script = lambda _request: Back(status=401)
    answer = await place.ask("tools/list")

    assert answer.json["error"]["data"]["io.opagate/decision"]["reasons"][0]["code"] == "credential/connect"
    assert link_in(answer)


async def test_the_user_connects_before_people_are_asked(tmp_path: Path):
    async with connecting(tmp_path, more="approvals: {hold: 20ms}\n") as place:
        refused = await place.call(name="ask_first")
        assert refused.codes == ["credential/connect"]
        assert place.bench.entries("approval") == []
        await place.browser().connect(link_in(refused))

        assert (await place.call(name="ask_first")).codes == ["approval/grant", "approval/pending"]
        assert [entry["event"] for entry in place.bench.entries("approval")] == ["asked"]


async def test_a_denied_call_sends_nobody_to_a_link(place: Place):
    answer = await place.call(name="write_file")

    assert "credential/connect" not in answer.codes
    assert place.events() == []


async def test_a_caller_without_a_user_is_refused_readably(place: Place):
    machine = place.token(user="agent-1")
    answer = await place.bench.ask(call(path="a"), machine)
    assert answer.codes == ["credential/no-user"]
