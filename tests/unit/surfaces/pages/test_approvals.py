"""The desk over HTTP, through the edge of a whole gateway, with tokens of a real issuer's form."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from msgspec import structs

from gateway.authority.approvals.endorsement import EndorsementSelection
from gateway.authority.approvals.model import Person
from gateway.authority.approvals.rendering import describe_endorsement
from gateway.authority.approvals.state import fact_of
from gateway.calls.pipeline.people import People
from gateway.model.decision import Decision, Obligation, Reason
from gateway.model.errors import ConfigurationError
from gateway.surfaces.app.control import OPERATIONS
from gateway.surfaces.pages.styled import STYLE_SOURCE
from tests.unit.approving import REVISION, desk, pending
from tests.unit.approving import vote as cast_vote
from tests.unit.authority.approvals.making import endorsement
from tests.unit.harness import Answer, Bench, bench, call, deciding
from tests.unit.surfaces.pages.asking import ask_page

KEY = ECKey.generate_key("P-256", {"kid": "k1"})
ISSUER = "https://idp.example"
DESK = "http://127.0.0.1:8080/api/approvals"
MORE = f"approvals: {{hold: 20ms, people: {{issuer: '{ISSUER}', jwks: 'file:jwks.json', groups: [sre], assurance: mfa}}}}\n"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    (tmp_path / "jwks.json").write_text(json.dumps(KeySet([KEY]).as_dict(private=False)), "utf-8")
    async with bench(tmp_path, more=MORE) as started:
        yield started


def token(**changes: Any) -> tuple[bytes, bytes]:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "bob",
        "client_id": "desk",
        "aud": DESK,
        "iat": now,
        "exp": now + 60,
        "groups": ["sre"],
    }
    members = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    text = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}, members, KEY, algorithms=["ES256"])
    return b"authorization", f"Bearer {text}".encode()


async def asked(there: Bench) -> str:
    await there.ask(call("ask_first", path="a"))
    assert there.gateway.people is not None
    (one,) = there.gateway.people.desk.list_open()
    return one.id


async def vote(there: Bench, identifier: str, shown: str, *headers: tuple[bytes, bytes], **more: Any) -> Answer:
    body = json.dumps({"answer": "approve", "shown": shown, **more}).encode()
    return await ask_page(there, "POST", f"/api/approvals/{identifier}/vote", *headers, body=body)


async def test_a_person_lists_shows_and_approves(there: Bench):
    identifier = await asked(there)
    listed = await ask_page(there, "GET", "/api/approvals", token())
    shown = await ask_page(there, "GET", f"/api/approvals/{identifier}", token())
    voted = await vote(there, identifier, shown.json["shown"], token(email="bob@corp.example"))

    assert [one["id"] for one in listed.json["questions"]] == [identifier]
    assert shown.json["said_by_agent"]["arguments"]["value"] == {"path": "a"}
    assert voted.json["state"] == "granted"
    assert (await there.ask(call("ask_first", path="a"))).json["result"] == {"content": []}
    (granted,) = [entry for entry in there.entries("approval") if entry["event"] == "granted"]
    assert granted["vote"]["person"] == {
        "id": "bob",
        "issuer": ISSUER,
        "groups": ["sre"],
        "assurance": "mfa",
        "channel": "api",
        "logged_in": None,
        "known_as": "bob@corp.example",
        "mail": "bob@corp.example",
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"aud": "http://127.0.0.1:8080/mcp"}, 401),
        ({"aud": "http://127.0.0.1:8080/mcp/files"}, 401),
        ({"aud": [DESK, "http://127.0.0.1:8080/mcp"]}, 401),
        ({"act": {"sub": "agent"}}, 403),
        ({"sub": "desk"}, 403),
        ({"exp": 1}, 401),
        ({"iss": "https://other.example"}, 401),
    ],
)
async def test_no_other_token_is_a_persons(there: Bench, changes: dict[str, Any], status: int):
    identifier = await asked(there)

    for answer in (
        await ask_page(there, "GET", "/api/approvals", token(**changes)),
        await ask_page(there, "GET", f"/api/approvals/{identifier}", token(**changes)),
        await vote(there, identifier, "x", token(**changes)),
    ):
        assert answer.status == status
        assert b'"path"' not in answer.body


OUTSIDE: tuple[dict[str, Any], ...] = (
    {"groups": None},
    {"groups": []},
    {"groups": ["staff"]},
    {"groups": ["SRE"]},
    {"groups": "staff sre"},
    {"groups": ["sre-readers", "not sre", "s\u200bre"]},
    {"groups": [["sre"]]},
    {"groups": {"sre": True}},
    {"groups": ["staff"], "roles": ["sre"], "scope": "sre", "realm_access": {"roles": ["sre"], "groups": ["sre"]}},
    {"groups": ["", " "]},
)
"""Tokens of persons of the approvers' issuer who are in no group of approvers."""


