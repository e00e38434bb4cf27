"""Authentication of callers: credentials to a `Principal` or a `Refusal`. A verified credential stays accepted for up
to a minute, by digest. Each request is checked for its audience, its proof of possession, and its scopes.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from gateway.base.concurrency.background import in_parallel
from gateway.config.values import is_loopback, is_private
from gateway.identity import assembly, challenge, jose
from gateway.identity.dpop import Possession, ProofWatermark, SharedProofs
from gateway.identity.jose import MAX_TOKEN
from gateway.identity.outcomes import CredentialFault, NotMine, PresentedCredentials
from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Configuration
    from gateway.config.identities import PeopleIdentity
    from gateway.identity.assembly import Parts
    from gateway.identity.keys import KeyStatus
    from gateway.identity.outcomes import Authenticator, Peer, VerifiedCaller
    from gateway.model.caller import Credentials, Principal
    from gateway.model.decision import Refusal

# --- the Authorization header ----------------------------------------------------------------------------


_SCHEMES: Final = {"bearer": False, "dpop": True}


class AccessToken(Struct, frozen=True):
    """A token as sent; `dpop`: under the DPoP scheme, not Bearer."""

    token: str
    dpop: bool


def access_token(credentials: Credentials) -> AccessToken | CredentialFault | None:
    """Return the token of a request; `None` when there is no Authorization header."""
    match credentials.authorization:
        case ():
            return None
        case (value,):
            return _read(value)
        case _:
            return CredentialFault(reasons.IDENTITY_MALFORMED, "there is more than one Authorization header")


def _read(value: str) -> AccessToken | CredentialFault:
    """Read the header. `jose.read_jws` reads the token itself strictly later: a cached token need not be read again."""
    scheme, _, token = value.partition(" ")
    dpop = _SCHEMES.get(scheme.lower())
    token = token.lstrip(" ")
    if dpop is None or not token or not token.isascii():
        return CredentialFault(
            reasons.IDENTITY_MALFORMED, "the Authorization header is not `Bearer` or `DPoP` with a token"
        )
    if len(token) > MAX_TOKEN:
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token is longer than 16 KiB")
    return AccessToken(token, dpop)


# --- callers ---------------------------------------------------------------------------------------------


class Identities:
    """The configured identities."""

    def __init__(
        self,
        parts: Parts,
        *,
        clock: Callable[[], float],
        watermark: ProofWatermark | None = None,
        is_ended: Callable[[Principal], bool] | None = None,
        proofs: SharedProofs | None = None,
    ) -> None:
        self._authenticators = parts.authenticators
        self._keys = parts.keys
        self._protection = parts.protection
        self._trust = parts.trust
        self._clock = clock
        self._is_ended = is_ended
        self._foreign = parts.foreign
        self._cache = VerifiedCache()
        self._possession = Possession(started=clock(), watermark=watermark)
        self._proofs = proofs

    @classmethod
    def build(
        cls,
        configuration: Configuration,
        *,
        clock: Callable[[], float],
        is_ended: Callable[[Principal], bool] | None = None,
        proofs: SharedProofs | None = None,
    ) -> Identities:
        """Build the identities. Raises `ConfigurationError`. `clock` gives seconds since the epoch.

        `is_ended` tells whether the login behind a caller was ended; `None` without signals. Each request asks again: a cached
        result does not outlive a login. `proofs` are those that other gateways have used, too.
        """
        parts = assembly.assemble(configuration, clock=clock)
        watermark = ProofWatermark(configuration.state)
        return cls(parts, clock=clock, watermark=watermark, is_ended=is_ended, proofs=proofs)

    @classmethod
    def build_people(
        cls,
        configuration: Configuration,
        identity: PeopleIdentity,
        *,
        clock: Callable[[], float],
        is_ended: Callable[[Principal], bool] | None = None,
        proofs: SharedProofs | None = None,
    ) -> Identities:
        """Return the identities of people with a role. Raises `ConfigurationError`. Arguments are as for `build`."""
        parts = assembly.assemble_people(configuration, identity, clock=clock)
        return cls(parts, clock=clock, is_ended=is_ended, proofs=proofs)

    def adopt(self, configuration: Configuration) -> None:
        """Take callers' tokens for the upstreams of a changed configuration. Its identities count after a restart."""
        audiences = assembly.find_audiences(configuration)
        self._protection = challenge.protection(configuration)
        if self._foreign:
            self._foreign |= audiences
        else:
            self._trust.audiences = audiences

    async def start(self) -> None:
        """Load all keys, and keep the keys fresh. An absent key server is a warning: the server may come back."""
        await in_parallel(*(keys.start for keys in self._keys))

    async def stop(self) -> None:
        await asyncio.gather(*(keys.stop() for keys in self._keys))

    def status(self) -> tuple[KeyStatus, ...]:
        """Per issuer with keys: whether its callers can be verified."""
        return tuple(keys.status() for keys in self._keys)

    async def identify(self, credentials: Credentials, client_ip: str | None) -> Principal | Refusal:
        """Verify a caller. `client_ip` is `None` for a peer without an address: stdio, or a Unix socket.

        Raises `IdentityUnavailable` when a needed key server is away and no kept key serves.
        """
        presented = access_token(credentials) if credentials.authorization else None
        if isinstance(presented, CredentialFault):
            return challenge.refusal(presented, self._protection, credentials.url)
        now = self._clock()
        peer = "remote" if credentials.passed_on else _place_of(client_ip)
        if credentials.authorization or credentials.dpop or credentials.certificate is not None:
            key = _cache_key(credentials, presented, peer)
        else:
            key = _NO_CREDENTIALS, peer
        uses_dpop = presented is not None and presented.dpop
        verified = None if key is None else self._cache.get(key, now)
        if verified is None:
            outcome = await self._verify(credentials, presented, key, peer=peer, now=now)
            if isinstance(outcome, CredentialFault):
                return challenge.refusal(outcome, self._protection, credentials.url, dpop=uses_dpop)
            verified = outcome
        fault = None if presented is None else self._check_request(credentials, presented, verified, now)
        if fault is None and uses_dpop and self._proofs is not None and (bound := verified.confirmation) is not None:
            fault = await self._proofs.use(credentials.dpop[0], bound.jkt or "", now)
        if fault is None and self._is_ended is not None and self._is_ended(verified.principal):
            fault = CredentialFault(reasons.IDENTITY_REVOKED, "the login that these credentials come from was ended")
        if fault is not None:
            return challenge.refusal(fault, self._protection, credentials.url, dpop=uses_dpop)
        if verified.required_scopes:
            return self._check_scopes(credentials, verified, uses_dpop=uses_dpop)
        return verified.principal

    async def _verify(
        self, credentials: Credentials, presented: AccessToken | None, key: CacheKey | None, *, peer: Peer, now: float
    ) -> VerifiedCaller | CredentialFault:
        """Ask each authenticator, and remember a verified credential under `key`."""
        jws = jose.read_jws(presented.token) if presented else None
        if isinstance(jws, CredentialFault):
            return jws
        request = PresentedCredentials(
            credentials, now, token=presented.token if presented else None, jws=jws, peer=peer
        )
        for authenticator in self._authenticators:
            outcome = await authenticator.authenticate(request)
            if isinstance(outcome, NotMine):
                continue
            if key is not None and not isinstance(outcome, CredentialFault):
                self._cache.put(key, authenticator, outcome)
            return outcome
        return _describe_unknown(credentials, presented)

    def _check_request(
        self, credentials: Credentials, presented: AccessToken, verified: VerifiedCaller, now: float
    ) -> CredentialFault | None:
        """Check the audience of a verified token, and its proof of possession."""
        if verified.audience not in verified.named and not self._names_upstream(credentials, verified):
            return CredentialFault(reasons.IDENTITY_AUDIENCE, "the token is for another audience than this gateway")
        if not self._foreign.isdisjoint(verified.named):
            # Agents send the tokens of callers, so whoever has this one may be an agent.
            return CredentialFault(reasons.IDENTITY_AUDIENCE, "the token is also for callers, or for another role")
        fault = self._possession.check(
            credentials, presented.token, dpop=presented.dpop, bound_to=verified.confirmation, now=now
        )
        if fault is None and verified.require_bound and verified.confirmation is None:
            return CredentialFault(reasons.IDENTITY_UNBOUND, "the token is not bound to a key")
        return fault

    def _names_upstream(self, credentials: Credentials, verified: VerifiedCaller) -> bool:
        """Return whether a token is for a single upstream, and so for no other resource."""
        resource = self._protection.upstream_resource(credentials.url)
        return resource is not None and resource in verified.named

    def _check_scopes(
        self, credentials: Credentials, verified: VerifiedCaller, *, uses_dpop: bool
    ) -> Principal | Refusal:
        """Return the caller if it has each required scope, else the refusal with the missing scopes."""
        principal = verified.principal
        missing = [scope for scope in verified.required_scopes if scope not in principal.scopes]
        if not missing:
            return principal
        return challenge.insufficient_scope(missing, self._protection, credentials.url, dpop=uses_dpop)


