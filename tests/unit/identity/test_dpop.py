from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.identity.dpop import (
    FILE,
    LEEWAY,
    WINDOW,
    Possession,
    ProofWatermark,
    ReplayMemory,
    normalise_url,
    thumbprint,
)
from gateway.identity.outcomes import Confirmation, CredentialFault
from gateway.model import reasons
from gateway.model.caller import Credentials
from tests.unit.identity.tokens import MCP, NOW, bearer, dpop, proof, raw_token

KEY = ECKey.generate_key("P-256")
TOKEN = "header.payload.signature"
BOUND = Confirmation(jkt=KEY.thumbprint())


def check(
    credentials: Credentials, bound_to: Confirmation | None = BOUND, *, now: float = NOW, **more: Any
) -> CredentialFault | None:
    possession = more.get("possession") or Possession(started=NOW - 3600)
    scheme = credentials.authorization[0].split(" ")[0]
    return possession.check(credentials, TOKEN, dpop=scheme == "DPoP", bound_to=bound_to, now=now)


def refused(credentials: Credentials, bound_to: Confirmation | None = BOUND, **more: Any) -> str:
    fault = check(credentials, bound_to, **more)
    assert fault is not None
    assert fault.code == "identity/proof"
    return fault.detail


def test_a_proof_with_the_bound_key_passes():
    assert check(dpop(TOKEN, proof(KEY, TOKEN))) is None


def test_an_unbound_bearer_token_passes():
    assert check(bearer(TOKEN), None) is None


def test_a_bound_token_as_bearer_is_refused():
    assert "needs the DPoP scheme" in refused(bearer(TOKEN))


def test_a_bound_token_as_bearer_with_a_proof_is_refused():
    credentials = Credentials("POST", MCP, (f"Bearer {TOKEN}",), (proof(KEY, TOKEN),))
    assert "needs the DPoP scheme" in refused(credentials)


def test_an_unbound_token_by_the_dpop_scheme_is_refused():
    assert "use the Bearer scheme" in refused(dpop(TOKEN, proof(KEY, TOKEN)), None)


def test_a_proof_with_an_unbound_bearer_token_is_refused():
    credentials = Credentials("POST", MCP, (f"Bearer {TOKEN}",), (proof(KEY, TOKEN),))
    assert "not bound" in refused(credentials, None)


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one_proof(count: int):
    assert "exactly one" in refused(dpop(TOKEN, *[proof(KEY, TOKEN)] * count))


def test_a_proof_works_once():
    possession = Possession(started=NOW - 3600)
    assert check(dpop(TOKEN, proof(KEY, TOKEN)), possession=possession) is None
    again = check(dpop(TOKEN, proof(KEY, TOKEN)), possession=possession, now=NOW + 1)
    assert again == CredentialFault(reasons.IDENTITY_REPLAY, "the DPoP proof was used before")
    assert check(dpop(TOKEN, proof(KEY, TOKEN, jti="proof-2")), possession=possession) is None


def test_a_proof_that_was_refused_is_not_used_up():
    possession = Possession(started=NOW - 3600)
    refused(dpop(TOKEN, proof(KEY, TOKEN, htm="GET")), possession=possession)
    assert check(dpop(TOKEN, proof(KEY, TOKEN)), possession=possession) is None


def test_a_proof_is_remembered_as_long_as_it_could_be_accepted():
    """The latest moment of acceptance is `iat + WINDOW + LEEWAY`, for a proof that was used with `iat = now + LEEWAY`."""
    possession = Possession(started=NOW - 3600)
    ahead = dpop(TOKEN, proof(KEY, TOKEN, iat=NOW + LEEWAY))
    assert check(ahead, possession=possession) is None
    last = NOW + 2 * LEEWAY + WINDOW
    again = check(ahead, possession=possession, now=last)
    assert again is not None
    assert again.code == "identity/replay"
    assert "too old" in refused(ahead, possession=possession, now=last + 0.001)


def test_a_full_memory_refuses():
    possession = Possession(started=NOW - 3600, memory=ReplayMemory(80, capacity=1))
    assert check(dpop(TOKEN, proof(KEY, TOKEN)), possession=possession) is None
    fault = check(dpop(TOKEN, proof(KEY, TOKEN, jti="proof-2")), possession=possession)
    assert fault == CredentialFault(reasons.IDENTITY_REPLAY, "too many DPoP proofs are in use; slow down")


def test_a_proof_from_before_a_restart_is_refused():
    assert "memory" in refused(dpop(TOKEN, proof(KEY, TOKEN, iat=NOW - 2)), possession=Possession(started=NOW - 1))
    assert check(dpop(TOKEN, proof(KEY, TOKEN)), possession=Possession(started=NOW + 0.9)) is None


