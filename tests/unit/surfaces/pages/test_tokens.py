"""Keys, introspection and revocation through the edge of a whole gateway. Acceptance test 15: no oracle."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from msgspec import structs

from gateway.model.errors import StoreError
from gateway.surfaces.app.serving import build_edge
from opagate.verify import Caller, Verifier
from tests.minted import decoded
from tests.unit.harness import READING, Answer, Bench, Held, bench, call
from tests.unit.surfaces.pages.asking import ask_page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.wire.http.edge import Edge

INACTIVE = b'{"active":false}'
SECRETS = {"files": "f" * 32, "mail": "m" * 32}
MORE = """
authority:
  issuer: https://gateway.example
  introspection:
    clients:
      - {id: files, secret: "${FILES_SECRET}", audiences: [files]}
      - {id: mail, secret: "${MAIL_SECRET}", audiences: [mail]}
"""


@pytest.fixture
def bind(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "call")


@pytest.fixture
async def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bind: str) -> AsyncGenerator[Bench]:
    """A gateway whose upstream holds each call until `release`."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(f"{name.upper()}_SECRET", secret)
    labels = f"{READING}\n    credential: {{kind: gateway, bind: {bind}, scopes: {{read: [files:read]}}}}"
    labels += "\n  mail: {url: 'http://127.0.0.1:9/mcp', audience: mail}"
    async with bench(tmp_path, Held(), more=MORE, labels=labels) as started:
        yield started


def upstream_of(there: Bench) -> Held:
    assert isinstance(there.upstream, Held)
    return there.upstream


async def in_flight(there: Bench) -> tuple[str, asyncio.Task[Answer]]:
    """Return the token of a call that its upstream has received, and the call."""
    running = asyncio.ensure_future(there.ask(call("read_file", path="a")))
    await upstream_of(there).arrived.wait()
    (sent,) = there.upstream.sent
    assert sent.credential is not None
    return sent.credential.value.decode().removeprefix("Bearer "), running


async def release(there: Bench, running: asyncio.Task[Answer]) -> Answer:
    upstream_of(there).proceed.set()
    return await running


def basic(name: str, secret: str | None = None) -> tuple[bytes, bytes]:
    pair = f"{name}:{SECRETS[name] if secret is None else secret}".encode()
    return b"authorization", b"Basic " + base64.b64encode(pair)


async def question(
    there: Bench, token: str, *headers: tuple[bytes, bytes], page: str = "introspect", edge: Edge | None = None
) -> Answer:
    body = urlencode({"token": token}).encode()
    return await ask_page(there, "POST", f"/oauth/{page}", *headers, body=body, edge=edge)


# --- keys ------------------------------------------------------------------------------------------


async def test_an_upstream_verifies_a_call_with_the_published_keys(held: Bench):
    token, running = await in_flight(held)
    keys = (await ask_page(held, "GET", "/.well-known/jwks.json")).json
    sent = held.upstream.sent[0]
    verifier = Verifier("https://gateway.example", "files", jwks=keys)
    verifier._started = 0  # the token of this test is older than its verifier

    assert isinstance(await verifier.verify(token, sent.body or b""), Caller)
    await release(held, running)


async def test_no_task_token_verifies_with_the_published_keys(held: Bench):
    keys = KeySet.import_key_set((await ask_page(held, "GET", "/.well-known/jwks.json")).json)
    opened = await ask_page(held, "POST", "/tasks", body=json.dumps({"goal": "read", "expires_in": 600}).encode())
    head, body, signature = opened.json["token"].split(".")
    stripped = (
        base64.urlsafe_b64encode(json.dumps({**decoded(head), "kid": keys.keys[0].kid}).encode()).decode().rstrip("=")
    )

    for token in (f"{head}.{body}.{signature}", f"{stripped}.{body}.{signature}"):
        with pytest.raises((JoseError, ValueError)):
            jwt.decode(token, keys, algorithms=["ES256"])


# --- introspection ---------------------------------------------------------------------------------


async def test_the_token_of_a_call_is_active_while_the_call_is_in_flight(held: Bench):
    token, running = await in_flight(held)

    during = await question(held, token, basic("files"))
    await release(held, running)
    after = await question(held, token, basic("files"))

    assert during.json == {"active": True, "token_type": "Bearer", **decoded(token.split(".")[1])}
    assert dict(during.headers)[b"cache-control"] == b"no-store"
    assert after.body == INACTIVE


async def test_every_other_question_has_one_answer_of_one_size(held: Bench):
    token, running = await in_flight(held)
    head, body, _ = token.split(".")
    questions: list[tuple[str, tuple[tuple[bytes, bytes], ...]]] = [
        (token, (basic("mail"),)),
        (token, ()),
        (token, (basic("files", "wrong"),)),
        (token, (basic("nobody", "f" * 32),)),
        (token, (basic("files"), basic("files"))),
        (token, ((b"authorization", b"Bearer " + token.encode()),)),
        ("a.b.c", (basic("files"),)),
        (f"{head}.{body}.AAAA", (basic("files"),)),
        ("", (basic("files"),)),
        ("x" * 30_000, (basic("files"),)),
    ]

    answers = [await question(held, asked, *headers) for asked, headers in questions]
    await release(held, running)
    answers.append(await question(held, token, basic("files")))

    assert {(answer.status, answer.headers, answer.body) for answer in answers} == {(200, answers[0].headers, INACTIVE)}


