"""X.509-SVIDs: workload identities as client certificates (SPIFFE X509-SVID standard). The TLS layer has verified the
certificate against its client authorities, and the caller's possession of the key. There may be several authorities. So
this module checks that an authority of the named trust domain issued the certificate, directly or through others.
Otherwise a domain's authority could speak for another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity import claims
from gateway.identity.dpop import thumbprint
from gateway.identity.outcomes import NOT_MINE, CredentialFault, VerifiedCaller
from gateway.identity.signed import CACHED
from gateway.model import reasons
from gateway.model.caller import AuthMethod, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.config.identities import SpiffeIdentity
    from gateway.identity.keys import IssuerKeys
    from gateway.identity.outcomes import NotMine, PresentedCredentials

_E = TypeVar("_E", bound=x509.ExtensionType)


class X509Authenticator:
    """The client certificates of one trust domain."""

    def __init__(self, identity: SpiffeIdentity, keys: IssuerKeys) -> None:
        self.issuer = f"{claims.SCHEME}{identity.trust_domain}"
        self._domain = identity.trust_domain
        self._keys = keys

    @property
    def generation(self) -> int | None:
        return self._keys.generation

    async def authenticate(self, presented: PresentedCredentials) -> VerifiedCaller | NotMine | CredentialFault:
        certificate = presented.credentials.certificate
        if certificate is None or presented.token is not None:
            return NOT_MINE
        try:
            leaf = x509.load_der_x509_certificate(certificate)
            issuers = [x509.load_der_x509_certificate(issuer) for issuer in presented.credentials.issuers]
            name = spiffe_name(leaf)
        except (ValueError, x509.DuplicateExtension):
            return _fault("the client certificate is malformed")
        if name is None:
            return _fault("the client certificate has not exactly one URI name, or that is no SPIFFE ID")
        if claims.trust_domain(name) != self._domain:
            return NOT_MINE
        now = datetime.fromtimestamp(presented.now, UTC)
        authorities = (await self._keys.authorities()).authorities
        return (
            check_leaf(leaf, now)
            or check_issued(leaf, issuers, authorities, now)
            or self._verify(leaf, name, token_id=thumbprint(certificate), now=presented.now)
        )

    def _verify(self, leaf: x509.Certificate, name: str, *, token_id: str, now: float) -> VerifiedCaller:
        ends = leaf.not_valid_after_utc.timestamp()
        principal = Principal(
            id=name,
            issuer=self.issuer,
            method=AuthMethod.SPIFFE_X509,
            bound=True,
            token_id=token_id,
            issued=leaf.not_valid_before_utc.timestamp(),
        )
        until = min(ends, now + CACHED, self._keys.usable_until())
        return VerifiedCaller(principal, until=until, generation=self.generation)


def spiffe_name(leaf: x509.Certificate) -> str | None:
    """Return the SPIFFE ID of a workload's certificate: its only URI name (section 2)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 and claims.workload(uris[0]) is not None else None


def check_leaf(leaf: x509.Certificate, now: datetime) -> CredentialFault | None:
    """Refuse a certificate unless it is a leaf, for digital signatures, for clients, and valid now (section 4)."""
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return _fault("the client certificate is outside its validity")
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return _fault("the client certificate is that of an authority")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        return _fault("the client certificate's key usage is not that of an X.509-SVID")
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        return _fault("the client certificate is not for clients")
    return None


def check_issued(
    leaf: x509.Certificate, issuers: Iterable[x509.Certificate], authorities: Sequence[x509.Certificate], now: datetime
) -> CredentialFault | None:
    """Check that an authority of the trust domain issued the certificate, or a certificate above it among `issuers`,
    nearest first. TLS has checked the length and names of the path."""
    path = [leaf]
    for issuer in issuers:
        if not _issued_by(path[-1], issuer, now):
            break
        path.append(issuer)
    if any(_issued_by(link, authority, now) for link in path for authority in authorities):
        return None
    return _fault("the client certificate was not issued by an authority of its trust domain")


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate, now: datetime) -> bool:
    if not authority.not_valid_before_utc <= now <= authority.not_valid_after_utc:
        return False
    try:
        constraints = _extension(authority, x509.BasicConstraints)
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, x509.DuplicateExtension):
        return False
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _fault(detail: str) -> CredentialFault:
    return CredentialFault(reasons.IDENTITY_CERTIFICATE, detail)
