"""An identity provider for the tests of signals: it signs access tokens and Security Event Tokens with one key."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = "https://idp.example"
AUDIENCE = "https://gateway.example/signals"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
SESSION_REVOKED = f"{CAEP}session-revoked"


def account(sub: str, issuer: str = ISSUER) -> dict[str, Any]:
    """Return the subject identifier of a user."""
    return {"format": "iss_sub", "iss": issuer, "sub": sub}


def whole(**members: dict[str, Any]) -> dict[str, Any]:
    """Return a complex subject."""
    return {"format": "complex", **members}


def opaque(identifier: str) -> dict[str, Any]:
    return {"format": "opaque", "id": identifier}


@dataclass
class Provider:
    """An identity provider with one key. Its claims can be changed, and left out with `None`."""

    issuer: str = ISSUER
    key: ECKey | RSAKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    algorithm: str = "ES256"
    kid: str = "k1"
    further: tuple[Provider, ...] = ()
    """Providers whose keys are published too."""
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def jwks(self) -> dict[str, Any]:
        own = {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": self.algorithm}
        return {"keys": [own, *(key for each in self.further for key in each.jwks["keys"])]}

    def write_keys(self, folder: Path) -> str:
        """Write the key set to a file, and return its name."""
        (folder / "idp.json").write_text(json.dumps(self.jwks), "utf-8")
        return "file:idp.json"

    def token(self, sub: str = "ann", *, audience: str, issued: float | None = None, **more: Any) -> str:
        """Return an access token of an agent for a user."""
        now = time.time() if issued is None else issued
        claims = {
            "iss": self.issuer,
            "sub": sub,
            "aud": audience,
            "client_id": "agent",
            "iat": now,
            "exp": now + 3600,
            "jti": f"at-{next(self.numbers)}",
        }
        return self.sign({**claims, **more}, typ="at+jwt")

    def event(
        self,
        subject: dict[str, Any] | None,
        kind: str = SESSION_REVOKED,
        *,
        header: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
        **more: Any,
    ) -> bytes:
        """Return a Security Event Token."""
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "iat": int(time.time()),
            "jti": f"set-{next(self.numbers)}",
            "events": {kind: details or {}},
            "sub_id": subject,
        }
        return self.sign({**claims, **more}, **{"typ": "secevent+jwt", **(header or {})}).encode()

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Sign claims. A claim or a parameter of `None` is left out."""
        present = {name: value for name, value in claims.items() if value is not None}
        fields = {"alg": self.algorithm, "kid": self.kid, **header}
        fields = {name: value for name, value in fields.items() if value is not None}
        return jws.serialize_compact(fields, json.dumps(present), self.key, algorithms=[fields["alg"]])
