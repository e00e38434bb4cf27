"""Callers without credentials. Loopback only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.identity.outcomes import NOT_MINE, CredentialFault, VerifiedCaller
from gateway.identity.signed import CACHED
from gateway.model import reasons
from gateway.model.caller import AuthMethod, Principal

if TYPE_CHECKING:
    from gateway.config.identities import AnonymousIdentity
    from gateway.identity.outcomes import NotMine, PresentedCredentials

ISSUER: Final = "urn:opagate:anonymous"


class AnonymousAuthenticator:
    """An authenticator of callers without any credentials. Invalid credentials never count as none."""

    issuer = ISSUER
    generation = None

    def __init__(self, identity: AnonymousIdentity) -> None:
        self._principal = Principal(id=identity.id, issuer=ISSUER, method=AuthMethod.ANONYMOUS)

    async def authenticate(self, presented: PresentedCredentials) -> VerifiedCaller | NotMine | CredentialFault:
        credentials = presented.credentials
        if presented.token is not None or credentials.dpop or credentials.certificate is not None:
            return NOT_MINE
        if not presented.local:
            return CredentialFault(
                reasons.IDENTITY_MISSING, "callers without credentials are accepted from this machine only"
            )
        return VerifiedCaller(self._principal, until=presented.now + CACHED)
