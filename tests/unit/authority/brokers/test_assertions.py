"""Assertions of identity providers: only a whole ID-JAG for exactly this user, client, server and resource counts."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.authority.brokers.assertions import ID_JAG, Assertion, AssertionFault, Expected, read_assertion

NOW = 1_800_000_000.0
EXPECTED = Expected(
    issuer="https://idp.example",
    audience="https://as.example",
    client_id="gw-there",
    user="alice",
    resource="https://crm.example",
    scopes=frozenset({"crm.read", "crm.write"}),
)
CLAIMS = {
    "iss": "https://idp.example",
    "sub": "alice",
    "aud": "https://as.example",
    "client_id": "gw-there",
    "jti": "j1",
    "exp": NOW + 300,
}


def signed(header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return an assertion. A change to `None` leaves a claim out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    head = {"alg": "ES256", "typ": "oauth-id-jag+jwt", **(header or {})}
    parts = (json.dumps(part).encode() for part in (head, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2ln"])


def answer(value: Any, **changes: Any) -> dict[str, Any]:
    return {"access_token": value, "issued_token_type": ID_JAG, "token_type": "N_A", **changes}


@pytest.mark.parametrize(
    ("document", "granted"),
    [
        (answer(signed()), {"crm.read", "crm.write"}),
        (answer(signed(), token_type="n_a"), {"crm.read", "crm.write"}),
        (answer(signed({"typ": "application/OAuth-ID-JAG+jwt"})), {"crm.read", "crm.write"}),
        (answer(signed(aud=["https://as.example"], resource="https://crm.example")), {"crm.read", "crm.write"}),
        (answer(signed(scope="crm.read"), scope="crm.read"), {"crm.read"}),
        (answer(signed(), scope="crm.read"), {"crm.read"}),
        (answer(signed(exp=NOW - 20)), {"crm.read", "crm.write"}),
    ],
)
def test_a_whole_assertion_is_read_with_its_scopes(document: dict[str, Any], granted: set[str]):
    found = read_assertion(EXPECTED, document, NOW)

    assert isinstance(found, Assertion), found
    assert (found.id, found.scopes, document["access_token"] in repr(found)) == ("j1", granted, False)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (answer(signed({"typ": "JWT"})), "type"),
        (answer(signed({"typ": "at+jwt"})), "type"),
        (answer(signed({"typ": None})), "type"),
        (answer(signed({"alg": "none"})), "type"),
        (answer(signed({"alg": None})), "type"),
        (answer(signed(), token_type="Bearer"), "type"),
        (answer(signed(), token_type=7), "type"),
        (answer(signed(), issued_token_type="urn:ietf:params:oauth:token-type:jwt"), "type"),
        (answer("opaque"), "malformed"),
        (answer("a.b.c"), "malformed"),
        (answer(None), "malformed"),
        (answer(signed(jti=None)), "malformed"),
        (answer(signed(jti=7)), "malformed"),
        (answer(signed(jti="")), "malformed"),
        (answer(signed(iss="https://other.example")), "issuer"),
        (answer(signed(iss=None)), "issuer"),
        (answer(signed(aud="https://other.example")), "audience"),
        (answer(signed(aud=None)), "audience"),
        (answer(signed(aud="https://as.example/")), "audience"),
        (answer(signed(aud=["https://as.example", "https://other.example"])), "audience"),
        (answer(signed(client_id="gw-elsewhere")), "client"),
        (answer(signed(client_id=None)), "client"),
        (answer(signed(client_id=["gw-there"])), "client"),
        (answer(signed(sub="mallory")), "user"),
        (answer(signed(sub=None)), "user"),
        (answer(signed(resource="https://mail.example")), "resource"),
        (answer(signed(resource=["https://crm.example", "https://mail.example"])), "resource"),
        (answer(signed(scope="crm.read admin")), "scope"),
        (answer(signed(), scope="crm.read admin"), "scope"),
        (answer(signed(scp=["crm.read", "admin"])), "scope"),
        (answer(signed(), scope=""), "scope"),
        (answer(signed(scope="")), "scope"),
        (answer(signed(scope=7)), "scope"),
        (answer(signed(exp=1)), "expired"),
        (answer(signed(exp=None)), "expired"),
        (answer(signed(exp="soon")), "expired"),
        (answer(signed(exp=True)), "expired"),
    ],
)
def test_each_fault_has_its_code_and_repeats_nothing_of_the_assertion(document: dict[str, Any], code: str):
    found = read_assertion(EXPECTED, document, NOW)

    assert isinstance(found, AssertionFault), found
    assert found.text.code == f"credential/assertion-{code}"
    assert not any(word in found.problem for word in ("mallory", "other.example", "elsewhere", "admin"))
