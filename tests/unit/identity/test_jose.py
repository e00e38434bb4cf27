import hmac
import json

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.identity import jose
from gateway.identity.outcomes import CredentialFault
from tests.unit.identity.tokens import Signer, b64, raw_token

ACCEPTED = frozenset({"ES256", "RS256", "EdDSA"})
TYPES = frozenset({"at+jwt"})


def read(token: str) -> jose.Jws:
    result = jose.read_jws(token)
    assert isinstance(result, jose.Jws), result
    return result


def test_a_signed_token_is_read_and_verified():
    signer = Signer()
    token = read(signer.token())
    assert token.claims["sub"] == "agent-1"
    assert (token.alg, token.kid, token.typ) == ("ES256", "k1", "at+jwt")
    assert jose.check_header(token, ACCEPTED, TYPES) is None
    assert jose.signed_by(token, signer.key)


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("RS256", RSAKey.generate_key(2048)),
        ("PS256", RSAKey.generate_key(2048)),
        ("ES384", ECKey.generate_key("P-384")),
        ("ES512", ECKey.generate_key("P-521")),
        ("EdDSA", OKPKey.generate_key("Ed25519")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
)
def test_each_accepted_algorithm_verifies_its_own_and_nothing_changed(alg: str, key: ECKey | RSAKey | OKPKey):
    signer = Signer(key=key, alg=alg)
    token = signer.token()
    assert jose.signed_by(read(token), key)
    head, _, tail = token.split(".")
    changed = f"{head}.{b64(json.dumps(signer.claims(sub='other')).encode())}.{tail}"
    assert not jose.signed_by(read(changed), key)


def test_neither_none_nor_an_hmac_can_be_verified_at_all():
    assert not {"none", "HS256", "HS384", "HS512"} & jose.ALGORITHMS.keys()


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "HS512", "RS384", "", "ES256 "])
def test_an_algorithm_that_is_not_accepted_is_refused(alg: str):
    token = read(raw_token({"alg": alg, "typ": "at+jwt"}, {"sub": "x"}))
    fault = jose.check_header(token, ACCEPTED | {"HS256", "none"}, TYPES)
    assert fault is not None
    assert fault.code == "identity/signature"


def test_a_public_key_used_as_an_hmac_secret_is_refused():
    """Key confusion (RFC 8725 section 2.1)."""
    pem = RSAKey.generate_key(2048).as_pem(private=False)
    signed, _, _ = raw_token({"alg": "HS256", "typ": "at+jwt"}, Signer().claims()).rpartition(".")
    forged = f"{signed}.{b64(hmac.digest(pem, signed.encode(), 'sha256'))}"
    fault = jose.check_header(read(forged), {"RS256", "HS256"}, TYPES)
    assert fault is not None
    assert fault.code == "identity/signature"


def test_a_key_of_another_type_or_curve_does_not_verify():
    token = read(Signer().token())
    assert not jose.signed_by(token, RSAKey.generate_key(2048))
    assert not jose.signed_by(token, ECKey.generate_key("P-384"))
    assert not jose.signed_by(
        read(Signer(key=OKPKey.generate_key("Ed25519"), alg="EdDSA").token()), OKPKey.generate_key("X25519")
    )


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"])
def test_a_header_that_brings_its_own_key_or_extension_is_refused(name: str):
    signer = Signer()
    value: object = signer.jwk() if name == "jwk" else ["exp"] if name == "crit" else "https://evil.example/keys"
    fault = jose.check_header(read(signer.token(header={name: value})), ACCEPTED, TYPES)
    assert fault is not None
    assert fault.code == "identity/signature"


@pytest.mark.parametrize("typ", ["dpop+jwt", "id_token+jwt", "secevent+jwt", "logout+jwt", "JOSE", "jwt"])
def test_another_typ_than_asked_is_refused(typ: str):
    fault = jose.check_header(read(Signer().token(header={"typ": typ})), ACCEPTED, TYPES)
    assert fault is not None
    assert fault.code == "identity/claims"


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_typ_is_compared_as_a_media_type(typ: str):
    assert jose.check_header(read(Signer().token(header={"typ": typ})), ACCEPTED, TYPES) is None


@pytest.mark.parametrize(("name", "value"), [("kid", 7), ("kid", ""), ("kid", ["k1"]), ("typ", 7), ("typ", {})])
def test_a_header_member_of_another_type_is_refused(name: str, value: object):
    fault = jose.check_header(read(Signer().token(header={name: value})), ACCEPTED, frozenset({"at+jwt", None}))
    assert fault is not None
    assert fault.code == "identity/malformed"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d.e",
        "!!.e30.e30",
        "e30=.e30.e30",
        "e31.e30.e30",
        f"{raw_token({'alg': 'ES256'}, {})}.e30",
        raw_token({"alg": "ES256"}, {"sub": "x" * jose.MAX_TOKEN}),
        raw_token([], {}),
        raw_token({"alg": "ES256"}, []),
        raw_token({"alg": "ES256"}, b'{"sub":"a","sub":"b"}'),
        raw_token({"alg": "ES256"}, b'{"act":{"sub":"a","sub":"b"}}'),
        raw_token(b'{"alg":"none","alg":"ES256"}', {}),
        raw_token({"alg": "ES256"}, b'{"exp":NaN}'),
        raw_token({"alg": "ES256"}, b'{"exp":Infinity}'),
        raw_token({"alg": "ES256"}, b'{"sub":"\xff"}'),
        raw_token({"alg": "ES256"}, '{"sub":"a"}'.encode("utf-16")),
        raw_token({"alg": "ES256"}, b"[" * 10_000),
        raw_token({"alg": "ES256"}, b'{"a":' * 2_000),
        raw_token({"alg": "ES256"}, b'{"exp":' + b"9" * 5_000 + b"}"),
        "é.e30.e30",
    ],
)
def test_what_is_not_a_strict_token_is_refused(token: str):
    result = jose.read_jws(token)
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/malformed"


def test_texts_are_printable_and_bounded():
    assert jose.text("größe") == "größe"
    for value in ("", "a\nb", "a\x00", "\ud800", "a\u202eb", "x" * 2049, 7, None, ["a"]):
        assert jose.text(value) is None
    assert jose.texts("a") == ("a",)
    assert jose.texts(["a", "b"]) == ("a", "b")
    assert jose.texts([]) == ()
    for value in (["a", 1], [""], 7, {"a": "b"}, None):
        assert jose.texts(value) is None


def test_numbers_are_finite_and_no_truth_values():
    assert jose.number(7) == 7.0
    assert jose.number(7.5) == 7.5
    for value in (True, "7", None, float("inf"), float("nan"), 10**400):
        assert jose.number(value) is None


def test_a_key_suits_only_its_own_algorithms():
    assert jose.suits(ECKey.generate_key("P-256"), "ES256")
    assert not jose.suits(ECKey.generate_key("P-256"), "RS256")
    assert not jose.suits(ECKey.generate_key("P-256"), "HS256")
    assert jose.suits(OKPKey.generate_key("Ed25519"), "EdDSA")
    assert not jose.suits(OKPKey.generate_key("Ed448"), "EdDSA")
    assert not jose.suits(OKPKey.generate_key("X25519"), "EdDSA")
    assert not jose.suits(RSAKey.generate_key(2048, parameters={"alg": "RS256"}), "PS256")


def test_load_object_is_as_strict():
    assert jose.load_object(b'{"a":1}') == {"a": 1}
    with pytest.raises(ValueError, match="twice"):
        jose.load_object(b'{"a":1,"a":2}')