_NO_CREDENTIALS: Final = b""
"""Key in the cache of callers without any credentials. A digest is longer, so no credential has this key."""


@lru_cache(maxsize=1024)
def _place_of(client_ip: str | None) -> Peer:
    if client_ip is None or is_loopback(client_ip):
        return "local"
    return "private" if is_private(client_ip) else "remote"


def _cache_key(credentials: Credentials, presented: AccessToken | None, peer: Peer) -> CacheKey | None:
    if presented is not None:
        return hashlib.sha256(b"t" + presented.token.encode("ascii")).digest(), peer
    if credentials.certificate is not None:
        return hashlib.sha256(b"c".join((b"", credentials.certificate, *credentials.issuers))).digest(), peer
    return None


def _describe_unknown(credentials: Credentials, presented: AccessToken | None) -> CredentialFault:
    """Return the fault of credentials that no authenticator knows."""
    if presented is not None:
        return CredentialFault(reasons.IDENTITY_ISSUER, "the token's issuer is not accepted here")
    if credentials.certificate is not None:
        return CredentialFault(
            reasons.IDENTITY_CERTIFICATE, "the client certificate alone does not identify a caller here"
        )
    return CredentialFault(reasons.IDENTITY_MISSING, "there are no credentials")


# --- verified credentials ---------------------------------------------------------------------------------

CAPACITY: Final = 10_000

CacheKey: TypeAlias = "tuple[bytes, Peer]"
"""The SHA-256 of a credential, and the place of the peer. The credential itself is not kept."""


class VerifiedCache:
    """Recently verified credentials, by digest. Strangers cannot fill the cache, since only verified credentials are kept; a full
    cache drops the oldest. An entry counts only while its verification keys stay the same. The time is an argument."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._entries: dict[CacheKey, tuple[Authenticator, VerifiedCaller]] = {}

    def get(self, key: CacheKey, now: float) -> VerifiedCaller | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        authenticator, verified = entry
        if now >= verified.until or authenticator.generation != verified.generation:
            del self._entries[key]
            return None
        return verified

    def put(self, key: CacheKey, authenticator: Authenticator, verified: VerifiedCaller) -> None:
        if len(self._entries) >= self._capacity and key not in self._entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (authenticator, verified)

    def __len__(self) -> int:
        return len(self._entries)