async def test_a_wrong_secret_is_recorded_and_guesses_are_bounded(held: Bench):
    edge = build_edge(held.configuration, held.gateway, lambda: False)
    answers = [await question(held, "a.b.c", basic("files", f"guess-{number}"), edge=edge) for number in range(70)]

    assert [answer.status for answer in answers] == [200] * 60 + [429] * 10
    assert {answer.body for answer in answers} == {INACTIVE}
    recorded = [entry for entry in held.entries("refused") if entry["reasons"][0]["code"] == "request/introspection"]
    assert len(recorded) == 60
    assert "guess" not in json.dumps(recorded)
    assert (await question(held, "a.b.c", basic("files"), edge=edge)).status == 200


async def test_the_questions_of_an_upstream_are_bounded(held: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.surfaces.pages.tokens._QUESTIONS_A_SECOND", 0)
    answer = await question(held, "a.b.c", basic("files"))

    assert (answer.status, answer.body) == (429, INACTIVE)
    assert dict(answer.headers)[b"retry-after"] == b"60"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("page", ["introspect", "revoke"])
async def test_questions_are_posted(held: Bench, method: str, page: str):
    answer = await ask_page(held, method, f"/oauth/{page}?token=a")

    assert (answer.status, answer.codes) == (405, ["request/http-method"])
    assert dict(answer.headers)[b"allow"] == b"POST"
    assert b"Use POST" in answer.body


async def test_a_gateway_without_leases_answers_no_questions(there: Bench):
    for page in ("introspect", "revoke"):
        assert (await question(there, "a.b.c", page=page)).status == 404


async def test_agents_are_not_told_of_an_authorization_server(held: Bench):
    for path in ("/.well-known/oauth-authorization-server", "/token", "/register", "/authorize"):
        answer = await ask_page(held, "GET", path)
        assert (answer.status, b"issues no tokens" in answer.body) == (404, True)


# --- revocation ------------------------------------------------------------------------------------


async def test_an_upstream_ends_its_own_token_alone(held: Bench):
    token, running = await in_flight(held)

    for headers in ([basic("mail")], [basic("files", "wrong")]):
        assert (await question(held, token, *headers, page="revoke")).status == 200
        assert (await question(held, token, basic("files"))).json["active"] is True
    ended = await question(held, token, basic("files"), page="revoke")

    assert (ended.status, ended.body) == (200, b"")
    assert (await question(held, token, basic("files"))).body == INACTIVE
    await release(held, running)


@pytest.mark.parametrize("bind", ["task"], indirect=True)
async def test_the_end_of_a_token_of_a_task_ends_its_lease(held: Bench, bind: str):
    token, running = await in_flight(held)
    authority = held.gateway.authority
    assert authority is not None
    lease = _of_token(authority.leases.all(), token)

    assert (await question(held, token, basic("files"), page="revoke")).status == 200
    await release(held, running)
    await recorded(held, lease, "revoked")

    ended = [entry for entry in held.entries("lease") if entry["id"] == lease and "cause" in entry]
    assert {entry["cause"] for entry in ended} == {"revoked"}
    assert await question(held, token, basic("files")) == await question(held, "a.b.c", basic("files"))


@pytest.mark.parametrize("bind", ["call", "task"], indirect=True)
async def test_a_caller_ends_a_token_of_its_own_task(held: Bench, bind: str):
    token, running = await in_flight(held)

    assert (await question(held, token, page="revoke")).status == 200
    assert (await question(held, token, basic("files"))).body == INACTIVE
    await release(held, running)


async def test_a_token_is_inactive_after_its_revocation_also_while_the_records_are_away(
    held: Bench, monkeypatch: pytest.MonkeyPatch
):
    token, running = await in_flight(held)
    authority = held.gateway.authority
    assert authority is not None

    async def fail() -> int:
        raise StoreError("away", "wait")

    monkeypatch.setattr(authority.fleet, "look", fail)
    refused = await question(held, token, basic("files"), page="revoke")
    assert (refused.status, refused.json) == (503, {"error": "temporarily_unavailable"})
    assert (await question(held, token, basic("files"))).body == INACTIVE
    await release(held, running)


async def test_a_caller_ends_no_token_of_another(held: Bench):
    token, running = await in_flight(held)
    authority = held.gateway.authority
    assert authority is not None
    found = authority.tokens.find(decoded(token.split(".")[1])["jti"], authority.clock())
    assert found is not None
    authority.tokens.end(found.jti)
    assert authority.tokens.add(structs.replace(found, owner="another"), authority.clock())

    assert (await question(held, token, page="revoke")).status == 200
    assert (await question(held, token, basic("files"))).json["active"] is True
    await release(held, running)


async def test_a_forged_token_ends_nothing(held: Bench):
    token, running = await in_flight(held)

    assert (await question(held, token[:-4] + "AAAA", page="revoke")).status == 200
    assert (await question(held, token, basic("files"))).json["active"] is True
    await release(held, running)


async def test_a_caller_with_wrong_credentials_ends_nothing(held: Bench):
    token, running = await in_flight(held)

    refused = await question(held, token, (b"authorization", b"Bearer a.b.c"), page="revoke")

    assert refused.status == 401
    assert (await question(held, token, basic("files"))).json["active"] is True
    await release(held, running)


def _of_token(leases: Any, token: str) -> str:
    jti = decoded(token.split(".")[1])["jti"]
    (found,) = (lease.id for lease in leases if lease.handle.get("jti") == jti)
    return found


async def recorded(there: Bench, lease: str, event: str) -> None:
    """Wait until the journal has an event of a lease."""
    for _ in range(500):
        if any(entry["id"] == lease and entry["event"] == event for entry in there.entries("lease")):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{event} is not in the journal")
