"""Tokens signed by this gateway's own development key (`opagate token`). Loopback only."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.errors import ConfigurationError
from gateway.identity import claims, jose, signed
from gateway.identity.outcomes import NOT_MINE, Fault
from gateway.model import AuthMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.identity.delegation import Trust
    from gateway.identity.outcomes import NotMine, Presented, Verified

ISSUER: Final = "urn:opagate:development"
KEY_FILE: Final = "development-key.pem"
ALGORITHM: Final = "ES256"


class DevelopmentAuthenticator:
    """The tokens of the development issuer, from this machine."""

    issuer = ISSUER
    generation = None

    def __init__(self, key: ECKey, trust: Trust, *, audience: str) -> None:
        self._key = key
        self._demands = signed.Demands(
            algorithms=frozenset({ALGORITHM}),
            types=frozenset({"at+jwt"}),
            audience=audience,
            rules=claims.Rules(issuer=ISSUER, method=AuthMethod.DEVELOPMENT, trust=trust),
        )

    async def authenticate(self, presented: Presented) -> Verified | NotMine | Fault:
        jws, token = presented.jws, presented.token
        if jws is None or token is None or jws.claims.get("iss") != ISSUER:
            return NOT_MINE
        if not presented.local:
            return Fault("identity/issuer", "development tokens are accepted from this machine only")
        fault = jose.check_header(jws, self._demands.algorithms, self._demands.types)
        if fault is not None:
            return fault
        if not jose.signed_by(jws, self._key):
            return Fault("identity/signature", "the token is of another development key; make one with `opagate token`")
        return signed.verified(
            jws, token, self._demands, now=presented.now, generation=None, usable_until=presented.now + signed.CACHED
        )


def load_key(state: Path) -> ECKey:
    """The development key of a state folder, made when there is none. Raises `ConfigurationError`."""
    path = state / KEY_FILE
    try:
        state.mkdir(parents=True, exist_ok=True)
        _create(path)
        pem = _read(path)
        key = ECKey.import_key(pem)
    except OSError as error:
        raise ConfigurationError(
            f"the development key {path} cannot be read or written: {error.strerror}",
            "make the folder writable, or name another one with state:",
        ) from error
    except (JoseError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path} is not a private key", "delete it; a new one is made") from error
    if not key.is_private or key.curve_name != "P-256":
        raise ConfigurationError(f"{path} is not a P-256 private key", "delete it; a new one is made")
    return key


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
    task: str | None = None,
) -> str:
    """A development token. `ttl` in seconds.

    With a user, the token is the user's and names the agent as its actor (RFC 8693). `task` becomes the token's
    id: calls with tokens of the same task are one task of their caller.
    """
    now = int(clock())
    members: dict[str, object] = {
        "iss": ISSUER,
        "sub": user or agent,
        "aud": audience,
        "iat": now,
        "exp": now + ttl,
        "jti": task or secrets.token_urlsafe(16),
    }
    if scopes:
        members["scope"] = " ".join(scopes)
    if user:
        members |= {"act": {"sub": agent}, "groups": list(groups)}
    return jwt.encode({"alg": ALGORITHM, "typ": "at+jwt"}, members, key, algorithms=[ALGORITHM])


def fingerprint(key: ECKey) -> str:
    """For people: which development key this is."""
    public = json.dumps(key.as_dict(private=False), sort_keys=True).encode()
    return hashlib.sha256(public).hexdigest()[:16]


def _create(path: Path) -> None:
    """Make the key file, complete or not at all: it is linked into place, and an existing one is left alone."""
    if path.exists():
        return
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    pem = ECKey.generate_key("P-256").as_pem(private=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            # Another process was first; its key is as good.
            return
    finally:
        fresh.unlink()


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigurationError(f"others can read the development key {path}", f"chmod 600 {path}")
        return file.read()
