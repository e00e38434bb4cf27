"""Tokens signed by this gateway's own development key (`opagate credentials token`). Loopback only."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Final

from joserfc import jwt

from gateway.base.keys import signing_keys
from gateway.identity import claims, jose, signed
from gateway.identity.outcomes import NOT_MINE, CredentialFault
from gateway.model import reasons
from gateway.model.caller import AuthMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from joserfc.jwk import ECKey

    from gateway.identity.claims import Trust
    from gateway.identity.outcomes import NotMine, Peer, PresentedCredentials, VerifiedCaller

ISSUER: Final = "urn:opagate:development"
KEY_FILE: Final = "development-key.pem"
ALGORITHM: Final = "ES256"


class DevelopmentAuthenticator:
    """The tokens of the development issuer, from this machine, and from private addresses if `private`."""

    issuer = ISSUER
    generation = None

    def __init__(self, key: ECKey, trust: Trust, *, audience: str, private: bool = False) -> None:
        self._key = key
        self._peers: frozenset[Peer] = frozenset({"local", "private"}) if private else frozenset({"local"})
        self._demands = signed.Demands(
            algorithms=frozenset({ALGORITHM}),
            types=frozenset({"at+jwt"}),
            audience=audience,
            rules=claims.Rules(issuer=ISSUER, method=AuthMethod.DEVELOPMENT, trust=trust),
        )

    async def authenticate(self, presented: PresentedCredentials) -> VerifiedCaller | NotMine | CredentialFault:
        jws = presented.jws
        if jws is None or jws.claims.get("iss") != ISSUER:
            return NOT_MINE
        if presented.peer not in self._peers:
            return CredentialFault(reasons.IDENTITY_ISSUER, "development tokens are accepted from this machine only")
        fault = jose.check_header(jws, self._demands.algorithms, self._demands.types)
        if fault is not None:
            return fault
        if not jose.signed_by(jws, self._key):
            return CredentialFault(
                reasons.IDENTITY_SIGNATURE,
                "the token is of another development key; make one with `opagate credentials token`",
            )
        return signed.verify_signed(
            jws, self._demands, now=presented.now, generation=None, usable_until=presented.now + signed.CACHED
        )


def load_key(state: Path) -> ECKey:
    """Return the development key of a state folder, made when there is none. Raises `ConfigurationError`."""
    return signing_keys.load(state / KEY_FILE, "the development key", remedy="delete it; a new one is made")


def issue(
    key: ECKey,
    *,
    agent: str,
    audience: str,
    ttl: float,
    clock: Callable[[], float],
    user: str | None = None,
    groups: Sequence[str] = (),
    scopes: Sequence[str] = (),
) -> str:
    """Return a development token. `ttl` in seconds.

    With a user, the token is the user's and names the agent as its actor (RFC 8693).
    """
    now = int(clock())
    members: dict[str, object] = {
        "iss": ISSUER,
        "sub": user or agent,
        "aud": audience,
        "iat": now,
        "exp": now + ttl,
        "jti": secrets.token_urlsafe(16),
    }
    if scopes:
        members["scope"] = " ".join(scopes)
    if user:
        members |= {"act": {"sub": agent}, "groups": list(groups)}
    return jwt.encode({"alg": ALGORITHM, "typ": "at+jwt"}, members, key, algorithms=[ALGORITHM])


def fingerprint(key: ECKey) -> str:
    """Return a fingerprint of the development key, for people."""
    public = json.dumps(key.as_dict(private=False), sort_keys=True).encode()
    return hashlib.sha256(public).hexdigest()[:16]
