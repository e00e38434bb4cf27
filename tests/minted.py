"""Tokens that a gateway minted, and forged tokens, for the tests of upstreams that verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc.jwk import ECKey

from gateway.authority.minting import Mint, MintedToken, bind_call
from gateway.authority.model import LeaseRequest, Scope
from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.model.caller import Actor, AuthMethod, Principal, User

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

ISSUER = "https://gateway.example"
AUDIENCE = "https://tickets.example"
IDP = "https://idp.example"
NOW = 1_000_000.0
DELEGATE = Principal(
    "agent", IDP, AuthMethod.JWT, user=User("ann"), delegation=(Actor("agent", IDP), Actor("planner", None))
)


def message(method: str = "tools/call", params: JsonObject | None = None, **more: Any) -> bytes:
    """Return a JSON-RPC request as its bytes."""
    sent = {"name": "close_ticket", "arguments": {"ticket": "T-1", "n": 1}} if params is None else params
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": sent, **more}).encode()


@dataclass
class Minter:
    """A mint that numbers its tokens."""

    issuer: str = ISSUER
    audience: str = AUDIENCE
    now: float = NOW
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    _numbers: count[int] = field(default_factory=count)

    @property
    def mint(self) -> Mint:
        return Mint(KeyRing(SigningKey(self.key)), self.issuer)

    def request(self, ttl: float = 60, details: tuple[dict[str, Any], ...] = ()) -> LeaseRequest:
        scope = Scope(("tickets:write",), details)
        return LeaseRequest("lease-1", "task-1", DELEGATE, "tickets", self.audience, scope, self.now, self.now + ttl)

    def call(self, body: bytes, ttl: float = 60) -> str:
        """Return a token of the call in a message."""
        sent = json.loads(body)
        binding = bind_call(sent["method"], sent.get("params", {}), decision="d-1", policy="shipped@1")
        return _value(self.mint.mint_call(self.request(ttl), binding, jti=f"j-{next(self._numbers)}", now=self.now))

    def task(self, ttl: float = 60, *details: dict[str, Any], may_call: bool = True) -> str:
        """Return a token of a task."""
        request = self.request(ttl, details)
        return _value(self.mint.mint_task(request, jti=f"j-{next(self._numbers)}", now=self.now, may_call=may_call))

    def forge(
        self, token: str, header: JsonObject | None = None, claims: JsonObject | None = None, key: ECKey | None = None
    ) -> str:
        """Return a token with other parts, signed by the true key or another."""
        head, body = (
            {**decoded(part), **(more or {})} for part, more in zip(token.split("."), (header, claims), strict=False)
        )
        return sign(head, body, key or self.key)


def sign(header: JsonObject, claims: JsonObject | bytes, key: ECKey) -> str:
    """Return a token that a key signed with ES256, whatever its header says."""
    text = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(text)}"
    private = key.private_key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def sign_hs256(header: JsonObject, claims: JsonObject, secret: bytes) -> str:
    """Return a token with an HMAC, the secret of which may be a public key."""
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def _value(token: object) -> str:
    assert isinstance(token, MintedToken)
    return token.value
