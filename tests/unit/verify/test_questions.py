"""Keys and introspection, asked of a real HTTP server that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from joserfc.jwk import ECKey

from opagate import verify
from opagate.verify import Introspection, Refusal, Verifier
from tests.minted import AUDIENCE, NOW, Minter, decoded, message

if TYPE_CHECKING:
    from collections.abc import Generator

CALL, LIST = message(), message("tools/list", {})


@dataclass
class Gateway:
    """The documents of a gateway, with a count of the questions."""

    keys: Any = None
    status: int = 200
    active: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[str] = field(default_factory=list[str])
    forms: list[dict[str, list[str]]] = field(default_factory=list[dict[str, list[str]]])
    authorization: list[str | None] = field(default_factory=list[str | None])
    origin: str = ""


@contextmanager
def serving(gateway: Gateway) -> Generator[Gateway]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(gateway.keys)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            gateway.forms.append(form)
            gateway.authorization.append(self.headers["authorization"])
            claims = decoded(form["token"][0].split(".")[1])
            self.answer({**claims, "active": True} if gateway.active is None else gateway.active)

        def answer(self, body: Any) -> None:
            gateway.asked.append(self.path)
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(gateway.status)
            for name, value in gateway.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        gateway.origin = f"http://127.0.0.1:{server.server_port}"
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def gateway() -> Generator[Gateway]:
    with serving(Gateway()) as found:
        yield found


@pytest.fixture
def minter(gateway: Gateway) -> Minter:
    minter = Minter(issuer=gateway.origin)
    gateway.keys = minter.mint.jwks()
    return minter


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the module: change its item."""
    now = [1_000.0]
    monkeypatch.setattr(verify.time, "monotonic", lambda: now[0])
    return now


def verifier_of(gateway: Gateway, **more: Any) -> Verifier:
    return Verifier(gateway.origin, AUDIENCE, clock=lambda: NOW, **more)


async def code(verifier: Verifier, token: str, body: bytes = CALL) -> str:
    found = await verifier.verify(token, body)
    return found.code if isinstance(found, Refusal) else "accepted"


# --- keys ------------------------------------------------------------------------------------------


async def test_keys_are_fetched_once(gateway: Gateway, minter: Minter):
    verifier = verifier_of(gateway)

    found = await asyncio.gather(*(code(verifier, minter.call(CALL)) for _ in range(20)))

    assert set(found) == {"accepted"}
    assert gateway.asked == ["/.well-known/jwks.json"]


async def test_a_new_key_is_fetched_when_its_first_token_comes(gateway: Gateway, minter: Minter, turns: list[float]):
    verifier = verifier_of(gateway)
    await code(verifier, minter.call(CALL))
    minter.key = ECKey.generate_key("P-256")
    gateway.keys = minter.mint.jwks()

    assert await code(verifier, minter.call(CALL)) == "token/signature"
    turns[0] += 11
    assert await code(verifier, minter.call(CALL)) == "accepted"


async def test_unknown_keys_cannot_flood_the_gateway(gateway: Gateway, minter: Minter, turns: list[float]):
    verifier = verifier_of(gateway)
    for number in range(50):
        turns[0] += 0.1
        assert await code(verifier, minter.forge(minter.call(CALL), {"kid": f"k-{number}"})) == "token/signature"

    assert len(gateway.asked) == 1
    assert await code(verifier, minter.call(CALL)) == "accepted"


async def test_a_withdrawn_key_is_forgotten(gateway: Gateway, minter: Minter, turns: list[float]):
    verifier = verifier_of(gateway)
    await code(verifier, minter.call(CALL))
    gateway.keys = {"keys": []}
    turns[0] += 301

    assert await code(verifier, minter.call(CALL)) == "token/signature"


async def test_keys_stay_usable_for_an_hour_while_the_gateway_does_not_answer(
    gateway: Gateway, minter: Minter, turns: list[float]
):
    verifier = verifier_of(gateway)
    await code(verifier, minter.call(CALL))
    gateway.status = 500
    turns[0] += 3_599
    assert await code(verifier, minter.call(CALL)) == "accepted"
    turns[0] += 2
    assert await code(verifier, minter.call(CALL)) == "gateway/unavailable"


BROKEN: list[Any] = [
    b"no json",
    {},
    [],
    {"keys": {}},
    {"keys": [1, None, {}]},
    b"[" * 20_000,
    b'{"keys": [' + b" " * 70_000 + b"]}",
    {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "ES256"}]},
    {"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", "kid": "not on the curve"}]},
]


async def test_a_gateway_that_starts_later_is_found_soon(gateway: Gateway, minter: Minter, turns: list[float]):
    """A gateway lists the tools of its upstreams before it serves its keys."""
    gateway.status = 503
    verifier = verifier_of(gateway)
    assert [await code(verifier, minter.call(CALL)) for _ in range(3)] == ["gateway/unavailable"] * 3
    assert len(gateway.asked) == 1
    gateway.status = 200
    turns[0] += 1.1

    assert await code(verifier, minter.call(CALL)) == "accepted"


