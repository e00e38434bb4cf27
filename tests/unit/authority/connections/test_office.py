"""The way from a link to a connection, and all that must not lead there. Acceptance tests 22 and 23."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.authority.connections.office import ConnectionEnd, Consent, SentAway
from gateway.model.errors import JournalError
from tests.unit.authority.brokers.asking import values_shown
from tests.unit.authority.connections.connecting import BASE, RESOURCE, SCOPES, Connecting, refused
from tests.unit.authority.connections.server import fake_server

if TYPE_CHECKING:
    from pathlib import Path


def asked_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


async def test_a_user_logs_in_agrees_and_is_connected(there: Connecting):
    connection = await there.connect()

    assert (connection.scopes, connection.owner.user, connection.owner.agent) == (SCOPES, "alice", "agent-1")
    assert there.events() == ["asked", "agreed", "made"]
    assert values_shown([*there.at.secrets, *there.idp.secrets], there.entries) == []


async def test_the_request_has_pkce_resource_and_the_redirect_uri_of_its_broker(there: Connecting):
    link = await there.ask()
    asked = asked_of(await there.agree(link, await there.log_in(link)))

    assert asked["code_challenge_method"] == ["S256"]
    assert (asked["resource"], asked["redirect_uri"]) == ([RESOURCE], [f"{BASE}/oauth/callback/crm"])
    assert (asked["scope"], asked["client_id"], asked["response_type"]) == (["crm.read crm.write"], ["gw"], ["code"])
    assert "prompt" not in asked


async def test_the_token_request_names_the_same_resource(there: Connecting):
    await there.connect()

    (form,) = [form for form in there.at.forms("/token") if form["grant_type"] == ["authorization_code"]]
    assert (form["resource"], form["redirect_uri"]) == ([RESOURCE], [f"{BASE}/oauth/callback/crm"])


async def test_the_first_access_token_is_revoked_at_once(there: Connecting):
    await there.connect()

    assert there.at.live == {}


async def test_nothing_is_bound_for_another_person_who_opens_the_link(there: Connecting):
    link = await there.ask("alice")
    there.idp.person = "mallory"
    cookie = await there.log_in(link)

    for _ in range(3):
        refused(await there.office.open(link.id, cookie), "connection/person")
    refused(await there.office.answer(link.id, cookie, "guess", "allow"), "connection/browser")
    assert there.events() == ["asked", "refused"]
    assert await there.connections.all() == ()
    assert there.entries[-1]["person"] == {"issuer": there.idp.url, "id": "mallory"}


async def test_another_person_cannot_agree_with_the_right_csrf_token(there: Connecting):
    own, other = await there.ask("mallory", agent="agent-2"), await there.ask("alice")
    there.idp.person = "mallory"
    cookie = await there.log_in(own)
    shown = await there.office.open(own.id, cookie)
    assert isinstance(shown, Consent)

    refused(await there.office.answer(other.id, cookie, shown.csrf, "allow"), "connection/person")
    assert await there.connections.all() == ()


async def test_the_same_name_at_another_provider_is_another_person(there: Connecting):
    link = await there.ask()
    there.idp.claims = {"iss": "https://other.example"}
    sent = await there.office.open(link.id, None)
    assert isinstance(sent, SentAway)

    refused(await there.office.finish_login(there.idp.authorize(sent.url), sent.cookie), "connection/login")


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "another-client"},
        {"aud": None},
        {"azp": "another-client"},
        {"exp": 1},
        {"sub": None},
    ],
)
async def test_an_id_token_that_does_not_prove_this_login_is_refused(there: Connecting, claims: dict[str, Any]):
    link = await there.ask()
    there.idp.claims = claims
    sent = await there.office.open(link.id, None)
    assert isinstance(sent, SentAway)

    refused(await there.office.finish_login(there.idp.authorize(sent.url), sent.cookie), "connection/login")
    assert isinstance(await there.office.open(link.id, sent.cookie), SentAway)


@pytest.mark.parametrize("changes", [{"iss": "https://evil.example"}, {"iss": None}])
async def test_the_answer_of_another_server_is_refused(there: Connecting, changes: dict[str, str | None]):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie), **changes)

    refused(await there.office.finish("crm", query, cookie), "connection/issuer")
    assert there.at.forms("/token") == []
    assert there.entries[-1]["code"] == "connection/issuer"


async def test_an_error_of_another_server_is_refused_for_its_issuer(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    url = await there.agree(link, cookie)
    query = there.at.authorize(url, code=None, error="access_denied", iss="https://evil.example")

    refused(await there.office.finish("crm", query, cookie), "connection/issuer")


async def test_a_server_that_names_no_issuer_may_leave_it_out(there: Connecting):
    there.at.metadata = {"authorization_response_iss_parameter_supported": None}
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie), iss=None)

    assert await there.office.finish("crm", query, cookie) == ConnectionEnd(link, made=True)


async def test_a_code_counts_once(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie))

    assert isinstance(await there.office.finish("crm", query, cookie), ConnectionEnd)
    refused(await there.office.finish("crm", query, cookie), "connection/browser")
    assert len(await there.connections.all()) == 1


async def test_an_answer_at_the_redirect_uri_of_another_broker_is_refused(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie))

    refused(await there.office.finish("other", query, cookie), "connection/browser")
    refused(await there.office.finish("unknown", query, cookie), "connection/browser")
    assert there.at.forms("/token") == []


async def test_a_state_of_another_browser_is_refused(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie))
    stranger = await there.log_in(link)

    refused(await there.office.finish("crm", query, stranger), "connection/browser")
    refused(await there.office.finish("crm", query, None), "connection/browser")
    refused(await there.office.finish("crm", query, "guess"), "connection/browser")


async def test_a_login_of_another_browser_is_refused(there: Connecting):
    link = await there.ask()
    first, second = [await there.office.open(link.id, None) for _ in range(2)]
    assert isinstance(first, SentAway)
    assert isinstance(second, SentAway)

    refused(await there.office.finish_login(there.idp.authorize(first.url), second.cookie), "connection/login")


async def test_the_name_of_a_session_before_the_login_serves_no_more(there: Connecting):
    link = await there.ask()
    sent = await there.office.open(link.id, None)
    assert isinstance(sent, SentAway)
    query = there.idp.authorize(sent.url)
    assert isinstance(await there.office.finish_login(query, sent.cookie), SentAway)

    refused(await there.office.finish_login(query, sent.cookie), "connection/browser")
    assert isinstance(await there.office.open(link.id, sent.cookie), SentAway)


async def test_a_form_of_another_page_is_refused(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)

    for csrf in ("", "guess", "é"):
        refused(await there.office.answer(link.id, cookie, csrf, "allow"), "connection/browser")


async def test_a_no_closes_the_link_and_no_new_one_is_given_for_its_time(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    shown = await there.office.open(link.id, cookie)
    assert isinstance(shown, Consent)

    told = await there.office.answer(link.id, cookie, shown.csrf, "deny")
    assert isinstance(told, ConnectionEnd)
    assert not told.made
    place = ("crm", "crm", "https://crm.example")
    assert await there.office.ask(there.owner(), place, session="", decision=None) is None
    there.ahead = 601
    assert (await there.ask()).id != link.id


async def test_a_link_ends_with_its_time_also_on_the_way(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie))
    there.ahead = 601

    refused(await there.office.finish("crm", query, cookie), "connection/link")
    refused(await there.office.open(link.id, cookie), "connection/link")
    assert there.at.forms("/token") == []


async def test_an_owner_has_one_open_link(there: Connecting):
    assert await there.ask() == await there.ask()
    assert (await there.ask()).id != (await there.ask(agent="agent-2")).id


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"refresh_token": None}, "connection/refresh"),
        ({"scope": "crm.read crm.write admin"}, "connection/wider"),
        ({"token_type": "mac"}, "connection/refused"),
        ({"access_token": None}, "connection/refused"),
    ],
)
async def test_tokens_that_cannot_be_used_are_given_back(there: Connecting, answer: dict[str, Any], code: str):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie))
    there.at.answer = answer

    refused(await there.office.finish("crm", query, cookie), code)
    assert await there.connections.all() == ()
    if code in {"connection/refresh", "connection/wider"}:
        assert there.at.live == {}


async def test_a_server_without_pkce_is_refused(there: Connecting):
    there.at.metadata = {"code_challenge_methods_supported": ["plain"]}
    link = await there.ask()
    cookie = await there.log_in(link)
    shown = await there.office.open(link.id, cookie)
    assert isinstance(shown, Consent)

    refused(await there.office.answer(link.id, cookie, shown.csrf, "allow"), "connection/server")


async def test_without_a_journal_nobody_connects(there: Connecting):
    link = await there.ask()
    cookie = await there.log_in(link)
    query = there.at.authorize(await there.agree(link, cookie))
    there.is_journal_down = True

    with pytest.raises(JournalError):
        await there.office.finish("crm", query, cookie)
    assert await there.connections.all() == ()
    assert [family.is_dead for family in there.at.families] == [True]


async def test_a_waiting_call_hears_of_the_connection(there: Connecting):
    link = await there.ask()
    waiting = asyncio.create_task(there.office.wait(link.id, 30))
    cookie = await there.log_in(link)
    assert not waiting.done()

    await there.office.finish("crm", there.at.authorize(await there.agree(link, cookie)), cookie)
    await asyncio.wait_for(waiting, 300)


async def test_the_gateway_registers_itself_once_and_keeps_the_client(tmp_path: Path):
    async with fake_server() as at, fake_server() as idp:
        there = Connecting(tmp_path, at, idp, settings={"client": {"dcr": True}, "scopes": ["offline_access"]})
        await there.connect()
        there.build()
        await there.load()
        link = await there.ask(agent="agent-2")
        asked = asked_of(await there.agree(link, await there.log_in(link)))
        await there.aclose()

    assert asked["client_id"] == ["registered-1"]
    (registered,) = at.registered
    assert registered["redirect_uris"] == [f"{BASE}/oauth/callback/crm"]
    assert (registered["application_type"], registered["token_endpoint_auth_method"]) == ("web", "client_secret_basic")


async def test_the_document_of_the_client_equals_its_address(there: Connecting):
    there.settings = {"client": {"cimd": True}}
    there.build()
    document = there.servers["crm"].document()
    assert document["client_id"] == f"{BASE}/.well-known/oauth-client/crm"
    assert document["redirect_uris"] == [f"{BASE}/oauth/callback/crm"]

    link = await there.ask()
    cookie = await there.log_in(link)
    shown = await there.office.open(link.id, cookie)
    assert isinstance(shown, Consent)
    refused(await there.office.answer(link.id, cookie, shown.csrf, "allow"), "connection/server")

    there.at.metadata = {"client_id_metadata_document_supported": True}
    there.build()
    link = await there.ask()
    assert asked_of(await there.agree(link, await there.log_in(link)))["client_id"] == [document["client_id"]]
