"""An authorization server and identity provider on loopback: code flow, rotation with reuse detection, revocation, introspection.

As an identity provider it gives assertions (ID-JAG). As an authorization server it takes each of them once.
"""

from __future__ import annotations

import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.authority.brokers.token_checks import read_claims
from gateway.wire.oauth_flow import challenge_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

TYPE = "urn:ietf:params:oauth:token-type:"


@dataclass
class Family:
    """A grant of a user. `used` are refresh tokens that were rotated."""

    scopes: frozenset[str]
    refresh: str
    used: set[str] = field(default_factory=set[str])
    is_dead: bool = False
    person: str = ""
    client_id: str = ""


@dataclass
class FakeServer:
    """`assertion` changes the claims of assertions, `header` their header, and `exchanged` the answer around them. `denies` is the
    error of each request for one.

    `person` is whoever sits at the browser. `answer` changes the answers of the token endpoint, `metadata` the metadata.

    `fails` is the error of each request for tokens.
    """

    url: str = ""
    person: str = "alice"
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    answer: dict[str, Any] = field(default_factory=dict[str, Any])
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    assertion: dict[str, Any] = field(default_factory=dict[str, Any])
    header: dict[str, Any] = field(default_factory=dict[str, Any])
    exchanged: dict[str, Any] = field(default_factory=dict[str, Any])
    denies: str = ""
    introspected: dict[str, Any] = field(default_factory=dict[str, Any])
    presented: list[str] = field(default_factory=list[str])
    rotates: bool = True
    narrows: bool = True
    is_down: bool = False
    fails: str = ""
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list[tuple[str, dict[str, list[str]]]])
    codes: dict[str, dict[str, list[str]]] = field(default_factory=dict[str, dict[str, list[str]]])
    families: list[Family] = field(default_factory=list[Family])
    live: dict[str, Family] = field(default_factory=dict[str, Family])
    registered: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    secrets: list[str] = field(default_factory=list[str])
    count: itertools.count[int] = field(default_factory=itertools.count)
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "k1"}))

    def authorize(self, url: str, **changes: str | None) -> str:
        """Agree as the person at the browser. Returns the query of the address that the browser is sent back to."""
        asked = parse_qs(urlsplit(url).query)
        assert url.startswith(f"{self.url}/authorize?")
        code = self._secret("code")
        self.codes[code] = asked
        answer: dict[str, str | None] = {"code": code, "state": asked["state"][0], "iss": self.url, **changes}
        return urlencode({name: value for name, value in answer.items() if value is not None})

    def forms(self, path: str) -> list[dict[str, list[str]]]:
        """Return the forms that came to an endpoint."""
        return [form for place, form in self.asked if place == path]

    async def respond(self, request: web.Request) -> web.StreamResponse:
        if (path := request.path) == "/register":
            self.registered.append(await request.json())
            name = f"registered-{len(self.registered)}"
            return web.json_response({"client_id": name, "client_secret": "s3cret"}, status=201)
        form = await request.post()
        fields = {name: [str(value) for value in form.getall(name)] for name in form}
        self.asked.append((path, fields))
        if self.is_down:
            return web.Response(status=503)
        if path == "/revoke":
            return self._revoke(fields["token"][0])
        if path != "/token":
            return web.json_response(self._document(path, fields))
        granted = self.fails or self._token(fields)
        if isinstance(granted, str):
            return web.json_response({"error": granted}, status=400)
        return web.json_response(
            {name: value for name, value in {**granted, **self.answer}.items() if value is not None}
        )

    def _document(self, path: str, form: dict[str, list[str]]) -> dict[str, Any]:
        if path == "/introspect":
            return {"active": form["token"][0] in self.live, **self.introspected}
        return {"keys": [self.key.as_dict(private=False)]} if path == "/jwks" else self._metadata()

    def _metadata(self) -> dict[str, Any]:
        paths = ("authorization", "token", "revocation", "introspection", "registration")
        places = ("authorize", "token", "revoke", "introspect", "register")
        found = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            **{f"{name}_endpoint": f"{self.url}/{place}" for name, place in zip(paths, places, strict=True)},
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _token(self, form: dict[str, list[str]]) -> dict[str, Any] | str:
        kind = form["grant_type"][0].rpartition(":")[2]
        if kind != "authorization_code":
            return {"refresh_token": self._refresh, "token-exchange": self._assert, "jwt-bearer": self._take}[kind](
                form
            )
        asked = self.codes.pop(form["code"][0], None)
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return "invalid_grant"
        if challenge_of(form["code_verifier"][0]) != asked["code_challenge"][0]:
            return "invalid_grant"
        scopes = frozenset(asked.get("scope", [""])[0].split())
        family = Family(scopes, self._secret("refresh"), person=self.person, client_id=asked["client_id"][0])
        self.families.append(family)
        found = self._tokens(family, family.scopes)
        if "openid" in family.scopes:
            found["id_token"] = self._id_token(family.client_id, self.person, asked.get("nonce", [""])[0])
        return found

    def _refresh(self, form: dict[str, list[str]]) -> dict[str, Any] | str:
        token = form["refresh_token"][0]
        family = next((each for each in self.families if token in {each.refresh, *each.used}), None)
        if family is None or family.is_dead:
            return "invalid_grant"
        if token in family.used:
            self._kill(family)
            return "invalid_grant"
        wanted = frozenset(form["scope"][0].split()) if "scope" in form and self.narrows else family.scopes
        if self.rotates:
            family.used.add(family.refresh)
            family.refresh = self._secret("refresh")
        found = self._tokens(family, wanted)
        return {**found, "id_token": self._id_token(family.client_id, family.person)} if "openid" in wanted else found

    def _assert(self, form: dict[str, list[str]]) -> dict[str, Any] | str:
        subject, kind = form["subject_token"][0], form["subject_token_type"][0].rpartition(":")[2]
        family = next((each for each in self.families if each.refresh == subject and not each.is_dead), None)
        if self.denies or (kind == "refresh_token" and family is None):
            return self.denies or "invalid_grant"
        person = family.person if family is not None else (read_claims(subject) or {})["sub"]
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": person,
            "aud": form["audience"][0],
            "client_id": "gw-there",
            "jti": self._secret("jti"),
        }
        claims |= {"iat": now, "exp": now + 300, "scope": form["scope"][0], **self.assertion}
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "k1", "typ": "oauth-id-jag+jwt", **self.header}
        value = jwt.encode(header, claims, self.key, algorithms=["ES256"])
        self.secrets.append(value)
        answer = {"access_token": value, "token_type": "N_A", "issued_token_type": f"{TYPE}id-jag", "expires_in": 300}
        return {**answer, **self.exchanged}

    def _take(self, form: dict[str, list[str]]) -> dict[str, Any] | str:
        (assertion,) = form["assertion"]
        if assertion in self.presented:
            return "invalid_grant"
        self.presented.append(assertion)
        now, resource = int(time.time()), "https://crm.example"
        claims = {"iss": self.url, "sub": "7f3a", "aud": resource, "scope": form["scope"][0], "exp": now + 120}
        token = jwt.encode({"alg": "ES256", "kid": "k1"}, {**claims, **self.claims}, self.key, algorithms=["ES256"])
        self.live[token] = Family(frozenset(), "")
        self.secrets.append(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 120}

    def _tokens(self, family: Family, scopes: frozenset[str]) -> dict[str, Any]:
        access = self._secret("access")
        self.live[access] = family
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": " ".join(sorted(scopes)),
            "refresh_token": family.refresh,
        }

    def _id_token(self, client_id: str, person: str, nonce: str = "") -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": person,
            "aud": client_id,
            "nonce": nonce,
            "iat": now,
            "exp": now + 60,
            "auth_time": now,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": "k1"}, claims, self.key, algorithms=["ES256"])

    def _revoke(self, token: str) -> web.Response:
        self.live.pop(token, None)
        for family in self.families:
            if token == family.refresh:
                self._kill(family)
        return web.Response()

    def _kill(self, family: Family) -> None:
        family.is_dead = True
        self.live = {token: each for token, each in self.live.items() if each is not family}

    def _secret(self, kind: str) -> str:
        self.secrets.append(f"{kind}-{next(self.count)}-5up3rS3cretV4lue")
        return self.secrets[-1]


@asynccontextmanager
async def fake_server() -> AsyncGenerator[FakeServer]:
    server = FakeServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.respond)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
