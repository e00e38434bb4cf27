"""The code flow: requests of the gateway, and answers of authorization servers, strictly read."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.wire.oauth_flow import CallbackAnswer, CodeSecrets, build_request, challenge_of, is_same, read_answer

ISSUER = "https://as.example"


def test_the_challenge_is_that_of_rfc_7636_appendix_b():
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_query_of_the_endpoint_stays_in_a_request():
    secrets = CodeSecrets("s&t", "v", "n")
    url = build_request("https://as.example/a?x=1", "c", "https://gateway.example/cb", secrets, [("scope", "a b")])
    query = parse_qs(urlsplit(url).query)

    assert query == {
        "x": ["1"],
        "response_type": ["code"],
        "client_id": ["c"],
        "redirect_uri": ["https://gateway.example/cb"],
        "state": ["s&t"],
        "code_challenge": [challenge_of("v")],
        "code_challenge_method": ["S256"],
        "scope": ["a b"],
    }


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=c",
        "state=s",
        "state=&code=c",
        "code=c&state=s&error=access_denied",
        "code=c&state=s&state=s",
        "code=c&code=d&state=s",
        "code=c&state=s&iss=a&iss=b",
        "code=%ff&state=s",
        f"code={'c' * 9000}&state=s",
        "&".join(f"p{number}=1" for number in range(40)) + "&code=c&state=s",
    ],
)
def test_a_malformed_answer_is_refused(query: str):
    assert isinstance(read_answer(query), str)


def test_an_answer_is_read():
    assert read_answer("code=c&state=s&iss=https%3A%2F%2Fas.example&session_state=x") == CallbackAnswer(
        "s", ISSUER, "c", None
    )
    assert read_answer("error=access_denied&state=s") == CallbackAnswer("s", None, None, "access_denied")


@pytest.mark.parametrize(
    ("issuer", "names_issuer", "is_refused"),
    [
        (ISSUER, True, False),
        (ISSUER, False, False),
        (None, False, False),
        (None, True, True),
        ("https://evil.example", True, True),
        ("https://evil.example", False, True),
        (f"{ISSUER}/", True, True),
        ("", False, True),
    ],
)
def test_the_issuer_is_compared_as_rfc_9207_says(issuer: str | None, *, names_issuer: bool, is_refused: bool):
    found = CallbackAnswer("s", issuer, "c", None).is_of_issuer(ISSUER, names_issuer=names_issuer)
    assert found is not is_refused


def test_each_secret_of_a_flow_is_new():
    tokens = iter("abcdef")
    made = [CodeSecrets.make(lambda: next(tokens)) for _ in range(2)]

    assert made == [CodeSecrets("a", "b", "c"), CodeSecrets("d", "e", "f")]
    assert not any(token in repr(made) for token in ("'a'", '"a"'))


@pytest.mark.parametrize(("given", "is_found"), [("secret", True), ("Secret", False), ("", False), ("\ud800", False)])
def test_secrets_are_compared_whole(given: str, *, is_found: bool):
    assert is_same("secret", given) is is_found