@pytest.mark.parametrize("changes", OUTSIDE)
async def test_a_person_outside_of_the_groups_reads_and_answers_nothing(there: Bench, changes: dict[str, Any]):
    identifier = await asked(there)
    register = people_of(there).endorsements
    await register.give(endorsement(granted=register.now(), expires=register.now() + 60))
    shown = (await ask_page(there, "GET", f"/api/approvals/{identifier}", token())).json["shown"]
    stranger = token(**changes)

    for answer in (
        await ask_page(there, "GET", "/api/approvals", stranger),
        await ask_page(there, "GET", f"/api/approvals/{identifier}", stranger),
        await ask_page(there, "GET", "/api/approvals/unknown", stranger),
        await vote(there, identifier, shown, stranger),
        await vote(there, identifier, shown, stranger, end_task=True),
        await ask_page(there, "GET", "/api/endorsements", stranger),
        await revoke(there, b'{"all": true}', stranger),
    ):
        assert answer.status in {401, 403}
        assert answer.json["error"]["code"] in {"vote/member", "identity/claims"}
        assert b"ask_first" not in answer.body
        assert b"boss" not in answer.body
    assert [one.state for one in desk(there).list_open()] == ["pending"]
    assert len(register.list()) == 1


@pytest.mark.parametrize("groups", ["sre", ["staff", "sre"], ["\uff53\uff52\uff45"], ["\u24e2re "], ["\u017fre"]])
async def test_another_form_of_the_same_name_is_the_same_group(there: Bench, groups: object):
    identifier = await asked(there)

    listed = await ask_page(there, "GET", "/api/approvals", token(groups=groups))
    assert [one["id"] for one in listed.json["questions"]] == [identifier]


@pytest.mark.parametrize("name", ["Dev", "dev", " DEV ", "\uff24\uff45\uff56", "D\u2147v"])
async def test_a_member_does_not_approve_an_own_call_under_another_form_of_the_name(there: Bench, name: str):
    identifier = await asked(there)
    shown = (await ask_page(there, "GET", f"/api/approvals/{identifier}", token(sub=name))).json
    answer = await vote(there, identifier, shown["shown"], token(sub=name))

    assert (answer.status, answer.json["error"]["code"]) == (403, "vote/excluded")


@pytest.mark.parametrize("spelled", ["sre", "\uff53re"])
async def test_a_group_that_the_policy_spells_otherwise_is_satisfied_at_the_release_too(
    there: Bench, monkeypatch: pytest.MonkeyPatch, spelled: str
):
    rule = Obligation("require_approvers", {"count": 1, "group": spelled})
    deciding(there, Decision("ask", (Reason("approval/grant", "Ask."),), (rule,), REVISION), monkeypatch)
    identifier = await asked(there)
    shown = (await ask_page(there, "GET", f"/api/approvals/{identifier}", token())).json
    voted = await vote(there, identifier, shown["shown"], token())

    assert voted.json["state"] == "granted"
    (granted,) = desk(there).list_open()
    (approver,) = cast("Any", fact_of(granted, "x"))["approvers"]
    assert spelled in approver["groups"]


def people_of(there: Bench) -> People:
    assert there.gateway.people is not None
    return there.gateway.people


