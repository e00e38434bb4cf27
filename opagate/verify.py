"""Verify in an MCP server that a request came through an opagate gateway.

    app = GatewayOnly(server.streamable_http_app(), Verifier("https://gateway.example", "https://tickets.example"))

The gateway signs an access token (RFC 9068) for each call, with a digest of its arguments. This file needs `cryptography`
and the standard library alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import heapq
import json
import math
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

__all__ = ["Caller", "GatewayOnly", "Introspection", "Refusal", "UsedTokens", "Verifier", "digest"]

CALL: Final = "io.opagate.call"
"""Type of the authorization details (RFC 9396) that permit calls."""
MESSAGES: Final = frozenset(
    {
        *("initialize", "ping", "server/discover", "logging/setLevel"),
        *("tools/list", "resources/list", "resources/templates/list", "prompts/list", "tasks/list"),
        *("resources/subscribe", "resources/unsubscribe", "subscriptions/listen"),
        *("tasks/get", "tasks/result", "tasks/update", "tasks/cancel"),
        *("notifications/initialized", "notifications/cancelled", "notifications/progress"),
        *("notifications/roots/list_changed", "notifications/tasks/status"),
    }
)
"""Methods that need no token of a call. Any other method is a call."""

_MAX_TOKEN: Final = 16_384
_MAX_DOCUMENT: Final = 65_536
_MAX_INTEGER: Final = 2**53 - 1
_KEYS_FRESH: Final = 300.0
_KEYS_USABLE: Final = 3_600.0
_KEYS_PAUSE: Final = 10.0
_FIRST_PAUSE: Final = 1.0
_ACTIVE_FRESH: Final = 1.0
_TIMEOUT: Final = 5.0
_CAPACITY: Final = 100_000
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})

JsonObject: TypeAlias = Mapping[str, Any]
ASGIScope: TypeAlias = MutableMapping[str, Any]
ASGIMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[ASGIMessage]]
Send: TypeAlias = Callable[[ASGIMessage], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[ASGIScope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that did not come through the gateway, or that the gateway did not permit. `status` is the HTTP status."""

    code: str
    message: str
    status: int = 401


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified token. `claims` has all of it."""

    claims: JsonObject

    @property
    def subject(self) -> str:
        """The user, or the agent if no user is behind it. Two issuers may know the same name: see `subject_issuer`."""
        return str(self.claims["sub"])

    @property
    def subject_issuer(self) -> str | None:
        """The identity provider that knows the subject (RFC 9493)."""
        named = self.claims.get("sub_id")
        return str(cast("JsonObject", named).get("iss")) if isinstance(named, dict) else None

    @property
    def agent(self) -> str:
        return str(self.claims["client_id"])

    @property
    def task(self) -> str | None:
        return self.claims.get("task")

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(str(self.claims.get("scope", "")).split())

    @property
    def calls(self) -> tuple[JsonObject, ...]:
        """The authorization details that permit calls."""
        details = self.claims.get("authorization_details", [])
        return tuple(detail for detail in details if detail.get("type") == CALL)

    @property
    def bound(self) -> tuple[JsonObject, ...]:
        """The details of the one call that the token is bound to; empty for a token of a task."""
        return tuple(detail for detail in self.calls if "arguments_digest" in detail)


class Used(Protocol):
    """A memory of used tokens. Several processes of one server need a shared memory."""

    def use(self, jti: str, until: float, now: float) -> Literal["fresh", "used", "full"]:
        """Note the use of a token that could be accepted before `until`, in seconds since the epoch."""
        ...


class UsedTokens:
    """A bounded memory of used tokens in this process. It refuses when it is full, since a forgotten token could be replayed."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._used: set[str] = set()
        self._order: list[tuple[float, str]] = []
        self._forgotten = -math.inf
        self._lock = threading.Lock()

    def use(self, jti: str, until: float, now: float) -> Literal["fresh", "used", "full"]:
        """Note a use. A clock that is set back cannot bring back a forgotten token."""
        with self._lock:
            while self._order and self._order[0][0] <= now:
                self._forgotten, known = heapq.heappop(self._order)
                self._used.discard(known)
            if until <= self._forgotten or jti in self._used:
                return "used"
            if len(self._used) >= self._capacity:
                return "full"
            self._used.add(jti)
            heapq.heappush(self._order, (until, jti))
            return "fresh"


