"""An authorization server on loopback that answers as a test says: too much, too late, something else, or a lie."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from tests.unit.authority.brokers.asking import jwt_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

Fault = Literal["", "redirect", "large", "slow", "drip", "html", "reset", "busy", "gzip", "error", "list", "bomb"]


@dataclass
class HostileIssuer:
    """`claims` and `answer` change an exchange's answer; `faults` name how an endpoint misbehaves."""

    url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    answer: dict[str, Any] = field(default_factory=dict[str, Any])
    faults: dict[str, Fault] = field(default_factory=dict[str, Fault])
    opaque: bool = False
    introspects: Literal["truth", "active", "inactive", "nothing"] = "truth"
    revokes: Literal["yes", "pretends", "unsupported"] = "yes"
    live: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    given: list[str] = field(default_factory=list[str])
    asked: list[tuple[str, dict[str, list[str]], str]] = field(
        default_factory=list[tuple[str, dict[str, list[str]], str]]
    )
    count: itertools.count[int] = field(default_factory=itertools.count)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fields = {name: [str(value) for value in form.getall(name)] for name in form}
        self.asked.append((request.path, fields, request.headers.get("authorization", "")))
        fault = self.faults.get(request.path, "")
        if fault:
            return await _misbehave(fault, request)
        if ".well-known" in request.path:
            return web.json_response(self._metadata())
        if request.path == "/introspect":
            return web.json_response(self._introspection(fields["token"][0]))
        if request.path == "/revoke":
            return self._revocation(fields["token"][0])
        return web.json_response(self._exchange(fields))

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked if ".well-known" not in path]

    def _metadata(self) -> dict[str, Any]:
        endpoints = {
            "token_endpoint": "/token",
            "revocation_endpoint": "/revoke",
            "introspection_endpoint": "/introspect",
        }
        found = {"issuer": self.url, **{name: self.url + path for name, path in endpoints.items()}, **self.metadata}
        return {name: value for name, value in found.items() if value is not None}

    def _exchange(self, form: dict[str, list[str]]) -> dict[str, Any]:
        now = int(time.time())
        audience = [*form.get("audience", []), *form.get("resource", [])]
        claims: dict[str, Any] = {
            "iss": self.url,
            "sub": "ada",
            "aud": audience[0] if len(audience) == 1 else audience,
            "scope": form["scope"][0],
            "iat": now,
            "exp": now + 60,
            "jti": f"t{next(self.count)}",
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        token = f"opaque-{claims['jti']}-5up3rS3cretT0ken" if self.opaque else jwt_text(claims)
        self.live[token] = claims
        self.given.append(token)
        answer = {
            "access_token": token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 60,
            **self.answer,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def _introspection(self, token: str) -> dict[str, Any]:
        match self.introspects:
            case "truth":
                return {"active": True, **self.live[token]} if token in self.live else {"active": False}
            case "active":
                return {"active": True, **self.live.get(token, {})}
            case "inactive":
                return {"active": False}
            case _:
                return {"active": "false"}

    def _revocation(self, token: str) -> web.Response:
        if self.revokes == "unsupported":
            return web.json_response({"error": "unsupported_token_type"}, status=400)
        if self.revokes == "yes":
            self.live.pop(token, None)
        return web.Response()


_TEXT = "quotes the subject token"
_RESPONSES: dict[Fault, Callable[[], web.Response]] = {
    "redirect": lambda: web.Response(status=307, headers={"location": "/elsewhere"}),
    "large": lambda: web.Response(body=b'{"access_token": "' + b"x" * 2**20 + b'"}'),
    "html": lambda: web.Response(text="<html>sign in</html>", content_type="text/html"),
    "list": lambda: web.json_response([]),
    "error": lambda: web.json_response({"error": "invalid_grant", "error_description": _TEXT}, status=400),
    "busy": lambda: web.Response(status=503, headers={"retry-after": "7"}),
    "gzip": lambda: web.Response(body=b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    "bomb": lambda: web.Response(body=b'{"a":' * 5000),
}


async def _misbehave(fault: Fault, request: web.Request) -> web.StreamResponse:
    if fault in _RESPONSES:
        return _RESPONSES[fault]()
    if fault == "reset":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    return await _wait(fault, request)


async def _wait(fault: Fault, request: web.Request) -> web.StreamResponse:
    """Begin an answer that never ends, or no answer at all."""
    response = web.StreamResponse()
    if fault == "drip":
        await response.prepare(request)
        await response.write(b"{")
    await asyncio.Event().wait()
    return response


@asynccontextmanager
async def hostile_issuer() -> AsyncGenerator[HostileIssuer]:
    issuer = HostileIssuer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", issuer.respond)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()
