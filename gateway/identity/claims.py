"""Verified claims to a `Principal`. Pure. Every claim is in exactly one declared set, after PyPI's trusted publishing.
It is verified, used for the principal, known and not needed, or the mark of another kind of token and so refused.
`find_unaccounted` reports the names of all others, so a new claim of an issuer is noticed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.identity.claim_maps import GENERIC, ClaimMap, find_mail, read_mail, read_name
from gateway.identity.jose import is_object, number, text, texts
from gateway.identity.outcomes import Confirmation, CredentialFault
from gateway.model import reasons
from gateway.model.caller import Actor, AuthMethod, Principal, User

if TYPE_CHECKING:
    from gateway.model.wire import Json, JsonObject

# --- SPIFFE IDs ------------------------------------------------------------------------------------------


SCHEME: Final = "spiffe://"
MAX_LENGTH: Final = 2048
"""Bytes (section 2.3)."""

_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)")


def trust_domain(value: str) -> str | None:
    """Return the trust domain of a SPIFFE ID; `None` for anything else."""
    match = _ID.fullmatch(value)
    if match is None or len(value) > MAX_LENGTH or any(part in {".", ".."} for part in match[2].split("/")):
        return None
    return match[1]


def workload(value: str) -> str | None:
    """Return the trust domain of a workload's SPIFFE ID: an ID with a path. An ID without is the domain itself."""
    domain = trust_domain(value)
    return domain if domain is not None and len(value) > len(SCHEME) + len(domain) else None


# --- delegation ------------------------------------------------------------------------------------------


MAX_DEPTH: Final = 8
"""Links. A longer chain is refused, whatever policy would say of it."""


@dataclass(slots=True)
class Trust:
    """The trust for a chain: the configured issuers, and the audiences of this gateway, which change with its upstreams."""

    issuers: frozenset[str]
    audiences: frozenset[str]


def read_chain(act: Json, trust: Trust) -> tuple[Actor, ...] | CredentialFault:
    """Return the actors of an `act` claim, the present actor first."""
    actors: list[Actor] = []
    successors = trust.audiences
    link: Json = act
    while True:
        if len(actors) == MAX_DEPTH:
            return _fault(f"the delegation chain is longer than {MAX_DEPTH} links")
        if not is_object(link):
            return _fault("a link of the delegation chain is not an object")
        actor = _actor(link, trust.issuers)
        if isinstance(actor, CredentialFault):
            return actor
        if "aud" in link and not _made_out_to(link, successors):
            return _fault("a link of the delegation chain was made out to somebody else than the next actor")
        actors.append(actor)
        if "act" not in link:
            return tuple(actors)
        successors = frozenset({actor.id})
        link = link["act"]


def permits(may_act: Json, actor: Actor) -> CredentialFault | None:
    """Check that a `may_act` claim names the present actor. `actor.issuer` is never `None` here."""
    if not is_object(may_act) or text(may_act.get("sub")) is None:
        return _fault("may_act does not name anybody")
    if may_act["sub"] != actor.id or may_act.get("iss", actor.issuer) != actor.issuer:
        return _fault("may_act names somebody else than the present actor")
    return None


def identifier(value: Json) -> str | None:
    """Return the id of an agent or a user; an id in the form of a SPIFFE ID must be valid."""
    name = text(value)
    if name is None or (name.lower().startswith(SCHEME) and workload(name) is None):
        return None
    return name


def _actor(link: JsonObject, issuers: frozenset[str]) -> Actor | CredentialFault:
    name = identifier(link.get("sub"))
    if name is None:
        return _fault("a link of the delegation chain has no usable sub")
    if "iss" not in link:
        return Actor(name, None)
    issuer = text(link["iss"])
    if issuer is None or issuer not in issuers:
        return _fault("a link of the delegation chain comes from an issuer that is not configured")
    return Actor(name, issuer)


def _made_out_to(link: JsonObject, successors: frozenset[str]) -> bool:
    names = texts(link["aud"])
    return names is not None and not successors.isdisjoint(names)


def _fault(detail: str) -> CredentialFault:
    return CredentialFault(reasons.IDENTITY_DELEGATION, detail)


# --- claims ----------------------------------------------------------------------------------------------


VERIFIED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "cnf", "act", "may_act", "typ", "token_use"})
"""Checked against the clock, the configuration, the request or one another."""

USED: Final = frozenset({"scope", "scp", "jti", "auth_time", "sid", "email_verified"})
"""Become part of the principal, or choose what does. The claims of the issuer's map are among them."""

