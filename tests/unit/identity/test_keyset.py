import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.identity import keys
from tests.unit.identity.tokens import Authority, Signer

ODD = st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["AQAB", "AA", "P-256", "RSA", "EC", "OKP"])
KEYS = [key.as_dict(private=True) for key in (ECKey.generate_key(), OKPKey.generate_key(), RSAKey.generate_key())]
MEMBERS = st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "alg", "use", "key_ops", "d", "x5c"])


def document(*keys: object, **members: object) -> bytes:
    return json.dumps({"keys": list(keys), **members}).encode()


def test_the_keys_of_a_set_are_found_by_id_and_algorithm():
    one, two = Signer("k1"), Signer("k2", key=RSAKey.generate_key(2048), alg="RS256")
    found = keys.parse(one.jwks(two))
    assert [key.kid for key in found.candidates("k2", "PS256")] == ["k2"]
    assert found.candidates("k1", "RS256") == ()
    assert found.candidates("k3", "ES256") == ()
    assert found.knows("k1")
    assert not found.knows("k3")


def test_without_an_id_only_a_sole_suitable_key_will_do():
    one, two, rsa = Signer("k1"), Signer("k2"), Signer("k3", key=RSAKey.generate_key(2048))
    assert len(keys.parse(one.jwks(rsa)).candidates(None, "ES256")) == 1
    assert keys.parse(one.jwks(two)).candidates(None, "ES256") == ()
    assert keys.parse(one.jwks(two)).knows(None)


def test_another_document_has_another_digest():
    one, two = Signer("k1"), Signer("k2")
    assert keys.parse(one.jwks()).digest != keys.parse(one.jwks(two)).digest
    assert keys.parse(one.jwks()).digest == keys.parse(one.jwks()).digest


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "x"}, "its type is not RSA, EC or OKP"),
        ({"kty": "AKP", "kid": "x"}, "its type is not RSA, EC or OKP"),
        ({"kid": "x"}, "its type is not RSA, EC or OKP"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "kid": "x"}, "it is malformed"),
        ({"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "x"}, "it is malformed"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "x"}, "it is malformed"),
        ({"kty": "RSA", "n": "!!", "e": "AQAB", "kid": "x"}, "it is malformed"),
        ({"kty": "RSA", "n": 7, "e": "AQAB", "kid": "x"}, "it is malformed"),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_and_named(odd: object, problem: str):
    found = keys.parse(document(odd, Signer().jwk()))
    assert [key.kid for key in found.keys] == ["k1"]
    assert found.warnings == (f"key 0 is left out: {problem}",)


def test_a_short_rsa_key_is_left_out():
    with pytest.warns(match="2048"):
        short = RSAKey.generate_key(1024).as_dict(private=False)
    with pytest.warns(match="2048"):
        found = keys.parse(document(short, Signer().jwk()))
    assert found.warnings == ("key 0 is left out: its RSA modulus is not between 2048 and 8192 bits",)


@pytest.mark.parametrize(
    "members", [{"use": "enc"}, {"use": "jwt-svid"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"use": 7}]
)
def test_a_key_for_another_use_is_no_key(members: dict[str, object]):
    found = keys.parse(document(Signer("odd").jwk(**members), Signer("k1").jwk(use="sig", key_ops=["verify"])))
    assert [key.kid for key in found.keys] == ["k1"]


def test_the_private_half_of_a_published_key_is_never_imported():
    published = {**ECKey.generate_key("P-256").as_dict(private=True), "kid": "k1"}
    found = keys.parse(document(published))
    assert not found.keys[0].is_private


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":["k"]}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        document(Signer().jwk(), *[{"kty": "EC"}] * keys.MAX_KEYS),
        document({"kty": "oct", "k": "c2VjcmV0"}),
    ],
)
def test_a_document_without_a_usable_key_is_refused(data: bytes):
    with pytest.raises(ValueError):
        keys.parse(data)


def test_a_document_may_have_so_many_keys():
    found = keys.parse(document(Signer().jwk(), *[{"kty": "EC"}] * (keys.MAX_KEYS - 1)))
    assert [key.kid for key in found.keys] == ["k1"]


def test_a_spiffe_bundle_has_keys_for_tokens_and_authorities_for_certificates():
    authority = Authority()
    svid = Signer("k1")
    bundle = document(svid.jwk(use="jwt-svid"), authority.jwk(), spiffe_sequence=3, spiffe_refresh_hint=60)
    found = keys.parse(bundle, use="jwt-svid")
    assert [key.kid for key in found.keys] == ["k1"]
    assert found.authorities == (authority.certificate,)
    assert found.refresh_hint == 60
    assert found.sequence == 3


def test_a_key_of_a_bundle_without_a_use_or_with_another_is_no_key():
    found = keys.parse(document(Signer("a").jwk(), Signer("b").jwk(use="sig"), Authority().jwk()), use="jwt-svid")
    assert found.keys == ()


def test_an_authority_is_nothing_in_a_plain_key_set():
    with pytest.raises(ValueError, match="no usable key"):
        keys.parse(document(Authority().jwk()))


@pytest.mark.parametrize(
    ("x5c", "problem"),
    [
        (None, "it has not exactly one certificate"),
        ([], "it has not exactly one certificate"),
        (["AA", "AA"], "it has not exactly one certificate"),
        ([7], "it has not exactly one certificate"),
        (["!!"], "its certificate is malformed"),
        ([f" {Authority().jwk()['x5c'][0]}"], "its certificate is malformed"),
        ([base64.b64encode(b"no certificate").decode()], "its certificate is malformed"),
    ],
)
def test_an_authority_without_one_sound_certificate_is_left_out(x5c: object, problem: str):
    entry: dict[str, Any] = {**Authority().jwk(), "x5c": x5c}
    found = keys.parse(document(entry, Signer().jwk(use="jwt-svid")), use="jwt-svid")
    assert found.warnings == (f"key 0 is left out: {problem}",)


def test_a_public_key_is_imported_by_its_type():
    for key in (ECKey.generate_key("P-384"), OKPKey.generate_key("Ed25519"), RSAKey.generate_key(2048)):
        assert keys.import_public(key.as_dict(private=False)).thumbprint() == key.thumbprint()


@given(st.sampled_from(KEYS), st.dictionaries(MEMBERS, ODD | st.lists(ODD, max_size=2), max_size=4))
def test_whatever_is_in_a_key_it_is_imported_or_left_out(key: dict[str, Any], changes: dict[str, Any]):
    found = keys.parse(document({**key, **changes}, Signer("good").jwk()))
    assert found.knows("good")
    assert not any(imported.is_private for imported in found.keys)