@pytest.mark.parametrize("ahead", [0, 0.5, 3, LEEWAY])
@pytest.mark.parametrize("later", [0.4, 2, 9])
def test_a_proof_from_a_clock_that_goes_ahead_is_not_used_again_after_a_restart(
    tmp_path: Path, ahead: float, later: float
):
    used = dpop(TOKEN, proof(KEY, TOKEN, iat=NOW + ahead))
    assert check(used, possession=Possession(started=NOW - 3600, watermark=ProofWatermark(tmp_path))) is None

    restarted = Possession(started=NOW + later, watermark=ProofWatermark(tmp_path))

    assert "memory" in refused(used, possession=restarted, now=NOW + later)
    fresh = dpop(TOKEN, proof(KEY, TOKEN, iat=NOW + max(ahead, later) + 1.1, jti="fresh"))
    assert check(fresh, possession=restarted, now=NOW + later + 1) is None


def test_a_clock_that_was_set_back_keeps_nobody_out_for_long(tmp_path: Path):
    ProofWatermark(tmp_path).note(NOW + 1e9)
    restarted = Possession(started=NOW, watermark=ProofWatermark(tmp_path))

    assert "memory" in refused(dpop(TOKEN, proof(KEY, TOKEN, iat=NOW + 5)), possession=restarted)
    later = NOW + LEEWAY + 1
    assert check(dpop(TOKEN, proof(KEY, TOKEN, iat=later)), possession=restarted, now=later) is None


def test_a_proof_that_cannot_be_remembered_is_refused(tmp_path: Path):
    possession = Possession(started=NOW - 3600, watermark=ProofWatermark(tmp_path))
    (tmp_path / f".{FILE}.new").mkdir()

    assert "cannot be remembered" in refused(dpop(TOKEN, proof(KEY, TOKEN, iat=NOW + 5)), possession=possession)
    assert check(dpop(TOKEN, proof(KEY, TOKEN, iat=NOW - 2, jti="old")), possession=possession) is None


@pytest.mark.parametrize("content", [b"", b"x", b"1" * 100, b"\xff", b"inf", b"-1"])
def test_a_memory_that_cannot_be_read_is_nothing(tmp_path: Path, content: bytes):
    (tmp_path / FILE).write_bytes(content)

    assert (
        check(
            dpop(TOKEN, proof(KEY, TOKEN)), possession=Possession(started=NOW - 60, watermark=ProofWatermark(tmp_path))
        )
        is None
    )


@pytest.mark.parametrize("iat", [NOW - WINDOW - LEEWAY - 1, NOW + LEEWAY + 1])
def test_a_proof_outside_its_window_is_refused(iat: float):
    assert "too old or from the future" in refused(dpop(TOKEN, proof(KEY, TOKEN, iat=iat)))