FOREIGN: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events", "toe", "htm", "htu", "ath"})
"""Marks of ID tokens (OIDC Core 3.3.2.11), of security event tokens (RFC 8417) and of DPoP proofs (RFC 9449)."""

UNUSED: Final = frozenset(
    {
        # OIDC Core 5.1 and RFC 9068 section 2.2
        *("given_name", "family_name", "middle_name", "nickname", "profile", "picture"),
        *("website", "gender", "birthdate", "zoneinfo", "locale", "phone_number"),
        *("phone_number_verified", "address", "updated_at", "acr", "amr", "roles"),
        *("entitlements", "authorization_details", "txn", "grant_id"),
        # Microsoft Entra ID, Auth0, Amazon Cognito, Okta, Keycloak, Kubernetes
        *("aio", "appidacr", "azpacr", "idp", "ipaddr", "oid", "rh", "tid", "unique_name", "upn", "uti"),
        *("ver", "wids", "xms_ftd", "permissions", "origin_jti", "username", "uid", "cognito:groups"),
        *("session_state", "realm_access", "resource_access", "allowed-origins", "clientHost", "clientAddress"),
        *("kubernetes.io",),
    }
)
"""Known, and of no consequence here: authority comes from policy, not from an issuer's roles."""

_ACCESS_TOKEN_KINDS: Final = {"typ": frozenset({"bearer", "dpop"}), "token_use": frozenset({"access"})}
"""Claims with which Keycloak (`typ`) and Cognito (`token_use`) tell their kinds of tokens apart."""

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
"""A scope token (RFC 6749 section 3.3)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for the claims of one issuer. `leeway` in seconds."""

    issuer: str
    method: AuthMethod
    trust: Trust
    map: ClaimMap = GENERIC
    leeway: float = 10.0
    issued_at: bool = True
    """Whether `iat` is required."""


def find_unaccounted(claims: JsonObject, used: ClaimMap) -> tuple[str, ...]:
    """Return the names of claims in no declared set, as far as printable, sorted."""
    names = claims.keys() - VERIFIED - USED - FOREIGN - UNUSED - GENERIC.used - used.used
    return tuple(sorted(name[:64] for name in names if text(name)))


def expiry(claims: JsonObject, rules: Rules, now: float) -> float | CredentialFault:
    """Return the end of a currently valid token (RFC 7519 section 4.1), else its fault."""
    times: dict[str, float] = {}
    for name in ("exp", "nbf", "iat"):
        if name in claims:
            value = number(claims[name])
            if value is None:
                return CredentialFault(reasons.IDENTITY_CLAIMS, f"the token's {name} is not a time")
            times[name] = value
    if "exp" not in times or (rules.issued_at and "iat" not in times):
        return CredentialFault(reasons.IDENTITY_CLAIMS, "the token lacks exp or iat")
    if now >= times["exp"] + rules.leeway:
        return CredentialFault(reasons.IDENTITY_EXPIRED, "the token has expired")
    if now + rules.leeway < max(times.get("nbf", 0.0), times.get("iat", 0.0)):
        return CredentialFault(reasons.IDENTITY_EXPIRED, "the token is not valid yet; compare the clocks")
    return times["exp"]


def audiences(claims: JsonObject) -> frozenset[str] | CredentialFault:
    """Return the audiences of the token."""
    named = texts(claims.get("aud"))
    return frozenset(named) if named else CredentialFault(reasons.IDENTITY_CLAIMS, "the token lacks a usable aud")


def confirmation(claims: JsonObject) -> Confirmation | CredentialFault | None:
    """Return the token's binding. A binding without a check here refuses the token."""
    if "cnf" not in claims:
        return None
    cnf = claims["cnf"]
    if not is_object(cnf) or not cnf or not cnf.keys() <= {"jkt", "x5t#S256"}:
        return CredentialFault(reasons.IDENTITY_PROOF, "the token is bound in a way that is not supported here")
    if not all(map(text, cnf.values())):
        return CredentialFault(reasons.IDENTITY_CLAIMS, "the token's cnf is malformed")
    return Confirmation(jkt=text(cnf.get("jkt")), x5t=text(cnf.get("x5t#S256")))


def principal(claims: JsonObject, rules: Rules, *, digest: str) -> Principal | CredentialFault:
    """Return the caller of a token with verified signature, times and issuer. The map of the issuer names the user's claim,
    and `act` the agent (RFC 8693 section 4.1). Without `act` a client other than the user is the agent; otherwise the
    subject is the agent itself and there is no user. `digest` covers the signed part of the token.
    """
    fault = _other_kind(claims)
    if fault is not None:
        return fault
    subject = find_user(claims, rules.map)
    if isinstance(subject, CredentialFault):
        return subject
    parties = _parties(claims, subject, rules)
    if isinstance(parties, CredentialFault):
        return parties
    return _assemble(claims, rules, parties, digest=digest)


