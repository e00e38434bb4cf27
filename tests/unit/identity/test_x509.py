import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.model.caller import AuthMethod, Credentials
from tests.unit.identity.tokens import (
    MCP,
    NOW,
    Authority,
    Clock,
    Signer,
    accepted,
    bearer,
    configuration,
    refused,
    running,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.identity.identities import Identities

AGENT = "spiffe://corp/agent/triage"
UNKNOWN, NAMES, BASIC = (b"\x06\x03\x55\x1d" + bytes([number]) for number in (99, 17, 19))
"""Of extensions the ids as they stand in a certificate; no library writes the same one twice."""
TLS = {"certificate": "c.pem", "key": "k.pem", "client_ca": "ca.pem"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def corp() -> Authority:
    return Authority("corp")


@pytest.fixture
def partner() -> Authority:
    return Authority("partner")


@pytest.fixture
async def identities(tmp_path: Path, clock: Clock, corp: Authority, partner: Authority) -> "AsyncIterator[Identities]":
    for name, authority in (("corp", corp), ("partner", partner)):
        keys = [authority.jwk(), Signer(name).jwk(use="jwt-svid")]
        (tmp_path / f"{name}.json").write_text(json.dumps({"keys": keys}))
    spiffe: list[dict[str, object]] = [
        {"kind": "spiffe", "trust_domain": name, "bundle": f"file:{tmp_path}/{name}.json", "x509": True}
        for name in ("corp", "partner")
    ]
    async with running(configuration(tmp_path, *spiffe, tls=TLS), clock) as identities:
        yield identities


def mtls(certificate: bytes, *issuers: bytes) -> Credentials:
    return Credentials("POST", MCP, certificate=certificate, issuers=issuers)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


async def test_a_certificate_is_its_workload(identities: "Identities", corp: Authority):
    principal = accepted(await identities.identify(mtls(corp.svid(AGENT)), "10.0.0.1"))
    assert (principal.id, principal.issuer, principal.method) == (AGENT, "spiffe://corp", AuthMethod.SPIFFE_X509)
    assert principal.bound
    other = accepted(await identities.identify(mtls(corp.svid(AGENT)), "10.0.0.1"))
    assert principal.token_id != other.token_id, "each certificate is a credential of its own, as each token is"
    assert principal.key == other.key, "a workload renews its certificate every hour, and goes on in its task"


async def test_each_trust_domain_has_its_own_authority(identities: "Identities", partner: Authority):
    principal = accepted(await identities.identify(mtls(partner.svid("spiffe://partner/a")), None))
    assert principal.issuer == "spiffe://partner"


async def test_one_domains_authority_cannot_speak_for_another(identities: "Identities", partner: Authority):
    """The TLS layer trusts both, so only the bundle of the named domain tells them apart."""
    refused(await identities.identify(mtls(partner.svid(AGENT)), None), "identity/certificate")


async def test_an_authority_issues_through_others_too(identities: "Identities", corp: Authority):
    """SPIRE with an authority above it: the workload sends what stands between (X509-SVID section 5)."""
    region = Authority("region", above=corp)
    rack = Authority("rack", above=region)
    leaf = rack.svid(AGENT)

    refused(await identities.identify(mtls(leaf), None), "identity/certificate")
    principal = accepted(await identities.identify(mtls(leaf, rack.der, region.der, corp.der), None))
    assert (principal.id, principal.issuer) == (AGENT, "spiffe://corp")
    accepted(await identities.identify(mtls(region.svid(AGENT), region.der), None))
    refused(await identities.identify(mtls(leaf), None), "identity/certificate")


async def test_what_stands_between_a_certificate_and_its_authority_must_have_issued_it(
    identities: "Identities", corp: Authority, partner: Authority
):
    region, foreign = Authority("region", above=corp), Authority("region", above=partner)
    late, leafy = Authority("late", above=corp, now=NOW - 10 * 86400), Authority("leafy", above=corp, ca=False)
    away = Authority("away", above=late)
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    odd = corp.builder("region", X25519PrivateKey.generate().public_key()).add_extension(is_authority, critical=True)
    again = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), b"\x30\x00")
    twice = corp.builder("region", region.key.public_key()).add_extension(is_authority, critical=True)
    twice = twice.add_extension(again, critical=False)
    for path in (
        (foreign.svid(AGENT), foreign.der, partner.der),
        (foreign.svid(AGENT), foreign.der, region.der, corp.der),
        (foreign.svid(AGENT), region.der, corp.der),
        (foreign.svid(AGENT), corp.der),
        (leafy.svid(AGENT), leafy.der, corp.der),
        (away.svid(AGENT), away.der, late.der, corp.der),
        (region.svid(AGENT), b"no certificate"),
        (region.svid(AGENT), der(odd.sign(corp.key, hashes.SHA256())), corp.der),
        (region.svid(AGENT), der(twice.sign(corp.key, hashes.SHA256())).replace(UNKNOWN, BASIC), corp.der),
    ):
        refused(await identities.identify(mtls(*path), None), "identity/certificate")