@pytest.mark.parametrize("iat", [NOW - WINDOW - LEEWAY, NOW + LEEWAY])
def test_a_proof_at_the_edge_of_its_window_passes(iat: float):
    assert check(dpop(TOKEN, proof(KEY, TOKEN, iat=iat))) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"htm": "GET"}, "another method"),
        ({"htm": "post"}, "another method"),
        ({"htm": None}, "another method"),
        ({"htu": "https://gateway.example/mcp/github"}, "another URL"),
        ({"htu": "http://gateway.example/mcp"}, "another URL"),
        ({"htu": "https://evil.example/mcp"}, "another URL"),
        ({"htu": None}, "another URL"),
        ({"htu": 7}, "another URL"),
        ({"ath": None}, "another access token"),
        ({"ath": "x"}, "another access token"),
        ({"iat": None}, "no iat"),
        ({"iat": "now"}, "no iat"),
        ({"jti": None}, "no jti"),
        ({"jti": ""}, "no jti"),
        ({"jti": 7}, "no jti"),
    ],
)
def test_a_proof_for_something_else_is_refused(changes: dict[str, Any], problem: str):
    assert problem in refused(dpop(TOKEN, proof(KEY, TOKEN, **changes)))


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"typ": "JWT"}, "wrong typ"),
        ({"typ": "at+jwt"}, "wrong typ"),
        ({"typ": None}, "wrong typ"),
        ({"alg": "none"}, "wrong typ or algorithm"),
        ({"alg": "HS256"}, "wrong typ or algorithm"),
        ({"alg": "RS256"}, "does not verify"),
        ({"alg": "ES384"}, "does not verify"),
        ({"jwk": None}, "header is not that of a proof"),
        ({"jwk": "x"}, "header is not that of a proof"),
        ({"crit": ["exp"]}, "header is not that of a proof"),
        ({"jku": "https://evil.example"}, "header is not that of a proof"),
        *(({name: "x"}, "header is not that of a proof") for name in ("x5c", "x5u", "b64", "zip", "enc")),
        ({"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, "not accepted"),
        ({"jwk": KEY.as_dict(private=True)}, "discloses a private key"),
        *(({"jwk": {name: "AA"}}, "discloses a private key") for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")),
        ({"jwk": {"kty": "oct"}}, "not accepted"),
        ({"jwk": ECKey.generate_key("P-256").as_dict(private=False)}, "another key"),
    ],
)
def test_a_proof_with_a_wrong_header_is_refused(header: dict[str, object], problem: str):
    assert problem in refused(dpop(TOKEN, proof(KEY, TOKEN, header=header)))


def test_a_proof_by_another_key_under_the_bound_jwk_is_refused():
    other = ECKey.generate_key("P-256")
    forged = proof(other, TOKEN, header={"jwk": KEY.as_dict(private=False)})
    assert "does not verify" in refused(dpop(TOKEN, forged))


def test_a_proof_that_is_no_token_is_refused():
    for text in ("", "a.b.c", raw_token([], {}), "x" * 20_000):
        assert "malformed" in refused(dpop(TOKEN, text))


def test_a_thumbprint_that_is_not_ascii_matches_nothing():
    assert "another key" in refused(dpop(TOKEN, proof(KEY, TOKEN)), Confirmation(jkt="é"))


@pytest.mark.parametrize(
    ("alg", "key"), [("RS256", RSAKey.generate_key(2048)), ("Ed25519", OKPKey.generate_key("Ed25519"))]
)
def test_proofs_of_other_key_types_pass(alg: str, key: RSAKey | OKPKey):
    assert check(dpop(TOKEN, proof(key, TOKEN, alg=alg)), Confirmation(jkt=key.thumbprint())) is None


def test_a_key_that_may_not_sign_tokens_may_not_sign_proofs():
    key = OKPKey.generate_key("Ed448")
    signed = dpop(TOKEN, proof(key, TOKEN, alg="EdDSA"))
    assert "does not verify" in refused(signed, Confirmation(jkt=key.thumbprint()))


def test_where_the_url_that_was_asked_is_none_no_proof_is_for_it():
    for url in ("mcp", "https://u@gateway.example/"):
        assert "another URL" in refused(dpop(TOKEN, proof(KEY, TOKEN, url=url), url=url))


def test_a_certificate_bound_token_needs_that_certificate():
    bound = Confirmation(x5t=thumbprint(b"certificate"))
    assert check(bearer(TOKEN, certificate=b"certificate"), bound) is None
    assert "another client certificate" in refused(bearer(TOKEN, certificate=b"other"), bound)
    assert "another client certificate" in refused(bearer(TOKEN), bound)


def test_a_token_that_is_bound_twice_needs_both():
    both = Confirmation(jkt=KEY.thumbprint(), x5t=thumbprint(b"certificate"))
    with_both = Credentials("POST", MCP, (f"DPoP {TOKEN}",), (proof(KEY, TOKEN),), b"certificate")
    assert check(with_both, both) is None
    assert "another client certificate" in refused(dpop(TOKEN, proof(KEY, TOKEN)), both)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Gateway.Example/mcp", "https://gateway.example/mcp"),
        ("HTTPS://gateway.example/mcp", "https://gateway.example/mcp"),
        ("https://gateway.example:443/mcp", "https://gateway.example/mcp"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("https://gateway.example/mcp?a=b#c", "https://gateway.example/mcp"),
        ("https://gateway.example/m%63p", "https://gateway.example/mcp"),
        ("https://gateway.example/a%2fb", "https://gateway.example/a%2Fb"),
        ("http://[::1]:8080/mcp", "http://[::1]:8080/mcp"),
        ("https://gateway.example/%7Eme", "https://gateway.example/~me"),
    ],
)
def test_equal_urls_are_equal(one: str, other: str):
    assert normalise_url(one) == normalise_url(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://gateway.example/mcp", "https://gateway.example/mcp/"),
        ("https://gateway.example/mcp", "https://gateway.example/MCP"),
        ("https://gateway.example/mcp", "https://gateway.example:8443/mcp"),
        ("https://gateway.example/mcp", "http://gateway.example/mcp"),
        ("https://gateway.example/a/b", "https://gateway.example/a%2Fb"),
        ("https://gateway.example/a/../mcp", "https://gateway.example/mcp"),
        ("https://gateway.example/%", "https://gateway.example/"),
        ("https://[::1]:8080/mcp", "https://[::1:8080]/mcp"),
        ("https://gateway.example/%e9", "https://gateway.example/é"),
    ],
)
def test_different_urls_are_different(one: str, other: str):
    assert normalise_url(one) != normalise_url(other)


@pytest.mark.parametrize(
    "url", ["", "mcp", "ftp://gateway.example/", "https://u@gateway.example/", "https://h:x/", "https:///p"]
)
def test_what_is_no_http_url_equals_nothing(url: str):
    assert normalise_url(url) is None