@dataclass(frozen=True, slots=True)
class Introspection:
    """A question to the gateway whether a token is still active (RFC 7662). `url` is the gateway's by default."""

    client_id: str
    client_secret: str
    url: str | None = None

    def __repr__(self) -> str:
        return f"Introspection({self.client_id!r})"


class Verifier:
    """The rules for the requests of one gateway to one server.

    `issuer` is the gateway's public URL, and `audience` is the upstream's audience in its configuration. `jwks` is the URL
    of its keys or the JWK Set itself. With `bind="call"` each call needs a token of its own; with `"task"` a token of the
    task permits calls too. `insecure` permits plain HTTP beyond this host.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        jwks: str | JsonObject | None = None,
        bind: Literal["call", "task"] = "call",
        introspect: Introspection | None = None,
        leeway: float = 30.0,
        used: Used | None = None,
        insecure: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        base = issuer.rstrip("/")
        self._issuer = issuer
        self._audience = audience
        self._bind = bind
        self._leeway = leeway
        self._clock = clock
        self._started = math.floor(clock())
        self._used = UsedTokens() if used is None else used
        self._keys = _Keys(f"{base}/.well-known/jwks.json" if jwks is None else jwks, insecure=insecure)
        self._active = None
        if introspect is not None:
            url = introspect.url or f"{base}/oauth/introspect"
            self._active = _Active(introspect, _checked_url(url, insecure=insecure))

    async def verify(self, token: str, body: bytes) -> Caller | Refusal:
        """Verify a token and the body of its request. An empty body is a request without a message."""
        caller = await self.verify_token(token)
        return caller if isinstance(caller, Refusal) else await self.verify_message(caller, token, body)

    async def verify_token(self, token: str) -> Caller | Refusal:
        """Verify signature, type, issuer, audience and times. The token may still be of another call."""
        read = _read_token(token)
        if isinstance(read, Refusal):
            return read
        try:
            key = await self._keys.find(read.kid)
        except _Unavailable as error:
            return Refusal("gateway/unavailable", f"the keys of the gateway cannot be read: {error}", 503)
        if key is None or not _is_signed(read, key):
            return Refusal("token/signature", "no key of the gateway signed the token")
        return self._check_claims(read.claims) or Caller(read.claims)

    async def verify_message(self, caller: Caller, token: str, body: bytes) -> Caller | Refusal:
        """Verify the message against its token. Use a token of a call once, and only while it is active."""
        refused = self._check_binding(caller, body) or self._check_claims(caller.claims)
        if refused is None and self._active is not None:
            refused = await self._active.check(token, caller, self._clock())
        if refused is None and caller.bound:
            refused = self._use(caller.claims)
        return refused or caller

    def _check_claims(self, claims: JsonObject) -> Refusal | None:
        if claims.get("iss") != self._issuer:
            return Refusal("token/issuer", "the token is of another issuer")
        if claims.get("aud") != self._audience:
            return Refusal("token/audience", "the token is for another audience")
        return _check_form(claims) or _check_times(claims, self._clock(), self._leeway)

    def _check_binding(self, caller: Caller, body: bytes) -> Refusal | None:
        message = _read_message(body) if body else _NO_MESSAGE
        if isinstance(message, Refusal):
            return message
        method = message.get("method")
        if method is None or method in MESSAGES:
            return _OTHER_CALL if caller.bound else None
        if caller.bound:
            return _check_call(caller.bound, self._audience, message)
        if self._bind == "call" or not _may_call(caller.calls, self._audience, message):
            return Refusal("call/unbound", "the token is bound to no call, and permits none here")
        return None

    def _use(self, claims: JsonObject) -> Refusal | None:
        # A token from before the start may have been used before it.
        if claims["iat"] < self._started:
            return Refusal("token/used", "the token is older than this server")
        match self._used.use(claims["jti"], claims["exp"] + self._leeway, self._clock()):
            case "fresh":
                return None
            case "used":
                return Refusal("token/used", "the token was used before")
            case "full":
                return Refusal("token/room", "there is no room to note another token; try again later", 503)


# --- the message -----------------------------------------------------------------------------------


def _read_message(body: bytes) -> JsonObject | Refusal:
    """Read a JSON-RPC message. Refuse JSON with several readings."""
    try:
        message = _load(body)
    except (ValueError, RecursionError):
        return Refusal("request/json", "the body is not unambiguous JSON in UTF-8", 400)
    if not isinstance(message, dict):
        return Refusal("request/batch", "the body is no JSON-RPC message; batches are refused", 400)
    found = cast("dict[str, Any]", message)
    params = found.get("params")
    if not isinstance(found.get("method", ""), str) or not isinstance({} if params is None else params, dict):
        return Refusal("request/envelope", "method is no text, or params is no object", 400)
    return found


def _check_call(bound: tuple[JsonObject, ...], audience: str, message: JsonObject) -> Refusal | None:
    """Refuse a token of another call. `_meta` is of the transport, and no part of a call."""
    detail: JsonObject = bound[0] if len(bound) == 1 else {}
    params = _sent(message)
    arguments: Any = params
    rest: dict[str, Any] = {}
    if message["method"] == "tools/call":
        rest = {name: value for name, value in params.items() if name not in {"name", "arguments"}}
        arguments = params.get("arguments")
    expected = {
        "locations": [audience],
        "method": message["method"],
        "actions": [_action(message)],
        "arguments_digest": digest({} if arguments is None else arguments),
        "params_digest": digest(rest) if rest else None,
    }
    return None if all(detail.get(name) == value for name, value in expected.items()) else _OTHER_CALL


def _may_call(calls: tuple[JsonObject, ...], audience: str, message: JsonObject) -> bool:
    action = _action(message)
    return any(_names(each, "locations", audience) and _names(each, "actions", action) for each in calls)


def _names(detail: JsonObject, field: str, value: Any) -> bool:
    named = detail.get(field)
    return field not in detail or (isinstance(named, list) and value in named)


def _sent(message: JsonObject) -> dict[str, Any]:
    params: JsonObject = message.get("params") or {}
    return {name: value for name, value in params.items() if name != "_meta"}


def _action(message: JsonObject) -> Any:
    return _sent(message).get("name") if message["method"] == "tools/call" else message["method"]


_NO_MESSAGE: Final[JsonObject] = {}
_OTHER_CALL: Final = Refusal("call/other", "the token is bound to another call")


def _load(data: bytes) -> Any:
    """Decode JSON. Raises `ValueError` for all that two readers may read differently (RFC 8259 section 4, RFC 7493)."""
    value: Any = json.loads(
        data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_float, parse_constant=_constant
    )
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    return members


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value) or (value == 0 and digits.lower().partition("e")[0].strip("-0.")):
        raise ValueError("a number is beyond the range of a double")
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# --- the digest of arguments (RFC 8785) ------------------------------------------------------------


class _Wide(Exception):
    pass


def digest(value: Any) -> str:
    """Return the digest of a JSON value, independent of its spelling: SHA-256 over RFC 8785.

    RFC 8785 has no form for integers beyond 2^53 - 1. A document with such an integer has a tagged form. Raises `ValueError`
    for what is not JSON.
    """
    try:
        text = _canonical(value)
    except _Wide:
        text = "\x00wide\x00" + _canonical(_tagged(value))
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, str):
        return json.encoder.encode_basestring(value)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise _Wide
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        # RFC 8785 section 3.2.3: keys are sorted by their UTF-16 code units.
        names = sorted(members, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_canonical(name)}:{_canonical(members[name])}" for name in names) + "}"
    return "[" + ",".join(map(_canonical, value)) + "]"


def _number(value: float) -> str:
    """Return a double as ECMAScript writes it (RFC 8785 section 3.2.2.3): the shortest digits that read back the same."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinities are not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _tagged(value: Any) -> Any:
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else f"i{value}"
    if isinstance(value, Mapping):
        return {name: _tagged(item) for name, item in cast("Mapping[str, Any]", value).items()}
    return [_tagged(item) for item in value]


