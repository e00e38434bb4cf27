"""Access tokens that the gateway signs itself (RFC 9068). Pure: the time and the `jti` are arguments.

A token is bound to one call, or to a task. A token of a call names method, tool and digest of the arguments (RFC 9396).
So the token works for this call alone. The key has no other purpose: no task token verifies under it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from msgspec import Struct

from gateway.authority.model import BrokerRefusal, Credential, LeaseRequest
from gateway.base.json import canonical
from gateway.base.keys.key_ring import find_signer
from gateway.model import reasons

if TYPE_CHECKING:
    from gateway.base.keys.key_ring import KeyRing, SigningKey
    from gateway.model.caller import Actor, Principal
    from gateway.model.wire import Json, JsonObject

ALGORITHM: Final = "ES256"
TYPE: Final = "at+jwt"
CALL: Final = "io.opagate.call"
"""Type of authorization details (RFC 9396) that permit calls. With `arguments_digest`, they permit one call."""
MAX_TOKEN: Final = 8_192
"""Characters. Servers commonly refuse a request head beyond this size."""

_OWN_TYPES: Final = "io.opagate."
_CURVE_BYTES: Final = 32
_SIGNATURE: Final = ec.ECDSA(hashes.SHA256())
_BESIDE: Final = frozenset({"_meta", "name", "arguments"})
"""Members of the params of `tools/call` that `params_digest` leaves out: the token has the others, and `_meta` is of the transport."""


class CallBinding(Struct, frozen=True):
    """One call as the upstream receives it.

    `action` is the tool, and the method itself for a method without tools. `arguments_digest` is `canonical.digest` of the
    arguments, and without a tool of all params but `_meta`. `params_digest` is of further params, such as input responses.
    """

    method: str
    action: str
    arguments_digest: str
    decision: str
    policy: str
    params_digest: str | None = None


class _Claims(Struct, frozen=True):
    """The claims of a minted token that the gateway itself needs."""

    jti: str
    aud: str
    exp: float
    task: str | None = None


class MintedToken(Struct, frozen=True):
    """A signed token, with the facts that the gateway keeps while it is active. `claims` is the signed JSON text."""

    value: str
    jti: str
    audience: str
    expires: float
    task: str | None
    owner: str | None
    claims: bytes

    @property
    def credential(self) -> Credential:
        return Credential(self.value)

    def __repr__(self) -> str:
        return f"MintedToken({self.jti!r}, {self.audience!r})"


def read_minted(value: str, owner: str) -> MintedToken | None:
    """Return a token that a gateway has minted, from its text; `None` for any other text. No signature is verified."""
    parts = value.split(".")
    if len(value) > MAX_TOKEN or not value.isascii() or len(parts) != 3:
        return None
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(text, type=_Claims)
    except (ValueError, msgspec.MsgspecError):
        return None
    return MintedToken(value, claims.jti, claims.aud, claims.exp, claims.task, owner, text)


def bind_call(method: str, params: JsonObject, *, decision: str, policy: str) -> CallBinding:
    """Return the binding of a call, from its params as they are sent to the upstream. Raises `ValueError` for what is not JSON."""
    if method != "tools/call":
        sent = {name: value for name, value in params.items() if name != "_meta"}
        return CallBinding(method, method, canonical.digest(sent), decision, policy)
    arguments = params.get("arguments")
    rest = params.keys() - _BESIDE
    return CallBinding(
        method,
        str(params["name"]),
        canonical.digest({} if arguments is None else arguments),
        decision,
        policy,
        canonical.digest({name: params[name] for name in rest}) if rest else None,
    )


@dataclass(frozen=True, slots=True, repr=False)
class _Signer:
    """A key with its public form, and the head of its tokens."""

    key: ec.EllipticCurvePrivateKey
    since: float
    public: Mapping[str, str]
    head: bytes


def _make_signer(key: SigningKey) -> _Signer:
    public = {name: str(value) for name, value in key.key.as_dict(private=False).items() if name in _PUBLIC}
    return _Signer(
        cast("ec.EllipticCurvePrivateKey", key.key.private_key),
        key.since,
        {**public, "kid": key.kid, "use": "sig", "alg": ALGORITHM},
        _encode(msgspec.json.encode({"alg": ALGORITHM, "typ": TYPE, "kid": key.kid})) + b".",
    )


class Mint:
    """The signer of access tokens. `issuer` is their `iss`, and their `sub` where the gateway asks for itself."""

    def __init__(self, keys: KeyRing[SigningKey], issuer: str) -> None:
        self._signers = keys.map(_make_signer)
        self._issuer = issuer

    @property
    def issuer(self) -> str:
        return self._issuer

    def mint_call(
        self, request: LeaseRequest, call: CallBinding, *, jti: str, now: float
    ) -> MintedToken | BrokerRefusal:
        """Return a token for one call. Refuse a call that the request's own details do not permit."""
        details = _details(request)
        if not _is_permitted(details, request.audience, call.action):
            return _NOT_PERMITTED
        bound = _bound(request, call)
        return self._mint(request, (bound, *_foreign(details)), jti, now)

    def mint_task(
        self, request: LeaseRequest, *, jti: str, now: float, may_call: bool = True
    ) -> MintedToken | BrokerRefusal:
        """Return a token for the messages of a task, and with `may_call` for its calls too."""
        details = _details(request)
        if not may_call:
            details = tuple(_foreign(details))
        elif not _calls(details):
            details = ({"type": CALL, "locations": [request.audience]}, *details)
        return self._mint(request, details, jti, now)

    def mint_catalogue(
        self, audience: str, scope: tuple[str, ...], *, jti: str, now: float, expires: float
    ) -> MintedToken:
        """Return a token with which the gateway lists tools for itself: its subject is the gateway, and it permits no call."""
        claims = self._claims(audience, jti, now, expires)
        claims |= {"sub": self._issuer, "client_id": self._issuer, "scope": " ".join(scope)}
        return self._sign(claims, None, None, now)

    def jwks(self) -> JsonObject:
        """Return the public keys as a JWK Set (RFC 7517 section 5): earlier, present and next keys."""
        return {"keys": [dict(each.public) for each in self._signers.keys]}

    def _mint(
        self, request: LeaseRequest, details: tuple[JsonObject, ...], jti: str, now: float
    ) -> MintedToken | BrokerRefusal:
        claims = self._claims(request.audience, jti, now, request.expires)
        claims |= _parties(request.principal)
        claims["scope"] = " ".join(request.scope.names)
        claims["task"] = request.task
        if details:
            claims["authorization_details"] = details
        token = self._sign(claims, request.task, request.principal.key, now)
        return token if len(token.value) <= MAX_TOKEN else _TOO_LONG

    def _claims(self, audience: str, jti: str, now: float, expires: float) -> dict[str, Any]:
        return {"iss": self._issuer, "aud": audience, "iat": int(now), "exp": int(expires), "jti": jti}

    def _sign(self, claims: dict[str, Any], task: str | None, owner: str | None, now: float) -> MintedToken:
        signer, text = find_signer(self._signers, now), msgspec.json.encode(claims)
        signed = signer.head + _encode(text)
        r, s = utils.decode_dss_signature(signer.key.sign(signed, _SIGNATURE))
        signature = r.to_bytes(_CURVE_BYTES, "big") + s.to_bytes(_CURVE_BYTES, "big")
        value = (signed + b"." + _encode(signature)).decode("ascii")
        return MintedToken(value, claims["jti"], claims["aud"], float(claims["exp"]), task, owner, text)


