"""What the identity tests are made of: a clock, signers, proofs, certificates and a whole `Identities`."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.config import Configuration
from gateway.identity.identities import Identities
from gateway.model.caller import Credentials, Principal
from gateway.model.decision import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    Key = ECKey | OKPKey | RSAKey

NOW = 1_800_000_000.0
ISSUER = "https://idp.example"
BASE = "https://gateway.example"
MCP = f"{BASE}/mcp"
ALL = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "none")


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_token(header: object, claims: object, signature: bytes = b"x") -> str:
    """A token put together by hand, for what no signing library would make."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return ".".join(b64(part) for part in (*parts, signature))


@dataclass
class Signer:
    """An issuer with one key."""

    kid: str | None = "k1"
    key: Key = field(default_factory=lambda: ECKey.generate_key("P-256"))
    alg: str = "ES256"
    issuer: str = ISSUER

    def jwk(self, **members: object) -> dict[str, Any]:
        named = {} if self.kid is None else {"kid": self.kid}
        return {**self.key.as_dict(private=False), **named, **members}

    def jwks(self, *others: Signer) -> bytes:
        return json.dumps({"keys": [signer.jwk() for signer in (self, *others)]}).encode()

    def claims(self, **changes: object) -> dict[str, Any]:
        """Those of a good token, changed; a claim that is changed to `None` is left out."""
        good = {"iss": self.issuer, "sub": "agent-1", "aud": MCP, "exp": NOW + 300, "iat": NOW - 5, "jti": "t-1"}
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(self, *, header: dict[str, object] | None = None, **changes: object) -> str:
        return self.sign(json.dumps(self.claims(**changes)).encode(), header)

    def sign(self, payload: bytes, header: dict[str, object] | None = None) -> str:
        """Sign as is. Header members that are `None` are left out."""
        base = {"alg": self.alg, "typ": "at+jwt", "kid": self.kid}
        full = {name: value for name, value in {**base, **(header or {})}.items() if value is not None}
        registry = jws.JWSRegistry(algorithms=ALL, strict_check_header=False)
        model = registry.algorithms[self.alg]
        signed = f"{b64(json.dumps(full).encode())}.{b64(payload)}"
        return f"{signed}.{b64(model.sign(signed.encode(), self.key))}"


def proof(
    key: Key,
    token: str,
    *,
    url: str = MCP,
    method: str = "POST",
    alg: str = "ES256",
    header: dict[str, object] | None = None,
    **changes: object,
) -> str:
    """A DPoP proof (RFC 9449 section 4.2), changed as told."""
    signer = Signer(kid=None, key=key, alg=alg)
    good = {
        "htm": method,
        "htu": url,
        "iat": int(NOW),
        "jti": "proof-1",
        "ath": b64(hashlib.sha256(token.encode()).digest()),
    }
    claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
    head: dict[str, object] = {"typ": "dpop+jwt", "jwk": key.as_dict(private=False), **(header or {})}
    return signer.sign(json.dumps(claims).encode(), head)


def bearer(token: str, *, url: str = MCP, certificate: bytes | None = None) -> Credentials:
    return Credentials("POST", url, (f"Bearer {token}",), certificate=certificate)


def dpop(token: str, *proofs: str, url: str = MCP) -> Credentials:
    return Credentials("POST", url, (f"DPoP {token}",), proofs)


def configuration(tmp_path: Path, *identity: Mapping[str, object], **more: object) -> Configuration:
    upstreams = {name: {"url": f"https://{name}.example/mcp", "audience": name} for name in ("github", "files")}
    settings = {"state": str(tmp_path / "state"), "identity": list(identity), "upstreams": upstreams, **more}
    read = Configuration.model_validate(settings, context={"base": tmp_path})
    # One that has a public address has no local identities; here the address only names things.
    return read.model_copy(update={"public_url": read.public_url or BASE})


def jwt_identity(path: Path, **more: object) -> dict[str, object]:
    return {"kind": "jwt", "issuer": ISSUER, "jwks": f"file:{path}", **more}


@asynccontextmanager
async def running(configuration: Configuration, clock: Callable[[], float]) -> AsyncGenerator[Identities]:
    identities = Identities.build(configuration, clock=clock)
    await identities.start()
    try:
        yield identities
    finally:
        await identities.stop()


def accepted(outcome: Principal | Refusal) -> Principal:
    assert isinstance(outcome, Principal), outcome
    return outcome


def refused(outcome: Principal | Refusal, code: str) -> Refusal:
    assert isinstance(outcome, Refusal), outcome
    assert outcome.reason.code == code, outcome.reason
    return outcome


@dataclass
class Authority:
    """A certificate authority of a trust domain."""

    name: str = "ca"
    now: float = NOW
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ca: bool = True
    above: Authority | None = None
    """Who issued it, if it did not itself."""

    def __post_init__(self) -> None:
        usage = _usage(digital_signature=False, key_cert_sign=True)
        issuer = self.above or self
        builder = (
            issuer.builder(self.name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=self.ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        if self.above is not None:
            builder = builder.add_extension(issuer.identifier, critical=False)
        self.certificate = builder.sign(issuer.key, hashes.SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def identifier(self) -> x509.AuthorityKeyIdentifier:
        """What every certificate that it signs has to name it by (RFC 5280 section 4.2.1.1; Python 3.13 insists)."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def jwk(self) -> dict[str, Any]:
        public = ECKey.import_key(
            self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return {**public.as_dict(private=False), "use": "x509-svid", "x5c": [base64.b64encode(self.der).decode()]}

    def svid(
        self,
        *uris: str,
        extensions: tuple[x509.ExtensionType, ...] | None = None,
        usage: dict[str, bool] | None = None,
        starts: float = -60.0,
        ends: float = 3600.0,
    ) -> bytes:
        """A leaf certificate, DER. `extensions` are added; `usage` changes the key usage, `{}` leaves it out."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self.builder("workload", key.public_key(), starts=starts, ends=ends)
        builder = builder.add_extension(self.identifier, critical=False)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=False)
        if usage != {}:
            builder = builder.add_extension(_usage(**(usage or {})), critical=True)
        for extension in extensions or ():
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def builder(
        self, subject: str, public: CertificatePublicKeyTypes, *, starts: float = -3600.0, ends: float = 86400.0
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(self.name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.now, UTC) + timedelta(seconds=starts))
            .not_valid_after(datetime.fromtimestamp(self.now, UTC) + timedelta(seconds=ends))
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(**changes: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
    members = dict.fromkeys((*names, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(**{"digital_signature": True, **members, **changes})