# --- the token -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kid: str
    claims: JsonObject
    signed: bytes
    signature: bytes


def _read_token(token: str) -> _Token | Refusal:
    """Read a token whose header has exactly the form of the gateway's (RFC 8725 section 3.1): ES256, and no key of its own."""
    malformed = Refusal("token/malformed", "the token is not a signed JWT in compact form")
    parts = token.split(".")
    if len(token) > _MAX_TOKEN or len(parts) != 3:
        return malformed
    try:
        header, claims = (_load(_decode(part)) for part in parts[:2])
        signature = _decode(parts[2])
    except (ValueError, RecursionError):
        return malformed
    if not isinstance(header, dict) or not isinstance(claims, dict):
        return malformed
    head = cast("dict[str, object]", header)
    kid, kind = head.get("kid"), head.get("typ")
    if head.keys() != _HEADER or head["alg"] != "ES256" or not isinstance(kid, str):
        return Refusal("token/algorithm", "the token's header is not that of the gateway's tokens")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return Refusal("token/type", "the token is of another type than at+jwt")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    return _Token(kid, cast("JsonObject", claims), signed, signature)


def _check_form(claims: JsonObject) -> Refusal | None:
    details: Any = claims.get("authorization_details", [])
    texts = all(isinstance(claims.get(name), str) for name in ("sub", "client_id", "jti"))
    times = all(type(claims.get(name)) is int for name in ("iat", "exp"))
    if (
        texts
        and times
        and isinstance(details, list)
        and all(isinstance(each, dict) for each in cast("list[Any]", details))
    ):
        return None
    return Refusal("token/malformed", "the token lacks a claim of the gateway's tokens")