def _parties(principal: Principal) -> dict[str, Any]:
    """Return the claims about the caller.

    `sub_id` (RFC 9493) has the issuer of the subject: two identity providers may both know an "alice".
    """
    subject = principal.id if principal.user is None else principal.user.id
    claims: dict[str, Any] = {
        "sub": subject,
        "sub_id": {"format": "iss_sub", "iss": principal.issuer, "sub": subject},
        "client_id": principal.id,
    }
    if principal.delegation:
        claims["act"] = _chain(principal.delegation)
    elif principal.user is not None:
        claims["act"] = {"sub": principal.id, "iss": principal.issuer}
    return claims


def _chain(actors: tuple[Actor, ...]) -> dict[str, Any]:
    """Return an `act` claim (RFC 8693 section 4.1): the present actor outermost."""
    nested: dict[str, Any] | None = None
    for actor in reversed(actors):
        link: dict[str, Any] = {"sub": actor.id}
        if actor.issuer is not None:
            link["iss"] = actor.issuer
        if nested is not None:
            link["act"] = nested
        nested = link
    return nested or {}


def _bound(request: LeaseRequest, call: CallBinding) -> dict[str, Json]:
    bound: dict[str, Json] = {
        "type": CALL,
        "locations": [request.audience],
        "method": call.method,
        "actions": [call.action],
        "identifier": f"{request.upstream}/{call.action}",
        "arguments_digest": call.arguments_digest,
        "decision": call.decision,
        "policy": call.policy,
    }
    if call.params_digest is not None:
        bound["params_digest"] = call.params_digest
    return bound


# --- details of policy (RFC 9396) ------------------------------------------------------------------


def _details(request: LeaseRequest) -> tuple[JsonObject, ...]:
    """Return the details of policy without digests of its own: only `bind_call` makes a digest."""
    return tuple(
        {name: value for name, value in detail.items() if not name.endswith("_digest")} if _is_own(detail) else detail
        for detail in request.scope.details
    )


def _is_own(detail: JsonObject) -> bool:
    return str(detail.get("type", "")).startswith(_OWN_TYPES)


def _foreign(details: tuple[JsonObject, ...]) -> list[JsonObject]:
    return [detail for detail in details if not _is_own(detail)]


def _calls(details: tuple[JsonObject, ...]) -> list[JsonObject]:
    return [detail for detail in details if detail.get("type") == CALL]


def _is_permitted(details: tuple[JsonObject, ...], audience: str, action: str) -> bool:
    """Return whether policy names no calls, or names this call."""
    named = _calls(details)
    return not named or any(
        _names(detail, "locations", audience) and _names(detail, "actions", action) for detail in named
    )


def _names(detail: Mapping[str, Json], field: str, value: str) -> bool:
    named = detail.get(field)
    return field not in detail or (isinstance(named, list | tuple) and value in named)


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_PUBLIC: Final = frozenset({"kty", "crv", "x", "y"})
_NOT_PERMITTED: Final = BrokerRefusal(reasons.CREDENTIAL_DETAILS_OF_CALL.reason())
_TOO_LONG: Final = BrokerRefusal(reasons.CREDENTIAL_SIZE.reason(most=MAX_TOKEN))