async def test_without_a_token_nothing_is_told(there: Bench):
    identifier = await asked(there)

    assert (await ask_page(there, "GET", "/api/approvals")).status == 401
    assert (await vote(there, identifier, "x")).status == 401
    assert (await ask_page(there, "GET", "/api/openapi.json")).json["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 400, "control/invalid"),
        (b"[]", 400, "control/invalid"),
        (b'{"answer": "approve", "shown": "sha256:other"}', 409, "vote/changed"),
        (b'{"answer": "approve", "shown": "x", "person": "eve"}', 400, "control/invalid"),
        (b'{"answer": "approve", "shown": "x", "id": "q2"}', 400, "control/invalid"),
        (b'{"answer": ' + b"[" * 30_000, 400, "control/invalid"),
        (b'{"answer": "approve", "shown": "x", "scopes": ["always"]}', 400, "vote/invalid"),
    ],
)
async def test_a_vote_that_does_not_count_says_why(there: Bench, body: bytes, status: int, code: str):
    identifier = await asked(there)
    answer = await ask_page(there, "POST", f"/api/approvals/{identifier}/vote", token(), body=body)

    assert (answer.status, answer.json["error"]["code"]) == (status, code)


async def test_the_requester_does_not_approve_its_own_call(there: Bench):
    identifier = await asked(there)
    shown = (await ask_page(there, "GET", f"/api/approvals/{identifier}", token(sub="Dev"))).json
    answer = await vote(there, identifier, shown["shown"], token(sub="Dev"))

    assert shown["may_approve"] is False
    assert (answer.status, answer.json["error"]["code"]) == (403, "vote/excluded")


def ages(monkeypatch: pytest.MonkeyPatch, there: Bench) -> None:
    """Have the policy ask for approvers who logged in within five minutes."""
    rule = Obligation("require_approvers", {"count": 1, "max_age_seconds": 300})
    deciding(there, Decision("ask", (Reason("approval/grant", "Ask."),), (rule,), REVISION), monkeypatch)


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (None, "the time of your login is not known"),
        (301, "yours is _ s old"),
        (86_400, "yours is _ s old"),
        (-3_600, "the time of your login is not known"),
        ("1", "the time of your login is not known"),
        (True, "the time of your login is not known"),
    ],
)
async def test_an_old_login_is_challenged(there: Bench, monkeypatch: pytest.MonkeyPatch, ago: Any, told: str):
    ages(monkeypatch, there)
    identifier = await asked(there)
    known = isinstance(ago, int) and not isinstance(ago, bool)
    old = token(auth_time=int(time.time()) - ago if known else ago)
    shown = (await ask_page(there, "GET", f"/api/approvals/{identifier}", old)).json
    answer = await vote(there, identifier, shown["shown"], old)

    assert (shown["may_approve"], shown["rule"]["max_age_seconds"]) == (False, 300)
    assert (answer.status, answer.json["error"]["code"]) == (401, "vote/login")
    message = answer.json["error"]["message"]
    assert told in re.sub(r"is [0-9]+ s old", "is _ s old", message)
    # A second or more may have passed since the token was made.
    assert all(int(age) >= ago for age in re.findall(r"is ([0-9]+) s old", message))
    challenge = dict(answer.headers)[b"www-authenticate"].decode()
    assert challenge.startswith('Bearer error="insufficient_user_authentication"')
    assert 'max_age="300"' in challenge
    by_code = await vote(there, shown["code"], shown["shown"], old)
    assert 'max_age="300"' in dict(by_code.headers)[b"www-authenticate"].decode()
    assert [one.state for one in desk(there).list_open()] == ["pending"]

    fresh = token(auth_time=int(time.time()) - 200)
    assert (await vote(there, identifier, shown["shown"], fresh)).json["state"] == "granted"
    (granted,) = desk(there).list_open()
    (approver,) = cast("Any", fact_of(granted, "x"))["approvers"]
    assert 200 <= approver["login_age_seconds"] < 300


async def test_a_vote_over_the_socket_is_no_fresh_login(there: Bench, monkeypatch: pytest.MonkeyPatch):
    ages(monkeypatch, there)
    await asked(there)
    refused = await cast_vote(there, pending(there), Person("bob", "local"))

    assert isinstance(refused, Reason)
    assert refused.code == "vote/login"