def _check_times(claims: JsonObject, now: float, leeway: float) -> Refusal | None:
    if now >= claims["exp"] + leeway:
        return Refusal("token/expired", "the token has expired")
    if claims["iat"] > now + leeway:
        return Refusal("token/expired", "the token was issued in the future; compare the clocks")
    return None


def _decode(part: str) -> bytes:
    data = base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), b"-_", validate=True)
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != part:
        raise ValueError("not canonical base64url")
    return data


def _is_signed(token: _Token, key: ec.EllipticCurvePublicKey) -> bool:
    if len(token.signature) != 64:
        return False
    r, s = (int.from_bytes(half, "big") for half in (token.signature[:32], token.signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# --- questions to the gateway ----------------------------------------------------------------------


class _Unavailable(Exception):
    pass


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        """Return no request, so that a redirection is an error."""


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def _checked_url(url: str, *, insecure: bool) -> str:
    parts = urlsplit(url)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and (local or insecure)):
        raise ValueError(f"{url} is not an https URL; insecure=True permits plain http beyond this host")
    return url


def _ask(url: str, headers: Mapping[str, str], form: bytes | None = None) -> Any:
    """Return a JSON document. Raises `_Unavailable`. Follows no redirection, since a request may hold a secret."""
    request = urllib.request.Request(url, form, {"Accept": "application/json", **headers})  # noqa: S310 - see `_checked_url`
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as answer:
            text: bytes = answer.read(_MAX_DOCUMENT + 1)
        if len(text) > _MAX_DOCUMENT:
            raise _Unavailable("the answer is too long")
        return _load(text)
    except urllib.error.HTTPError as error:
        raise _Unavailable(f"{url} answered {error.code}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _Unavailable(f"{url}: {type(error).__name__}") from error


class _Keys:
    """The public keys of the gateway: given, or fetched and kept. An unknown key asks again, at most every 10 s."""

    def __init__(self, source: str | JsonObject, *, insecure: bool) -> None:
        self._url = _checked_url(source, insecure=insecure) if isinstance(source, str) else None
        self._keys = {} if isinstance(source, str) else _read_keys(source)
        self._fetched = self._asked = -math.inf
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> ec.EllipticCurvePublicKey | None:
        """Return the key of a name. Raises `_Unavailable` while no usable keys are known."""
        if self._url is None or (kid in self._keys and time.monotonic() - self._fetched <= _KEYS_FRESH):
            return self._keys.get(kid)
        async with self._lock:
            now = time.monotonic()
            is_stale = now - self._fetched > _KEYS_FRESH or kid not in self._keys
            if is_stale and now - self._asked > (_KEYS_PAUSE if self._keys else _FIRST_PAUSE):
                await self._fetch(self._url)
            if time.monotonic() - self._fetched > _KEYS_USABLE:
                raise _Unavailable(f"{self._url} gave no keys")
            return self._keys.get(kid)

    async def _fetch(self, url: str) -> None:
        try:
            self._keys = _read_keys(await asyncio.to_thread(_ask, url, {}))
            self._fetched = time.monotonic()
        except _Unavailable:
            pass
        finally:
            self._asked = time.monotonic()


def _read_keys(document: Any) -> dict[str, ec.EllipticCurvePublicKey]:
    """Return the P-256 keys of a JWK Set (RFC 7517 section 5). Keys of other kinds are skipped."""
    found: dict[str, ec.EllipticCurvePublicKey] = {}
    listed = cast("dict[str, Any]", document).get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        return found
    for each in cast("list[Any]", listed):
        try:
            if (each["kty"], each["crv"]) == ("EC", "P-256") and each.get("use", "sig") == "sig":
                x, y = (int.from_bytes(_decode(each[name]), "big") for name in ("x", "y"))
                found[str(each["kid"])] = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return found


class _Active:
    """The introspection of tokens (RFC 7662), with a memory of one second for tokens of a task."""

    def __init__(self, terms: Introspection, url: str) -> None:
        self._url = url
        pair = f"{quote_plus(terms.client_id)}:{quote_plus(terms.client_secret)}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
        self._known: dict[str, float] = {}

    async def check(self, token: str, caller: Caller, now: float) -> Refusal | None:
        """Refuse an inactive token, and any token while the gateway does not answer."""
        jti = str(caller.claims["jti"])
        if 0 <= now - self._known.get(jti, -math.inf) < _ACTIVE_FRESH:
            return None
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode("ascii")
        try:
            answer = await asyncio.to_thread(_ask, self._url, self._headers, form)
        except _Unavailable as error:
            return Refusal("gateway/unavailable", f"the gateway does not answer: {error}", 503)
        if not isinstance(answer, dict) or answer != answer | {"active": True, "jti": jti, "aud": caller.claims["aud"]}:
            return Refusal("token/inactive", "the gateway says that the token is no longer active")
        if not caller.bound:
            self._known = {known: at for known, at in self._known.items() if 0 <= now - at < _ACTIVE_FRESH}
            self._known[jti] = now
        return None


# --- ASGI ------------------------------------------------------------------------------------------


class GatewayOnly:
    """An ASGI application that refuses all requests that did not come through the gateway.

    It fits around any ASGI application, and into the `middleware` of Starlette and FastMCP. `exempt` are paths that are open
    to everybody. A request with a larger body than `max_body` bytes is refused. The verified token is
    `scope["opagate.caller"]`.
    """

    def __init__(
        self, app: ASGIApp, verifier: Verifier, *, exempt: Collection[str] = (), max_body: int = 4 * 2**20
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._exempt = frozenset(exempt)
        self._max_body = max_body

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in self._exempt):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        token = _token_of(scope)
        caller = token if isinstance(token, Refusal) else await self._verifier.verify_token(token)
        body = caller if isinstance(caller, Refusal) else await self._read_body(scope, receive)
        if body is None:
            return
        if isinstance(body, bytes) and isinstance(caller, Caller) and isinstance(token, str):
            caller = await self._verifier.verify_message(caller, token, body)
            if isinstance(caller, Caller):
                await self._app({**scope, "opagate.caller": caller}, _replay(body, receive), send)
                return
            body = caller
        await _refuse(cast("Refusal", body), send)

    async def _read_body(self, scope: ASGIScope, receive: Receive) -> bytes | Refusal | None:
        """Return the body, `None` if the client went away."""
        if any(name == b"content-encoding" for name, _ in scope["headers"]):
            return Refusal("request/encoding", "the body has a content encoding", 415)
        body = bytearray()
        more = True
        while more:
            event = await receive()
            if event["type"] != "http.request":
                return None
            body += event.get("body", b"")
            more = event.get("more_body", False)
            if len(body) > self._max_body:
                return Refusal("request/size", f"the body is larger than {self._max_body} bytes", 413)
        if (scope["method"] == "POST") is not bool(body):
            return Refusal("request/method", "a POST has one message as its body, and other requests have none", 400)
        return bytes(body)


def _token_of(scope: ASGIScope) -> str | Refusal:
    named: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(named) != 1 or re.fullmatch(rb"(?i:bearer) +[!-~]+", named[0]) is None:
        return Refusal("token/missing", "the request has no bearer token; it did not come through the gateway")
    return named[0].decode("ascii").rpartition(" ")[2]


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the verified body once, and then the events of the connection."""
    events: list[ASGIMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_event() -> ASGIMessage:
        return events.pop() if events else await receive()

    return next_event


async def _refuse(refusal: Refusal, send: Send) -> None:
    kinds = {400: "invalid_request", 401: "invalid_token", 413: "invalid_request", 415: "invalid_request"}
    kind = kinds.get(refusal.status, "temporarily_unavailable")
    shown = {"error": kind, "error_description": refusal.message, "code": refusal.code}
    body = json.dumps(shown).encode("ascii")
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    if refusal.status == 401:
        text = json.dumps(refusal.message)
        challenge = "Bearer" if refusal.code == "token/missing" else f'Bearer error="{kind}", error_description={text}'
        headers.append((b"www-authenticate", challenge.encode("ascii")))
    elif refusal.status == 503:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
