"""Results of authenticators. Pure. After Ory Oathkeeper, there are three: a proven caller (`VerifiedCaller`), another
authenticator's credentials (`NOT_MINE`), or a refusal (`CredentialFault`). `CredentialFault` carries no HTTP:
`challenge.refusal` adds the form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from gateway.identity.jose import Jws
    from gateway.model.caller import Credentials, Principal
    from gateway.model.reasons import RefusalText


class NotMine(Enum):
    NOT_MINE = "not mine"


NOT_MINE: Final = NotMine.NOT_MINE


@dataclass(frozen=True, slots=True)
class CredentialFault:
    """The reason for refused credentials. `detail` is a fixed sentence with names of claims, never their values."""

    text: RefusalText
    detail: str

    @property
    def code(self) -> str:
        """Return the code of the reason."""
        return self.text.code


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The binding of a token (`cnf`): the thumbprint of a DPoP key, of a client certificate, or both. Source: RFC 9449
    section 6.1, RFC 8705 section 3.1."""

    jkt: str | None = None
    x5t: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedCaller:
    """The cacheable facts of a credential. `Identities` checks the rest for each request: the audience, proof of
    possession, and scopes. `until` is in seconds since the epoch. `generation` belongs to the verifying keys; `None`
    without keys."""

    principal: Principal
    until: float
    generation: int | None = None
    audience: str | None = None
    """The audience that serves every resource; `None` when the credential has no audience."""
    named: frozenset[str] = frozenset()
    """The audiences that the token names."""
    confirmation: Confirmation | None = None
    required_scopes: tuple[str, ...] = ()
    require_bound: bool = False


Peer = Literal["local", "private", "remote"]
"""The place of a peer: this machine, a private address (RFC 1918, RFC 4193), or elsewhere."""


@dataclass(frozen=True, slots=True)
class PresentedCredentials:
    """Credentials after their form was checked. `token` and `jws` are `None` without an Authorization header."""

    credentials: Credentials
    now: float
    token: str | None = None
    jws: Jws | None = None
    peer: Peer = "remote"

    @property
    def local(self) -> bool:
        """Return whether the peer is on this machine."""
        return self.peer == "local"


class Authenticator(Protocol):
    """One configured identity."""

    @property
    def issuer(self) -> str: ...

    @property
    def generation(self) -> int | None:
        """Of its keys, now. A cached result of another generation counts for nothing."""
        ...

    async def authenticate(self, presented: PresentedCredentials) -> VerifiedCaller | NotMine | CredentialFault:
        """Verify the presented credentials. Raises `IdentityUnavailable` without a needed key."""
        ...