async def test_the_page_tells_who_wants_what_and_no_value_of_the_call(there: Bench):
    identifier = await asked(there)
    page = await ask_page(there, "GET", f"/approvals/{identifier}")
    none = await ask_page(there, "GET", "/approvals/%3Cscript%3E")

    text = page.body.decode()
    assert "pending" in text
    assert "The agent dev wants to call files/ask_first." in text
    assert b"script" not in page.body.lower()
    policy = dict(page.headers)[b"content-security-policy"]
    assert policy == f"default-src 'none'; style-src {STYLE_SOURCE}; base-uri 'none'; frame-ancestors 'none'".encode()
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in STYLE_SOURCE
    assert none.status == 404
    assert b"<script>" not in none.body


async def test_without_people_there_is_no_desk(tmp_path: Path):
    async with bench(tmp_path) as there:
        for path in ("/api/approvals", "/approvals/x"):
            assert (await ask_page(there, "GET", path)).status == 404


async def test_an_audience_of_callers_is_refused_at_the_start(tmp_path: Path):
    (tmp_path / "jwks.json").write_text("{}", "utf-8")
    more = MORE.replace("assurance: mfa", "audience: 'http://127.0.0.1:8080/mcp'")
    with pytest.raises(ConfigurationError, match="is that of callers too"):
        async with bench(tmp_path, more=more):
            pass


# --- endorsements ------------------------------------------------------------------------------------


async def revoke(there: Bench, selection: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return await ask_page(there, "POST", "/api/endorsements/revoke", *headers, body=selection)


async def test_a_person_lists_and_revokes_endorsements(there: Bench):
    assert there.gateway.people is not None
    register = there.gateway.people.endorsements
    await register.give(endorsement(granted=register.now(), expires=register.now() + 60))
    listed = await ask_page(there, "GET", "/api/endorsements", token())
    revoked = await revoke(there, b'{"kind": "weekly-report"}', token())

    assert [one["id"] for one in listed.json["endorsements"]] == ["e1"]
    assert revoked.json == listed.json
    assert register.list() == []
    assert there.entries("endorsement")[-1]["by"]["id"] == "bob"


@pytest.mark.parametrize("changes", [{"aud": "http://127.0.0.1:8080/mcp"}, {"act": {"sub": "agent"}}, {"sub": "desk"}])
async def test_no_token_of_an_agent_lists_or_revokes(there: Bench, changes: dict[str, Any]):
    assert there.gateway.people is not None
    register = there.gateway.people.endorsements
    await register.give(endorsement(granted=register.now(), expires=register.now() + 60))

    for headers in ((token(**changes),), ()):
        for answer in (
            await ask_page(there, "GET", "/api/endorsements", *headers),
            await revoke(there, b'{"all": true}', *headers),
        ):
            assert answer.status in {401, 403}
            assert b"boss" not in answer.body
    assert len(register.list()) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 400, "endorsement/invalid"),
        (b"[]", 400, "control/invalid"),
        (b'{"every": true}', 400, "control/invalid"),
        (b'{"all": "yes"}', 400, "control/invalid"),
        (b'{"id": "e1"}', 404, "endorsement/unknown"),
    ],
)
async def test_a_selection_that_fits_nothing_is_refused(there: Bench, body: bytes, status: int, code: str):
    answer = await revoke(there, body, token())

    assert (answer.status, answer.json["error"]["code"]) == (status, code)


async def test_the_interface_describes_all_that_is_answered(there: Bench):
    described = (await ask_page(there, "GET", "/api/openapi.json")).json

    assert {"/api/approvals/{id}/vote", "/api/endorsements", "/api/endorsements/revoke"} <= described["paths"].keys()
    assert described["x-socket"].keys() == OPERATIONS.keys()
    listed = describe_endorsement(endorsement())
    assert listed.keys() == described["components"]["schemas"]["ListedEndorsement"]["properties"].keys()
    fields = {field.name for field in structs.fields(EndorsementSelection)}
    assert fields == described["components"]["schemas"]["EndorsementSelection"]["properties"].keys()
