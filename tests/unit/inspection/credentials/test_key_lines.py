"""A private key that a result has shown is known again by any of its secret lines."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import LONGEST, Fingerprints, secret_lines
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.stream import Scanner
from tests.unit.inspection.credentials.conftest import RULES

DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))
RSA = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def shown(text: str, size: int = 2**20) -> CredentialIndex:
    """Return the index of a task to which a result has shown a text, in chunks of so many bytes."""
    scanner, raw = Scanner(DETECTOR), json.dumps({"key": text}).encode()
    found = [item for at in range(0, len(raw), size) for item in scanner.feed(raw[at : at + size])]
    found += scanner.finish()
    return CredentialIndex({item.fingerprint: item.shingles for item in found})


def sends(index: CredentialIndex, text: str) -> bool:
    return bool(DETECTOR.inspect({"note": text}, {}, index, new=False).findings)


def body_of(key: str) -> str:
    return "".join(line for line in key.splitlines() if not line.startswith("-----"))


@pytest.mark.parametrize("size", [2**20, 700])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_the_second_half_of_a_key_is_known(form: PrivateFormat, size: int):
    key = pem(RSA, form)
    body, index = body_of(key), shown(key, size)
    assert sends(index, body[len(body) // 2 :])


def test_the_second_half_of_a_long_key_is_known():
    key = pem(rsa.generate_private_key(65537, 4096))
    body = body_of(key)
    assert all(sends(shown(key, size), body[len(body) // 2 :]) for size in (2**20, 700))


@pytest.mark.parametrize("wrap", [30, 64, 76])
def test_one_line_of_a_key_is_known_however_it_is_wrapped(wrap: int):
    body, index = body_of(pem(RSA)), shown(pem(RSA))
    for at in range(len(body) // 4 + 64, len(body) - 64, 50):
        line = body[at : at + 64]
        assert sends(index, "\n".join(line[start : start + wrap] for start in range(0, 64, wrap))), at


def test_the_secret_line_of_a_short_key_is_known():
    body, index = body_of(pem(CURVE)), shown(pem(CURVE))
    assert sends(index, body[36:100])


@pytest.mark.parametrize("key", [RSA, CURVE])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo])
def test_the_public_key_of_a_known_key_passes(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PublicFormat):
    index = shown(f"{pem(key)}{pem(key, PrivateFormat.TraditionalOpenSSL)}")
    assert not sends(index, key.public_key().public_bytes(Encoding.PEM, form).decode())
    assert not sends(index, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def test_another_key_of_the_same_kind_is_not_known():
    index = shown(pem(CURVE) + pem(RSA))
    assert not sends(index, pem(ec.generate_private_key(ec.SECP256R1())))
    assert not sends(index, pem(rsa.generate_private_key(65537, 2048)))
    other = ed25519.Ed25519PrivateKey.generate()
    assert not sends(index, other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())


def test_a_key_of_sixteen_kilobytes_is_known_to_its_end():
    lines = [
        f"{number:064x}".translate(str.maketrans("0123456789", "QRSTUVWXYZ")) for number in range(10**60, 10**60 + 240)
    ]
    mixed = [line[number % 64 :] + line[: number % 64] for number, line in enumerate(lines)]
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(mixed) + "\n-----END PRIVATE KEY-----"
    assert LONGEST - 1_200 < len(key) < LONGEST
    assert sends(shown(key, 1_000), mixed[-2])


def test_the_lines_of_a_key_are_forgotten_with_it():
    index = CredentialIndex({"name": DETECTOR.fingerprints.shingles(body_of(pem(RSA)), in_lines=True)})
    index.remove("name")
    assert not index
    assert not index.has_windows


def test_the_modulus_of_a_key_is_no_secret_line():
    assert secret_lines("MII" + "a" * 97) == "a" * 75
    assert secret_lines(pem(CURVE)) == body_of(pem(CURVE))[48:91]
