"""A caller made from names on a command line, in the form of the configured identities. Nothing is proved here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.identity import anonymous, claims, development
from gateway.identity.claims import Rules, Trust
from gateway.identity.outcomes import CredentialFault
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.config.identities import Identity
    from gateway.model.wire import Json


def issue_development_token(
    settings: Configuration,
    name: str,
    *,
    agent: str,
    ttl: float,
    clock: Callable[[], float],
    user: str | None = None,
    groups: Sequence[str] = (),
    scopes: Sequence[str] = (),
) -> str:
    """Return a token for the gateway of a configuration, whose file is `name`. Raises `ConfigurationError`."""
    if not settings.is_development:
        raise ConfigurationError(
            f"{name} does not accept development tokens",
            "add `- kind: development` under identity (loopback only), or get a token from the configured issuer",
        )
    return development.issue(
        development.load_key(settings.state),
        agent=agent,
        audience=f"{settings.base_url}/mcp",
        ttl=ttl,
        clock=clock,
        user=user,
        groups=groups,
        scopes=scopes,
    )


@dataclass(frozen=True, slots=True)
class CallerNames:
    """The names of a caller on a command line. `issuer` chooses among the identities."""

    agent: str
    issuer: str | None = None
    user: str | None = None
    groups: Sequence[str] = ()
    scopes: Sequence[str] = ()
    bound: bool = False


def find_principal(settings: Configuration, named: CallerNames) -> Principal:
    """Return the principal of the first fitting identity. Raises `ConfigurationError` if none fits."""
    found = list(_principals(settings, named))
    if not found:
        issuer = "" if named.issuer is None else f" with the issuer {named.issuer!r}"
        raise ConfigurationError(
            f"no identity of the configuration would verify {named.agent!r}{issuer}",
            f"name one of its issuers with --issuer: {', '.join(_issuer(item) for item in settings.identity) or 'there are none'}",
        )
    return found[0]


def _principals(settings: Configuration, named: CallerNames) -> Iterator[Principal]:
    # A SPIFFE ID is most likely a workload's own, and an anonymous caller proves nothing.
    order = {"spiffe": 0, "anonymous": 2}
    for identity in sorted(settings.identity, key=lambda item: order.get(item.kind, 1)):
        if named.issuer not in {None, _issuer(identity)}:
            continue
        made = _principal(identity, named)
        if made is not None:
            yield made


def _issuer(identity: Identity) -> str:
    match identity.kind:
        case "jwt":
            return identity.issuer
        case "spiffe":
            return f"{claims.SCHEME}{identity.trust_domain}"
        case "development":
            return development.ISSUER
        case "anonymous":
            return anonymous.ISSUER


def _principal(identity: Identity, named: CallerNames) -> Principal | None:
    issuer = _issuer(identity)
    match identity.kind:
        case "anonymous":
            plain = not (named.user or named.groups or named.scopes or named.bound)
            fits = plain and named.agent == identity.id
            return Principal(named.agent, issuer, AuthMethod.ANONYMOUS) if fits else None
        case "spiffe":
            if claims.trust_domain(named.agent) != identity.trust_domain or named.user or named.scopes:
                return None
            method = AuthMethod.SPIFFE_X509 if identity.x509 else AuthMethod.SPIFFE_JWT
            return Principal(named.agent, issuer, method, bound=identity.x509 or named.bound)
        case "development":
            return _of_token(named, Rules(issuer, AuthMethod.DEVELOPMENT, _trust(issuer)), acts=True)
        case "jwt":
            rules = Rules(issuer, AuthMethod.JWT, _trust(issuer))
            scopes = (*identity.required_scopes, *named.scopes)
            asked = replace(named, scopes=scopes, bound=named.bound or identity.require_bound)
            return _of_token(asked, rules, acts=False)


def _trust(issuer: str) -> Trust:
    return Trust(frozenset({issuer}), frozenset())


def _of_token(named: CallerNames, rules: Rules, *, acts: bool) -> Principal | None:
    """Return the caller of a token with these names. `acts`: the agent is an actor (RFC 8693), as in `opagate credentials token`."""
    if claims.identifier(named.agent) is None:
        return None
    members: dict[str, Json] = {"sub": named.user or named.agent, "scope": " ".join(named.scopes)}
    if named.user:
        members |= {"act": {"sub": named.agent}} if acts else {"client_id": named.agent}
        members[rules.map.groups] = list(named.groups)
    made = claims.principal(members, rules, digest="none")
    return None if isinstance(made, CredentialFault) else replace(made, bound=named.bound)
