"""The claims of each identity provider that name a caller: presets, and the reading of a token by one map. Pure."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.base.letters import cut
from gateway.identity.jose import text
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.identities import ClaimSettings, Preset
    from gateway.model.wire import JsonObject

_LONGEST: Final = 100
"""Characters of a display name or an address of mail on a surface."""
_NAMES: Final = 32
"""Names of claims in an error."""


class ClaimMap(Struct, frozen=True):
    """The claims that name a caller. `agent` are claims that have to agree. Of `user`, `name` and `mail` the first usable one counts.

    `no_user` marks a token that the agent got for itself: a claim with this value, with any value (`*`), or without a value (`None`).
    The marks may name the agent as `{agent}`. With `is_strict`, a token has to have a claim of `agent`.
    """

    agent: tuple[str, ...] = ("client_id", "azp", "cid", "appid")
    user: tuple[str, ...] = ("sub",)
    name: tuple[str, ...] = ("name", "preferred_username")
    mail: tuple[str, ...] = ("email",)
    groups: str = "groups"
    no_user: tuple[tuple[str, str | None], ...] = (("gty", "client-credentials"), ("idtyp", "app"))
    is_strict: bool = False

    @property
    def used(self) -> frozenset[str]:
        """Return the names of all claims in the map."""
        marks = tuple(name for name, _ in self.no_user)
        return frozenset({*self.agent, *self.user, *self.name, *self.mail, *marks, self.groups})

    def is_alone(self, claims: JsonObject, agent: str) -> bool:
        """Return whether a token is of the agent itself, without a person behind it."""
        return any(_is_marked(claims, name, value, agent) for name, value in self.no_user)

    def describe_missing(self, claims: JsonObject, names: Iterable[str], party: str) -> CredentialFault:
        """Return the fault of a token without the claims that name a party. It names the claims of the token, and no value."""
        had = sorted(name for name in claims if name.isascii() and name.isprintable())
        shown = ", ".join(cut(name, 64) for name in had[:_NAMES]) or "none"
        return CredentialFault(
            reasons.IDENTITY_CLAIMS,
            f"the token has no usable {' or '.join(names)}, which name the {party} by `claims`; it has: {shown}",
        )


GENERIC: Final = ClaimMap()

PRESETS: Final[Mapping[Preset, ClaimMap]] = {
    "generic": GENERIC,
    # Only a client without a person has `clientHost`. A person may choose the user name of a service account.
    "keycloak": ClaimMap(agent=("azp",), no_user=(("clientHost", "*"),), is_strict=True),
    # `sub` of an access token is the login, which may change. `uid` is the user's id, and the `sub` of ID tokens.
    "okta": ClaimMap(
        agent=("cid",), user=("uid", "sub"), mail=("email", "sub"), no_user=(("uid", None),), is_strict=True
    ),
    # `sub` differs by application; `oid` is one for the tenant. Tokens of people alone have `scp`.
    "entra-v1": ClaimMap(
        agent=("appid",),
        user=("oid",),
        mail=("email", "upn", "unique_name"),
        no_user=(("idtyp", "app"), ("scp", None)),
        is_strict=True,
    ),
    "entra-v2": ClaimMap(
        agent=("azp",),
        user=("oid",),
        mail=("email", "preferred_username"),
        no_user=(("idtyp", "app"), ("scp", None)),
        is_strict=True,
    ),
    "auth0": ClaimMap(
        agent=("azp", "client_id"), no_user=(("gty", "client-credentials"), ("sub", "{agent}@clients")), is_strict=True
    ),
    # Access tokens of Google are opaque. ID tokens of service accounts are JWTs, and `sub` is the account.
    "google": ClaimMap(agent=("sub",), is_strict=True),
}


def map_of(settings: ClaimSettings) -> ClaimMap:
    """Return the map of an identity: its preset, with the claims that the configuration names."""
    preset = PRESETS[settings.preset]
    named = settings.model_dump(exclude={"preset"}, exclude_none=True)
    if "no_user" in named:
        named["no_user"] = tuple(named["no_user"].items())
    return structs.replace(preset, **named, is_strict=preset.is_strict or "agent" in named)


def read_name(claims: JsonObject, names: Iterable[str]) -> str | None:
    """Return the display name of a token, on one line and bounded. A name with an `@` counts as absent: people would take the name for an address."""
    found = _find_first(claims, names, is_mail=False)
    return None if found is None else cut(found, _LONGEST)


def find_mail(claims: JsonObject, names: Iterable[str]) -> str | None:
    """Return the whole address of mail of a token, verified or not, by which the issuer's signals name the caller."""
    return _find_first(claims, names, is_mail=True)


def read_mail(claims: JsonObject, names: Iterable[str]) -> str | None:
    """Return the address of mail of a token for people, unless its issuer has not verified the address."""
    verified, found = claims.get("email_verified", True), find_mail(claims, names)
    # Some issuers write the truth value as a text.
    return cut(found, _LONGEST) if found is not None and (verified is True or verified == "true") else None


def _find_first(claims: JsonObject, names: Iterable[str], *, is_mail: bool) -> str | None:
    for name in names:
        found = " ".join((text(claims.get(name)) or "").split())
        # Another form of the sign looks the same, and makes no address.
        if found and ("@" in (found if is_mail else unicodedata.normalize("NFKC", found))) == is_mail:
            return found
    return None


def _is_marked(claims: JsonObject, name: str, value: str | None, agent: str) -> bool:
    if value is None or value == "*":
        return (name in claims) == (value == "*")
    return claims.get(name) == value.replace("{agent}", agent)
