"""Configuration to authenticators, with their keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.identities import DevelopmentIdentity, JwtIdentity, SpiffeIdentity
from gateway.identity import anonymous, challenge, claims, development
from gateway.identity.claims import Trust
from gateway.identity.keys import DiscoverySource, FileSource, IssuerKeys, UrlSource
from gateway.identity.signed import JwtAuthenticator, SpiffeAuthenticator
from gateway.identity.x509 import X509Authenticator
from gateway.model.errors import ConfigurationError
from gateway.wire.oauth_flow import is_acceptable_url, ssf_metadata_urls

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Configuration
    from gateway.config.identities import Identity, PeopleIdentity
    from gateway.identity.challenge import Protection
    from gateway.identity.keys import KeySource
    from gateway.identity.outcomes import Authenticator


@dataclass(frozen=True, slots=True)
class Parts:
    authenticators: tuple[Authenticator, ...]
    keys: tuple[IssuerKeys, ...]
    protection: Protection
    trust: Trust
    foreign: frozenset[str] = frozenset()
    """Audiences of which a token may name none, since its holder would be another one too."""


def assemble(configuration: Configuration, *, clock: Callable[[], float]) -> Parts:
    """Build the parts of `Identities`. Raises `ConfigurationError`."""
    protection = challenge.protection(configuration)
    issuers = [issuer_of(identity) for identity in configuration.identity]
    for issuer in issuers:
        if issuers.count(issuer) > 1:
            raise ConfigurationError(f"identity: {issuer} is configured twice", "keep one of the two")
    audience = f"{configuration.base_url}/mcp"
    # Nobody acts in the name of the anonymous issuer: it vouches for nothing.
    trust = Trust(frozenset(issuers) - {anonymous.ISSUER}, find_audiences(configuration))
    authenticators: list[Authenticator] = []
    keys: list[IssuerKeys] = []
    for identity in configuration.identity:
        match identity:
            case JwtIdentity():
                keys.append(IssuerKeys(identity.issuer, _jwt_source(identity), clock=clock))
                authenticators.append(JwtAuthenticator(identity, keys[-1], trust, default_audience=audience))
            case SpiffeIdentity():
                source = _source(identity.bundle, "bundle")
                keys.append(IssuerKeys(issuer_of(identity), source, clock=clock, use="jwt-svid"))
                authenticators.append(SpiffeAuthenticator(identity, keys[-1], trust, default_audience=audience))
                if identity.x509:
                    authenticators.append(X509Authenticator(identity, keys[-1]))
            case DevelopmentIdentity():
                key = development.load_key(configuration.state)
                private = identity.reach == "private"
                authenticators.append(
                    development.DevelopmentAuthenticator(key, trust, audience=audience, private=private)
                )
            case _:
                authenticators.append(anonymous.AnonymousAuthenticator(identity))
    return Parts(tuple(authenticators), tuple(keys), protection, trust)


def assemble_people(configuration: Configuration, identity: PeopleIdentity, *, clock: Callable[[], float]) -> Parts:
    """Build the parts for people with a role. Their tokens have an audience of their own. Raises `ConfigurationError`."""
    audience = identity.find_audience(configuration.base_url)
    others = _other_audiences(configuration, identity)
    for other, audiences in others.items():
        if audience in audiences:
            raise ConfigurationError(
                f"{identity.setting}: the audience {audience} is that of {other} too, so that one token would serve both",
                f"give {identity.setting} an audience of its own",
            )
    keys = IssuerKeys(identity.issuer, _jwt_source(identity), clock=clock)
    trust = Trust(frozenset({identity.issuer}), frozenset({audience}))
    authenticator = JwtAuthenticator(identity, keys, trust, default_audience=audience)
    foreign = frozenset[str]().union(*others.values())
    return Parts((authenticator,), (keys,), challenge.protection(configuration), trust, foreign)


def _other_audiences(configuration: Configuration, identity: PeopleIdentity) -> dict[str, frozenset[str]]:
    """Return the audiences of callers, and of the people with another role."""
    base = configuration.base_url
    people = {
        each.setting: frozenset({each.find_audience(base)})
        for each in configuration.people_over_http
        if each.setting != identity.setting
    }
    return {**people, "callers": find_audiences(configuration)}


def transmitter_keys(issuer: str, jwks: str | None, *, clock: Callable[[], float]) -> IssuerKeys:
    """Return the keys of a transmitter of signals. Raises `ConfigurationError`."""
    source = DiscoverySource(issuer, ssf_metadata_urls(issuer)) if jwks is None else _source(jwks, "jwks")
    return IssuerKeys(issuer, source, clock=clock)


def issuer_of(identity: Identity) -> str:
    """Return the `Principal.issuer` of an identity's callers."""
    match identity:
        case JwtIdentity():
            return identity.issuer
        case SpiffeIdentity():
            return f"{claims.SCHEME}{identity.trust_domain}"
        case DevelopmentIdentity():
            return development.ISSUER
        case _:
            return anonymous.ISSUER


def find_audiences(configuration: Configuration) -> frozenset[str]:
    """Return the audiences of callers: of the gateway, and of each upstream."""
    whole = f"{configuration.base_url}/mcp"
    tokens = (i for i in configuration.identity if isinstance(i, JwtIdentity | SpiffeIdentity))
    named = {identity.audience for identity in tokens if identity.audience is not None}
    return frozenset({whole, *named, *(f"{whole}/{upstream}" for upstream in configuration.upstreams)})


def _jwt_source(identity: JwtIdentity) -> KeySource:
    if identity.jwks is not None:
        return _source(identity.jwks, "jwks", identity.ca, identity.jwks_token)
    if not is_acceptable_url(identity.issuer):
        raise ConfigurationError(
            f"identity: the keys of {identity.issuer} cannot be discovered: it is no https URL",
            "give them with jwks: file:PATH or jwks: https://…",
        )
    return DiscoverySource(identity.issuer, ca=identity.ca)


def _source(location: str, field: str, ca: Path | None = None, token: Path | None = None) -> KeySource:
    if location.startswith("file:"):
        return FileSource(Path(location.removeprefix("file:")))
    if not is_acceptable_url(location):
        raise ConfigurationError(
            f"identity: {field} is no place to take keys from: it must be https, without user or fragment",
            f"write {field}: file:PATH or {field}: https://…",
        )
    return UrlSource(location, ca, token)
