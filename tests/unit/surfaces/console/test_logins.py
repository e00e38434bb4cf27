"""The way in: one-time links, sessions, and all requests that get none."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.authority.approvals.model import Person
from gateway.config import parse
from gateway.config.console import ConsoleLogin
from gateway.identity.id_token import VerifiedLogin
from gateway.model.errors import ConfigurationError
from gateway.surfaces.console.logins import visitor_of
from gateway.surfaces.console.sessions import Visitor
from tests.unit.surfaces.console.visiting import ORIGIN, Browser, headers_of, person, visited
from tests.unit.surfaces.pages.asking import ask_page

PLAIN_HTTP = """
public_url: http://gateway.example
console: {login: {issuer: https://idp.example, client_id: c, roles: {viewer: [staff]}}}
"""


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path) as browser:
        yield browser


async def token(browser: Browser) -> str:
    """Return the secret part of a one-time link of an operator."""
    return await browser.console.parts.links.make(
        Visitor(Person("olga", "local"), frozenset({"operator"}), "link", 0.0)
    )


async def test_in_production_a_start_prints_no_link_for_the_gateways_own_account(stranger: Browser):
    assert await stranger.console.link() is None


async def test_a_link_shows_its_person_and_logs_in_once(stranger: Browser):
    secret = await token(stranger)
    shown = await stranger.get(f"/console/login/link?token={secret}")
    begun = await stranger.post("/console/login/link", token=secret)
    page = await stranger.get("/console")
    again = await stranger.post("/console/login/link", token=secret)

    assert b"Continue as olga" in shown.body
    assert (begun.status, headers_of(begun, "location")) == (303, ["/console"])
    (cookie,) = headers_of(begun, "set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert page.status == 200
    assert b"Overview" in page.body
    assert (again.status, b"console/link" in again.body) == (403, True)
    (entry,) = stranger.there.entries("console")
    assert (entry["event"], entry["by"]["login"]) == ("login", "link")
    assert secret not in str(stranger.there.entries("console"))
    assert cookie.partition("=")[2].partition(";")[0] not in str(stranger.there.entries("console"))


async def test_a_stranger_sees_no_page_and_sends_no_form(stranger: Browser):
    page = await stranger.get("/console?x=1")
    sent = await stranger.post("/console/logout")

    assert (page.status, headers_of(page, "location")) == (303, ["/console/login?back=/console%3Fx%3D1"])
    assert sent.status == 401


async def test_a_link_of_another_site_comes_here_again_with_the_cookie(stranger: Browser):
    page = await stranger.get("/console", (b"sec-fetch-site", b"cross-site"))

    assert page.status == 200
    assert b'content="0;url=/console"' in page.body


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/console\\@evil.example", "/tasks"])
async def test_nobody_is_sent_elsewhere_after_the_login(stranger: Browser, back: str):
    inside = stranger.visit(person("alice", "viewer"))
    answer = await inside.get(f"/console/login?back={back}")

    assert headers_of(answer, "location") == ["/console"]


async def test_every_page_keeps_other_sites_out(stranger: Browser):
    for path in ("/console/login", "/console", "/console/static/console.css", "/console/login/link?token=x"):
        answer = await stranger.get(path)
        (policy,) = headers_of(answer, "content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers_of(answer, "x-content-type-options") == ["nosniff"]
        assert headers_of(answer, "referrer-policy") == ["same-origin"]


async def test_a_form_without_the_token_of_the_session_does_nothing(stranger: Browser):
    alice, bob = (stranger.visit(person(name, "viewer")) for name in ("alice", "bob"))
    token_of_bob = await bob.csrf()

    for fields in ({}, {"csrf": ""}, {"csrf": token_of_bob}):
        answer = await alice.post("/console/logout", **fields)
        assert (answer.status, b"console/csrf" in answer.body) == (403, True)
    foreign = await alice.post("/console/logout", (b"origin", b"https://evil.example"), csrf=await alice.csrf())
    assert foreign.status == 403
    assert (await alice.get("/console")).status == 200


async def test_a_logout_ends_the_session(stranger: Browser):
    alice = stranger.visit(person("alice", "viewer"))
    await alice.log_in()
    cookies = dict(alice.cookies)
    answer = await alice.send("/console/logout")
    alice.cookies = cookies

    assert headers_of(answer, "location") == ["/console/login"]
    assert (await alice.get("/console")).status == 303
    assert [entry["event"] for entry in stranger.there.entries("console")] == ["logout"]


@pytest.mark.parametrize("body", [b"\xff", b"a=1&" * 100, b"csrf=" + b"x" * 70_000])
async def test_a_form_that_cannot_be_read_is_refused(stranger: Browser, body: bytes):
    alice = stranger.visit(person("alice", "viewer"))
    await alice.log_in()
    headers = (*alice.cookie(), ORIGIN)
    answer = await ask_page(alice.there, "POST", "/console/logout", *headers, body=body, edge=alice.edge)

    assert (answer.status, b"console/form" in answer.body) == (400, True)


async def test_the_roles_decide_about_the_overview(stranger: Browser):
    viewer, approver = (stranger.visit(person(role, role)) for role in ("viewer", "approver"))

    assert b"Policy" in (await viewer.get("/console")).body
    assert b"Policy" not in (await approver.get("/console")).body


async def test_a_name_of_a_person_is_text_and_nothing_else(stranger: Browser):
    name = "<script>alert(1)</script>\u202egnp\u200b"
    page = (await stranger.visit(person(name, "viewer")).get("/console")).body.decode()

    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩" in page


def test_a_login_brings_the_verified_mail_by_which_a_person_is_told_again():
    settings = ConsoleLogin.model_validate({"issuer": "https://idp.example", "client_id": "c", "roles": {}})
    login = VerifiedLogin("00u1", "https://idp.example", (), 1.0, "Ursula", "ursula@corp.example")

    found = visitor_of(login, settings, None).person
    assert (found.id, found.known_as, found.mail) == ("00u1", "Ursula, ursula@corp.example", "ursula@corp.example")


async def test_a_refused_login_is_recorded_as_any_refusal(stranger: Browser):
    await stranger.get("/console/login/link?token=wrong")

    assert [entry["reasons"][0]["code"] for entry in stranger.there.entries("refused")] == ["console/link"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen: 0.0.0.0:8080\nconsole: {}\n", "has no login"),
        ("public_url: https://gateway.example\nconsole: {}\n", "has no login"),
        (PLAIN_HTTP, "over https"),
    ],
)
def test_a_console_for_others_needs_a_login_and_https(tmp_path: Path, text: str, problem: str):
    with pytest.raises(ConfigurationError, match=problem):
        parse(text, base=tmp_path)
