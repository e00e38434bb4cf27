"""Answers of an OpenID provider to a login: those of another login, of another server, or beyond each bound prove nobody."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from gateway.identity.id_token import LoginFault, VerifiedLogin
from gateway.identity.keys import MAX_BYTES
from gateway.identity.login import BegunLogin, LoginClient, LoginProvider
from gateway.model.errors import IdentityUnavailable
from tests.unit.identity.web import Answer, Site, serving

KEY = ECKey.generate_key("P-256", {"kid": "k1"})
BACK = "https://gateway.example/console/login/callback"


class Place:
    """A provider on loopback, and the gateway as its client."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.provider = LoginProvider(LoginClient(site.url, "gateway", "s", BACK), clock=time.time)
        self.publish()
        site.answers["/keys"] = Answer(json.dumps(KeySet([KEY]).as_dict(private=False)).encode())

    def publish(self, **changes: Any) -> None:
        url = self.site.url
        metadata = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        body = json.dumps({**metadata, **changes}).encode()
        self.site.answers["/.well-known/oauth-authorization-server"] = Answer(body)

    def issue(self, begun: BegunLogin, **changes: Any) -> None:
        now = int(time.time())
        claims = {
            "iss": self.site.url,
            "aud": "gateway",
            "sub": "alice",
            "nonce": begun.code.nonce,
            "iat": now,
            "exp": now + 60,
            "auth_time": now,
        }
        token = jwt.encode({"alg": "ES256", "kid": "k1"}, {**claims, **changes}, KEY, algorithms=["ES256"])
        self.site.answers["/token"] = Answer(json.dumps({"id_token": token}).encode())

    def query(self, begun: BegunLogin, **changes: str) -> str:
        return urlencode({"code": "c", "state": begun.code.state, "iss": self.site.url, **changes})


@pytest.fixture
async def place() -> AsyncGenerator[Place]:
    async with serving() as site:
        found = Place(site)
        yield found
        await found.provider.aclose()


async def test_a_login_asks_with_fresh_secrets_and_proves_a_person(place: Place):
    url, begun = await place.provider.begin(max_age=0)
    asked = parse_qs(urlsplit(url).query)
    place.issue(begun)
    found = await place.provider.finish(begun, place.query(begun))

    assert (asked["state"], asked["nonce"]) == ([begun.code.state], [begun.code.nonce])
    assert (asked["code_challenge_method"], asked["max_age"], asked["prompt"]) == (["S256"], ["0"], ["login"])
    assert begun.code.verifier not in url
    assert isinstance(found, VerifiedLogin)
    assert found.subject == "alice"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"state": "other"}, "the answer belongs to another login"),
        ({"state": ""}, "the answer of the identity provider is malformed"),
        ({"iss": "https://evil.example"}, "the answer is of another identity provider"),
        ({"error": "access_denied"}, "the answer of the identity provider is malformed"),
    ],
)
async def test_an_answer_of_another_login_or_server_redeems_no_code(place: Place, changes: dict[str, str], detail: str):
    _, begun = await place.provider.begin()
    found = await place.provider.finish(begun, place.query(begun, **changes))

    assert found == LoginFault(detail)
    assert "/token" not in place.site.asked


@pytest.mark.parametrize("more", ["&state=x", "&code=d", "&iss=https%3A%2F%2Fevil.example"])
async def test_a_parameter_given_twice_is_no_answer(place: Place, more: str):
    _, begun = await place.provider.begin()

    assert isinstance(await place.provider.finish(begun, place.query(begun) + more), LoginFault)
    assert "/token" not in place.site.asked


async def test_a_server_that_names_itself_does_so_in_each_answer(place: Place):
    _, begun = await place.provider.begin()
    query = urlencode({"code": "c", "state": begun.code.state})

    assert await place.provider.finish(begun, query) == LoginFault("the answer is of another identity provider")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b'{"id_token": "' + b"x" * MAX_BYTES + b'"}'),
        Answer(status=307, headers={"location": "/elsewhere"}),
        Answer(status=302, headers={"location": "https://evil.example/"}),
        Answer(b'{"error": "invalid_grant"}', status=400),
        Answer(b"[]"),
        Answer(b'{"access_token": "a"}'),
        Answer(b'{"id_token": ["a"]}'),
        Answer(b'{"id_token": "a.b.c"}'),
    ],
)
async def test_an_answer_without_a_usable_token_proves_nobody(place: Place, answer: Answer):
    _, begun = await place.provider.begin()
    place.site.answers["/token"] = answer

    assert isinstance(await place.provider.finish(begun, place.query(begun)), LoginFault)
    assert place.site.asked.count("/token") == 1
    assert "/elsewhere" not in place.site.asked


@pytest.mark.parametrize("changes", [{"nonce": "other"}, {"aud": "other"}, {"iss": "https://evil.example"}])
async def test_an_id_token_of_another_login_proves_nobody(place: Place, changes: dict[str, Any]):
    _, begun = await place.provider.begin()
    place.issue(begun, **changes)

    assert isinstance(await place.provider.finish(begun, place.query(begun)), LoginFault)


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://idp.example/authorize"},
        {"token_endpoint": "http://idp.example/token"},
        {"authorization_endpoint": None},
    ],
)
async def test_no_browser_is_sent_to_a_provider_with_other_metadata(place: Place, changes: dict[str, Any]):
    place.publish(**changes)

    with pytest.raises(IdentityUnavailable):
        await place.provider.begin()