def find_user(claims: JsonObject, used: ClaimMap) -> str | CredentialFault:
    """Return the id of the token's subject: the first of the map's claims that the token has."""
    present = next((name for name in used.user if name in claims), None)
    subject = None if present is None else identifier(claims[present])
    return used.describe_missing(claims, used.user, "user") if subject is None else subject


@dataclass(frozen=True, slots=True)
class _Parties:
    agent: str
    user: str | None
    chain: tuple[Actor, ...] = ()


def _assemble(claims: JsonObject, rules: Rules, parties: _Parties, *, digest: str) -> Principal | CredentialFault:
    scopes = _scopes(claims)
    if isinstance(scopes, CredentialFault):
        return scopes
    groups = texts(claims.get(rules.map.groups, []))
    if groups is None:
        return CredentialFault(reasons.IDENTITY_CLAIMS, "the token's groups are not texts")
    token_id = text(claims.get("jti", digest))
    if token_id is None:
        return CredentialFault(reasons.IDENTITY_CLAIMS, "the token's jti is malformed")
    return Principal(
        id=parties.agent,
        issuer=rules.issuer,
        method=rules.method,
        scopes=scopes,
        user=User(parties.user, groups) if parties.user is not None else None,
        delegation=parties.chain,
        token_id=token_id,
        logged_in=number(claims.get("auth_time")),
        issued=number(claims.get("iat")),
        session=text(claims.get("sid")),
        subject=text(claims.get("sub")),
        email=find_mail(claims, rules.map.mail),
        mail=read_mail(claims, rules.map.mail),
        display_name=read_name(claims, rules.map.name),
    )


def _other_kind(claims: JsonObject) -> CredentialFault | None:
    if not FOREIGN.isdisjoint(claims):
        return CredentialFault(reasons.IDENTITY_CLAIMS, "the token is of another kind than an access token")
    for name, kinds in _ACCESS_TOKEN_KINDS.items():
        if name in claims and (text(claims[name]) or "").lower() not in kinds:
            return CredentialFault(reasons.IDENTITY_CLAIMS, "the token is of another kind than an access token")
    return None


def _parties(claims: JsonObject, subject: str, rules: Rules) -> _Parties | CredentialFault:
    if "act" in claims:
        chain = read_chain(claims["act"], rules.trust)
        if isinstance(chain, CredentialFault):
            return chain
        parties = _Parties(chain[0].id, subject, chain)
    else:
        client = _client(claims, rules.map)
        if isinstance(client, CredentialFault):
            return client
        parties = _parties_without_delegation(claims, subject, client, rules.map)
    if "may_act" in claims:
        issuer = (parties.chain[0].issuer if parties.chain else None) or rules.issuer
        fault = permits(claims["may_act"], Actor(parties.agent, issuer))
        if fault is not None:
            return fault
    return parties


def _parties_without_delegation(claims: JsonObject, subject: str, client: str | None, used: ClaimMap) -> _Parties:
    if client is None or client == subject:
        return _Parties(subject, None)
    # Some issuers give a client's own token another sub than its client id; no person is behind it.
    return _Parties(client, None if used.is_alone(claims, client) else subject)


def _client(claims: JsonObject, used: ClaimMap) -> str | CredentialFault | None:
    """Return the client of a token. `None` only by a map that takes the subject of such a token as the agent."""
    present = [name for name in used.agent if name in claims]
    names = {identifier(claims[name]) for name in present}
    if None in names or (used.is_strict and not names):
        return used.describe_missing(claims, used.agent, "agent")
    if len(names) > 1:
        return CredentialFault(reasons.IDENTITY_CLAIMS, f"the token's {' and '.join(present)} disagree")
    return names.pop() if names else None


def _scopes(claims: JsonObject) -> frozenset[str] | CredentialFault:
    """Return the scopes: `scope` is a text (RFC 8693 section 4.2); `scp` is a text or a list, by issuer."""
    scp = claims.get("scp", [])
    words = [_split(claims.get("scope", "")), list(scp) if isinstance(scp, list) else _split(scp)]
    found: set[str] = set()
    for word in (word for part in words for word in part):
        if not isinstance(word, str) or _SCOPE.fullmatch(word) is None:
            return CredentialFault(reasons.IDENTITY_CLAIMS, "the token's scopes are malformed")
        found.add(word)
    return frozenset(found)


def _split(value: Json) -> list[Json]:
    return [word for word in value.split(" ") if word] if isinstance(value, str) else [value]