@pytest.mark.parametrize(
    "uris",
    [
        (),
        (AGENT, "spiffe://corp/agent/other"),
        (AGENT, "https://corp.example"),
        ("https://corp/agent",),
        ("spiffe://corp",),
        ("spiffe://corp/",),
        ("spiffe://Corp/agent",),
        ("spiffe://unknown/agent",),
    ],
)
async def test_a_certificate_without_exactly_one_known_spiffe_id_is_refused(
    identities: "Identities", corp: Authority, uris: tuple[str, ...]
):
    refused(await identities.identify(mtls(corp.svid(*uris)), None), "identity/certificate")


async def test_an_authority_is_no_workload(identities: "Identities", corp: Authority):
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    refused(await identities.identify(mtls(corp.svid(AGENT, extensions=(constraints,))), None), "identity/certificate")
    leaf = x509.BasicConstraints(ca=False, path_length=None)
    accepted(await identities.identify(mtls(corp.svid(AGENT, extensions=(leaf,))), None))


@pytest.mark.parametrize("usage", [{}, {"digital_signature": False}, {"key_cert_sign": True}, {"crl_sign": True}])
async def test_a_certificate_for_another_use_is_refused(
    identities: "Identities", corp: Authority, usage: dict[str, bool]
):
    refused(await identities.identify(mtls(corp.svid(AGENT, usage=usage)), None), "identity/certificate")


async def test_extended_key_usage_must_include_clients(identities: "Identities", corp: Authority):
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    refused(await identities.identify(mtls(corp.svid(AGENT, extensions=(server,))), None), "identity/certificate")
    accepted(await identities.identify(mtls(corp.svid(AGENT, extensions=(both,))), None))


@pytest.mark.parametrize(("starts", "ends"), [(-60.0, -1.0), (60.0, 120.0)])
async def test_a_certificate_outside_its_validity_is_refused(
    identities: "Identities", corp: Authority, starts: float, ends: float
):
    refused(await identities.identify(mtls(corp.svid(AGENT, starts=starts, ends=ends)), None), "identity/certificate")


async def test_a_certificate_that_ends_is_not_believed_from_memory(
    identities: "Identities", corp: Authority, clock: Clock
):
    certificate = corp.svid(AGENT, ends=30)
    accepted(await identities.identify(mtls(certificate), None))
    clock.now += 31
    refused(await identities.identify(mtls(certificate), None), "identity/certificate")


async def test_a_certificate_of_an_authority_that_left_the_bundle_is_not_believed_from_memory(
    identities: "Identities", corp: Authority, clock: Clock, tmp_path: Path
):
    certificate = corp.svid(AGENT)
    accepted(await identities.identify(mtls(certificate), None))
    svid = Signer("k2")
    keys = [Authority("corp").jwk(), svid.jwk(use="jwt-svid")]
    await asyncio.to_thread((tmp_path / "corp.json").write_text, json.dumps({"keys": keys}))
    accepted(await identities.identify(bearer(svid.token(iss=None, sub=AGENT, header={"typ": None})), None))
    refused(await identities.identify(mtls(certificate), None), "identity/certificate")


async def test_a_certificate_that_says_something_twice_is_refused(identities: "Identities", corp: Authority):
    """Readers differ in which of the two they take."""
    again = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), b"\x30\x00")
    twice = corp.svid(AGENT, extensions=(again,)).replace(UNKNOWN, NAMES)
    refused(await identities.identify(mtls(twice), None), "identity/certificate")


@pytest.mark.parametrize("data", [b"", b"no certificate", b"\x30\x00"])
async def test_a_malformed_certificate_is_refused(identities: "Identities", data: bytes):
    refused(await identities.identify(mtls(data), None), "identity/certificate")


async def test_an_authority_that_has_ended_or_is_none_issues_nothing(tmp_path: Path):
    old = Authority("old", now=NOW - 10 * 86400)
    none = Authority("none", ca=False)
    (tmp_path / "bundle.json").write_text(json.dumps({"keys": [old.jwk(), none.jwk()]}))
    spiffe: dict[str, object] = {
        "kind": "spiffe",
        "trust_domain": "corp",
        "bundle": f"file:{tmp_path}/bundle.json",
        "x509": True,
    }
    async with running(configuration(tmp_path, spiffe, tls=TLS), Clock()) as identities:
        fresh = old.svid(AGENT, ends=20 * 86400)
        refused(await identities.identify(mtls(fresh), None), "identity/certificate")
        refused(await identities.identify(mtls(none.svid(AGENT)), None), "identity/certificate")


async def test_a_token_decides_where_both_are_presented(identities: "Identities", corp: Authority):
    both = bearer("a.b.c", certificate=corp.svid(AGENT))
    refused(await identities.identify(both, None), "identity/malformed")
    other = bearer(Signer().token(), certificate=corp.svid(AGENT))
    refused(await identities.identify(other, None), "identity/issuer")


async def test_a_certificate_is_nothing_where_x509_is_not_configured(tmp_path: Path, corp: Authority):
    anonymous: dict[str, object] = {"kind": "anonymous"}
    async with running(configuration(tmp_path, anonymous), Clock()) as identities:
        refused(await identities.identify(mtls(corp.svid(AGENT)), None), "identity/certificate")