@pytest.mark.parametrize("keys", BROKEN)
async def test_a_broken_key_set_verifies_nothing(gateway: Gateway, minter: Minter, keys: Any):
    gateway.keys = keys
    token = minter.call(CALL)

    assert await code(verifier_of(gateway), token) in {"gateway/unavailable", "token/signature"}


async def test_a_redirection_is_not_followed(gateway: Gateway, minter: Minter):
    with serving(Gateway(keys=gateway.keys)) as other:
        gateway.status, gateway.headers = 302, {"location": f"{other.origin}/keys"}

        assert await code(verifier_of(gateway), minter.call(CALL)) == "gateway/unavailable"
        assert other.asked == []


@pytest.mark.parametrize(
    ("url", "insecure", "accepted"),
    [
        ("https://gateway.example/keys", False, True),
        ("http://127.0.0.1:1/keys", False, True),
        ("http://gateway:8080/keys", False, False),
        ("http://gateway:8080/keys", True, True),
        ("file:///etc/passwd", True, False),
        ("ftp://127.0.0.1/keys", True, False),
    ],
)
def test_keys_come_by_https_or_from_this_host(url: str, *, insecure: bool, accepted: bool):
    allowed = nullcontext() if accepted else pytest.raises(ValueError, match="insecure=True")

    with allowed:
        Verifier("https://gateway.example", AUDIENCE, jwks=url, insecure=insecure)


# --- introspection ---------------------------------------------------------------------------------

TERMS = Introspection("tickets", "se:cret ü")


async def test_an_active_token_is_asked_for_with_the_secret_of_the_server(gateway: Gateway, minter: Minter):
    token = minter.call(CALL)

    assert await code(verifier_of(gateway, introspect=TERMS), token) == "accepted"
    assert gateway.asked == ["/.well-known/jwks.json", "/oauth/introspect"]
    assert gateway.forms == [{"token": [token], "token_type_hint": ["access_token"]}]
    kind, _, pair = (gateway.authorization[0] or "").partition(" ")
    assert (kind, base64.b64decode(pair)) == ("Basic", b"tickets:se%3Acret+%C3%BC")
    assert "cret" not in repr(TERMS)


@pytest.mark.parametrize(
    "answer",
    [
        {"active": False},
        {},
        [],
        {"active": "true", "jti": "{jti}", "aud": AUDIENCE},
        {"active": True},
        {"active": True, "jti": "other", "aud": AUDIENCE},
        {"active": True, "jti": "{jti}", "aud": "https://mail.example"},
    ],
)
async def test_a_token_that_the_gateway_does_not_vouch_for_is_refused(gateway: Gateway, minter: Minter, answer: Any):
    token = minter.call(CALL)
    jti = decoded(token.split(".")[1])["jti"]
    gateway.active = {name: jti if value == "{jti}" else value for name, value in answer.items()} if answer else answer
    verifier = verifier_of(gateway, introspect=TERMS)

    assert await code(verifier, token) == "token/inactive"
    gateway.active = None
    assert await code(verifier, token) == "accepted"


@pytest.mark.parametrize("status", [302, 401, 429, 500, 503])
async def test_no_call_passes_while_the_gateway_does_not_answer(gateway: Gateway, minter: Minter, status: int):
    verifier = verifier_of(gateway, introspect=TERMS, jwks=minter.mint.jwks())
    gateway.status = status

    refused = await verifier.verify(minter.call(CALL), CALL)

    assert isinstance(refused, Refusal)
    assert (refused.code, refused.status) == ("gateway/unavailable", 503)
    assert "cret" not in refused.message


async def test_no_call_passes_while_the_gateway_is_gone(minter: Minter):
    verifier = Verifier(
        minter.issuer,
        AUDIENCE,
        jwks=minter.mint.jwks(),
        clock=lambda: NOW,
        introspect=Introspection("a", "b", "http://127.0.0.1:1/"),
    )

    assert await code(verifier, minter.call(CALL)) == "gateway/unavailable"


async def test_a_token_of_a_task_is_asked_for_once_a_second(gateway: Gateway, minter: Minter):
    now = [NOW]
    verifier = Verifier(gateway.origin, AUDIENCE, clock=lambda: now[0], introspect=TERMS)
    token = minter.task()
    for _ in range(5):
        now[0] += 0.19
        assert await code(verifier, token, LIST) == "accepted"
    gateway.active = {"active": False}
    assert len(gateway.forms) == 1
    now[0] += 0.25

    assert await code(verifier, token, LIST) == "token/inactive"


async def test_an_inactive_token_is_not_remembered_and_the_memory_stays_small(gateway: Gateway, minter: Minter):
    now = [NOW]
    verifier = Verifier(gateway.origin, AUDIENCE, clock=lambda: now[0], introspect=TERMS)
    for _ in range(10):
        now[0] += 0.5
        await code(verifier, minter.task(), LIST)

    assert verifier._active is not None
    assert len(verifier._active._known) <= 3


async def test_no_call_is_answered_from_memory(gateway: Gateway, minter: Minter):
    verifier = verifier_of(gateway, introspect=TERMS)
    assert await code(verifier, minter.call(CALL)) == "accepted"
    gateway.active = {"active": False}

    assert await code(verifier, minter.call(CALL)) == "token/inactive"
