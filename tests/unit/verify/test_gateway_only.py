"""The ASGI application around a server: bytes in, and only verified bytes out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from opagate.verify import Caller, GatewayOnly, UsedTokens, Verifier
from tests.minted import AUDIENCE, ISSUER, NOW, Minter, message

if TYPE_CHECKING:
    from collections.abc import MutableMapping

CALL = message()


@dataclass
class Server:
    """A server that notes what it was given."""

    bodies: list[bytes] = field(default_factory=list[bytes])
    callers: list[Caller] = field(default_factory=list[Caller])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.callers.append(scope.get("opagate.caller"))
        self.bodies.append(await Request(scope, receive).body() if scope["type"] == "http" else b"")
        await Response("served")(scope, receive, send)


@dataclass
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    body: bytes = b""
    events: list[str] = field(default_factory=list[str])

    @property
    def code(self) -> str:
        return json.loads(self.body)["code"] if self.status != 200 else "served"


async def ask(
    app: Any,
    token: str | None,
    *chunks: bytes,
    method: str = "POST",
    path: str = "/mcp",
    headers: Any = (),
    gone: bool = False,
) -> Answer:
    """Send a request, its body in chunks; `gone`: the client leaves before the last chunk has come."""
    named = [(b"content-type", b"application/json"), *headers]
    if token is not None:
        named.append((b"authorization", f"Bearer {token}".encode()))
    scope = {"type": "http", "method": method, "path": path, "headers": named, "query_string": b""}
    events = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks or (b"",)]
    if not gone:
        events[-1]["more_body"] = False
    answer = Answer()

    async def receive() -> MutableMapping[str, Any]:
        return events.pop(0) if events else {"type": "http.disconnect"}

    async def send(event: MutableMapping[str, Any]) -> None:
        answer.events.append(event["type"])
        if event["type"] == "http.response.start":
            answer.status, answer.headers = event["status"], dict(event["headers"])
        answer.body += event.get("body", b"")

    await app(scope, receive, send)
    return answer


@pytest.fixture(scope="module")
def minter() -> Minter:
    return Minter()


@pytest.fixture
def verifier(minter: Minter) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, jwks=minter.mint.jwks(), clock=lambda: NOW)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def app(server: Server, verifier: Verifier) -> GatewayOnly:
    return GatewayOnly(server, verifier, exempt={"/healthz"}, max_body=1_000)


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_the_server_reads_exactly_the_verified_bytes_however_they_come(
    app: GatewayOnly, server: Server, minter: Minter, size: int
):
    chunks = [CALL[start : start + size] for start in range(0, len(CALL), size)]

    assert (await ask(app, minter.call(CALL), *chunks, b"")).code == "served"
    assert server.bodies == [CALL]
    assert server.callers[0].subject == "ann"


async def test_a_request_that_did_not_come_through_the_gateway_is_told_so(app: GatewayOnly, server: Server):
    answer = await ask(app, None, CALL)

    assert (answer.status, answer.code) == (401, "token/missing")
    assert answer.headers[b"www-authenticate"] == b"Bearer"
    assert answer.headers[b"cache-control"] == b"no-store"
    assert int(answer.headers[b"content-length"]) == len(answer.body)
    assert server.bodies == []


async def test_a_refused_token_is_answered_as_rfc_6750_says(app: GatewayOnly, minter: Minter):
    answer = await ask(app, minter.call(message(params={"name": "other"})), CALL)

    assert (answer.status, answer.code) == (401, "call/other")
    assert answer.headers[b"www-authenticate"] == (
        b'Bearer error="invalid_token", error_description="the token is bound to another call"'
    )


@pytest.mark.parametrize(
    "values",
    [
        (b"Basic eDp5",),
        (b"Bearer",),
        (b"Bearer ",),
        (b"Bearer a b",),
        (b"",),
        (b"Bearer {token}", b"Bearer {token}"),
        (b"Bearer {token}", b"Basic eDp5"),
        (b"Bearer {token}, Basic eDp5",),
        (b"DPoP {token}",),
        (b"Bearer \xff{token}",),
    ],
)
async def test_one_bearer_token_is_expected(
    app: GatewayOnly, server: Server, minter: Minter, values: tuple[bytes, ...]
):
    token = minter.call(CALL).encode()
    headers = [(b"authorization", value.replace(b"{token}", token)) for value in values]

    assert (await ask(app, None, CALL, headers=headers)).status == 401
    assert server.bodies == []


async def test_the_scheme_has_no_case(app: GatewayOnly, minter: Minter):
    headers = [(b"authorization", b"bEARER " + minter.call(CALL).encode())]

    assert (await ask(app, None, CALL, headers=headers)).code == "served"


async def test_a_body_beyond_the_bound_is_refused_as_soon_as_it_is_beyond(
    app: GatewayOnly, server: Server, minter: Minter
):
    endless = message(params={"name": "x", "arguments": {"text": "x" * 2_000}})
    answer = await ask(app, minter.call(endless), *[endless[at : at + 100] for at in range(0, len(endless), 100)])

    assert (answer.status, answer.code) == (413, "request/size")
    assert server.bodies == []


async def test_no_body_is_read_from_strangers(app: GatewayOnly):
    read: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        read.append("body")
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(_event: MutableMapping[str, Any]) -> None:
        return

    await app({"type": "http", "method": "POST", "path": "/mcp", "headers": []}, receive, send)

    assert read == []


async def test_a_client_that_leaves_gets_no_answer_and_uses_up_nothing(
    app: GatewayOnly, server: Server, minter: Minter
):
    token = minter.call(CALL)

    assert (await ask(app, token, CALL[:20], gone=True)).events == []
    assert server.bodies == []
    assert (await ask(app, token, CALL)).code == "served"


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("POST", b"", "request/method"),
        ("GET", CALL, "request/method"),
        ("PUT", CALL, "request/method"),
        ("DELETE", CALL, "request/method"),
        ("GET", b"", "call/other"),
    ],
)
async def test_calls_are_posted(app: GatewayOnly, minter: Minter, method: str, body: bytes, expected: str):
    assert (await ask(app, minter.call(CALL), body, method=method)).code == expected


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_session_is_listened_to_and_ended_with_a_token_of_the_task(
    app: GatewayOnly, minter: Minter, method: str
):
    assert (await ask(app, minter.task(may_call=False), method=method)).code == "served"
    assert (await ask(app, None, method=method)).code == "token/missing"


async def test_a_compressed_body_is_refused(app: GatewayOnly, minter: Minter):
    answer = await ask(app, minter.call(CALL), CALL, headers=[(b"content-encoding", b"gzip")])

    assert (answer.status, answer.code) == (415, "request/encoding")


async def test_an_ambiguous_body_is_refused(app: GatewayOnly, minter: Minter):
    answer = await ask(app, minter.call(CALL), b"[" + CALL + b"]")

    assert (answer.status, answer.code) == (400, "request/batch")


@pytest.mark.parametrize("path", ["/healthz/", "/healthz/../mcp", "/healthzz", "//healthz", "/HEALTHZ"])
async def test_only_the_exact_path_is_exempt(app: GatewayOnly, path: str):
    assert (await ask(app, None, method="GET", path="/healthz")).code == "served"
    assert (await ask(app, None, method="GET", path=path)).status == 401


async def test_a_temporary_problem_says_when_to_try_again(server: Server, minter: Minter):
    full = Verifier(ISSUER, AUDIENCE, jwks=minter.mint.jwks(), clock=lambda: NOW, used=UsedTokens(capacity=0))
    answer = await ask(GatewayOnly(server, full), minter.call(CALL), CALL)

    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
    assert json.loads(answer.body)["error"] == "temporarily_unavailable"


async def test_a_web_socket_is_closed(app: GatewayOnly, server: Server):
    sent: list[Any] = []

    async def send(event: MutableMapping[str, Any]) -> None:
        sent.append(event)

    await app({"type": "websocket", "path": "/healthz", "headers": []}, _never, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert server.callers == []


async def test_the_start_and_end_of_the_server_pass(app: GatewayOnly, server: Server):
    with pytest.raises(AssertionError):  # Starlette's `Response` answers no lifespan: the server was reached.
        await app({"type": "lifespan"}, _never, _never)

    assert server.bodies == [b""]


async def _never(*_: Any) -> Any:
    raise AssertionError("not expected")


async def test_it_fits_into_the_middleware_of_starlette(verifier: Verifier, minter: Minter):
    async def show(request: Request) -> Response:
        return JSONResponse({"for": request.scope["opagate.caller"].subject, "body": (await request.body()).decode()})

    app = Starlette(
        routes=[Route("/mcp", show, methods=["POST"])], middleware=[Middleware(GatewayOnly, verifier=verifier)]
    )
    answer = await ask(app, minter.call(CALL), CALL)

    assert json.loads(answer.body) == {"for": "ann", "body": CALL.decode()}
    assert (await ask(app, None, CALL)).status == 401
