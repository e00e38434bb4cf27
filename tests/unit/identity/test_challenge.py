import re

import pytest

from gateway.identity import challenge
from gateway.identity.challenge import Protection
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons
from gateway.model.error_codes import UNAUTHENTICATED

URL = "https://gateway.example/mcp"
PLAIN = Protection("https://gateway.example", frozenset({"github"}))
SCOPED = Protection("https://gateway.example", frozenset({"github"}), scopes=("mcp:call", "mcp:list"))
METADATA = 'resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp"'


FAULTS = {
    entry.code: entry for entry in reasons.entries() if entry.status == 401 and entry.code.startswith("identity/")
}


def challenged(code: str, protection: Protection = PLAIN, *, url: str = URL, dpop: bool = False) -> str:
    refusal = challenge.refusal(CredentialFault(FAULTS[code], "a detail"), protection, url, dpop=dpop)
    assert refusal.status == 401
    assert refusal.challenge is not None
    return refusal.challenge


def test_missing_credentials_are_told_where_to_get_a_token_and_no_error():
    value = challenged("identity/missing", SCOPED)
    assert value.startswith(f'Bearer {METADATA}, scope="mcp:call mcp:list", DPoP algs="ES256')
    assert "error" not in value


def test_an_invalid_token_is_told_so_and_nothing_else():
    value = challenged("identity/signature")
    assert value == f'Bearer error="invalid_token", error_description="The access token is not valid here", {METADATA}'


def test_an_expired_token_is_told_so_in_the_words_of_rfc_6750():
    value = challenged("identity/expired")
    assert value == f'Bearer error="invalid_token", error_description="The access token expired", {METADATA}'


@pytest.mark.parametrize("code", FAULTS)
def test_every_code_has_a_remedy_and_a_challenge_that_is_well_formed(code: str):
    for dpop in (False, True):
        refusal = challenge.refusal(CredentialFault(FAULTS[code], "a detail"), SCOPED, URL, dpop=dpop)
        assert refusal.reason.code == code
        assert refusal.reason.message == "A detail."
        assert re.fullmatch(r"[A-Z].*\.", refusal.reason.remedy)
        assert refusal.reason.controls
        assert refusal.rpc_code == UNAUTHENTICATED
        assert "a detail" not in (refusal.challenge or "").lower()
        parameter = r'[a-z_]+="[^"\\]*"'
        assert re.fullmatch(
            rf"(?:(?:Bearer|DPoP) {parameter}|{parameter})(?:, (?:(?:Bearer|DPoP) )?{parameter})*",
            refusal.challenge or "",
        )


def test_a_dpop_caller_is_challenged_by_dpop():
    value = challenged("identity/proof", dpop=True)
    assert value.startswith('DPoP algs="ES256')
    assert 'error="invalid_dpop_proof"' in value


def test_a_bearer_caller_whose_token_needs_a_proof_learns_both_schemes():
    value = challenged("identity/proof")
    assert value.startswith('Bearer error="invalid_token"')
    assert ', DPoP algs="ES256' in value


def test_where_every_token_must_be_bound_only_dpop_is_offered():
    value = challenged("identity/missing", Protection("https://gateway.example", bound_only=True))
    assert value.startswith("DPoP algs=")
    assert "Bearer" not in value


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://gateway.example/mcp/github", "/mcp/github"),
        ("https://gateway.example/mcp/other", "/mcp"),
        ("https://gateway.example/mcp/github/", "/mcp/github"),
        ("https://gateway.example/mcp/github//", "/mcp"),
        ("https://gateway.example/mcp/git%68ub", "/mcp"),
        ("https://gateway.example/github", "/mcp"),
        ("https://gateway.example/tasks", "/mcp"),
        ("github", "/mcp"),
    ],
)
def test_the_metadata_is_that_of_the_resource_asked(url: str, path: str):
    assert PLAIN.metadata_url(url) == f"https://gateway.example/.well-known/oauth-protected-resource{path}"


def test_a_public_url_with_a_path_keeps_it():
    protection = Protection("https://example.com/gateway", frozenset({"github"}))
    url = "https://example.com/gateway/mcp/github"
    assert protection.upstream_resource(url) == url
    assert protection.metadata_url(url) == "https://example.com/.well-known/oauth-protected-resource/gateway/mcp/github"


def test_all_missing_scopes_are_named_at_once():
    refusal = challenge.insufficient_scope(["b", "a"], SCOPED, "https://gateway.example/mcp/github")
    assert refusal.status == 403
    assert refusal.reason.code == "identity/scope"
    assert refusal.reason.message == "The token lacks these scopes: a b."
    assert refusal.challenge == (
        'Bearer error="insufficient_scope", error_description="The access token lacks scopes", '
        'resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp/github", scope="a b"'
    )
    assert (challenge.insufficient_scope(["a"], PLAIN, URL, dpop=True).challenge or "").startswith("DPoP error=")
