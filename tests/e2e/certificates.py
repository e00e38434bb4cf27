"""Certificates for TLS, and X.509-SVIDs, made for the length of a test."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.identity.tokens import Authority, _usage


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


def issued(
    authority: Authority, folder: Path, name: str, *names: x509.GeneralName, age: timedelta = timedelta()
) -> Pair:
    """A leaf for `names`, in files called `name`. It is valid for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC) - age
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_usage(), critical=True)
        .add_extension(authority.identifier, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    below = [leaf] if authority.above is None else [leaf, authority.certificate]
    pair.certificate.write_bytes(b"".join(link.public_bytes(serialization.Encoding.PEM) for link in below))
    form = serialization.PrivateFormat.PKCS8
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return pair


def server(authority: Authority, folder: Path, *, age: timedelta = timedelta()) -> Pair:
    return issued(authority, folder, "server", x509.IPAddress(ip_address("127.0.0.1")), age=age)


def svid(authority: Authority, folder: Path, name: str, spiffe_id: str) -> Pair:
    return issued(authority, folder, name, x509.UniformResourceIdentifier(spiffe_id))


def written(authority: Authority, folder: Path, name: str) -> Path:
    """The authority's own certificate, as a file."""
    path = folder / f"{name}.pem"
    path.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    return path


def bundle(authority: Authority, folder: Path) -> Path:
    """The SPIFFE bundle of the authority's trust domain."""
    path = folder / "bundle.json"
    path.write_text(json.dumps({"keys": [authority.jwk()]}), "utf-8")
    return path


def client_context(trusted: Path, pair: Pair | None = None) -> ssl.SSLContext:
    """What a client trusts, and what it shows."""
    context = ssl.create_default_context(cafile=str(trusted))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context
