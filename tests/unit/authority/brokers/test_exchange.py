"""Token exchange against a server that may answer anything: the answer is never wider, and its end is never assumed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from gateway.authority.brokers.exchange import TokenExchangeBroker
from gateway.authority.model import Credential, Issued, NotEnded, Proof
from gateway.config.brokers import ExchangeBroker, ExchangeCredential
from gateway.model.errors import ConfigurationError
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import OAuthClient
from tests.unit.authority.brokers.asking import (
    AUDIENCE,
    UPSTREAM,
    issued,
    jwt_text,
    lease_of,
    lease_request,
    prepared,
    refused,
    values_shown,
)
from tests.unit.authority.brokers.hostile_issuer import Fault, HostileIssuer, hostile_issuer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.authority.model import BrokerRefusal, LeaseRequest

SECRET = "gateway-secret: with + and %"
HOUR = 3600


class Time:
    """The wall clock, which can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
async def server() -> AsyncGenerator[HostileIssuer]:
    async with hostile_issuer() as found:
        yield found


@pytest.fixture
def clock() -> Time:
    return Time()


_OPEN: list[TokenExchangeBroker] = []


@pytest.fixture(autouse=True)
async def _closing(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Close each broker of a test, and give the secret that they read."""
    monkeypatch.setenv("GATEWAY_SECRET", SECRET)
    yield
    while _OPEN:
        await _OPEN.pop().aclose()


def broker(
    server: HostileIssuer, clock: Time, *, upstream: dict[str, Any] | None = None, **settings: Any
) -> TokenExchangeBroker:
    given = {"kind": "exchange", "issuer": server.url, "client_id": "gw", "timeout": "2s"}
    authentication = {"client_auth": {"client_secret": "${GATEWAY_SECRET}"}}
    parsed = ExchangeBroker.model_validate({**given, **authentication, **settings})
    credential = ExchangeCredential.model_validate({"kind": "exchange", "broker": "idp", **(upstream or {})})
    client = OAuthClient(server.url, HttpsClient(seconds=parsed.timeout.total_seconds()), clock)
    _OPEN.append(TokenExchangeBroker("idp", parsed, {UPSTREAM: credential}, client, clock))
    return _OPEN[-1]


def caller(server: HostileIssuer, **claims: Any) -> str:
    return jwt_text({"iss": server.url, "sub": "ada", "aud": "gw", "exp": int(time.time()) + 600, **claims})


async def ask(issuer: TokenExchangeBroker, request: LeaseRequest) -> Issued | BrokerRefusal:
    return await issuer.issue(request, prepared(await issuer.prepare(request)))


def request_at(server: HostileIssuer, **changes: Any) -> LeaseRequest:
    given: dict[str, Any] = {"issuer": server.url, "subject": caller(server), **changes}
    return lease_request(**given)


# --- the request ---------------------------------------------------------------------------------------


async def test_a_token_is_exchanged_and_ended_with_a_proof(server: HostileIssuer, clock: Time):
    issuer, request = broker(server, clock), request_at(server)
    found = issued(await ask(issuer, request))
    assert found.credential == Credential(server.given[0])
    assert 50 < found.expires - request.asked <= 61
    assert (found.scope, issuer.revocable) == (("crm.read",), "at_once")
    proof = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(proof, Proof)
    assert (proof.kind, server.live) == ("introspection", {})
    assert server.paths() == ["/token", "/introspect", "/revoke", "/introspect"]


async def test_the_request_is_that_of_rfc_8693(server: HostileIssuer, clock: Time):
    request = request_at(server)
    issued(await ask(broker(server, clock, upstream={"resource": "https://crm.example/api"}), request))
    (_, form, authorization), *_ = [entry for entry in server.asked if entry[0] == "/token"]
    assert form == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": [request.subject_token],
        "subject_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "requested_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "resource": ["https://crm.example/api"],
        "scope": ["crm.read"],
    }
    # base64 of gw:gateway-secret%3A+with+%2B+and+%25, as RFC 6749 section 2.3.1 wants it.
    assert authorization == "Basic Z3c6Z2F0ZXdheS1zZWNyZXQlM0Erd2l0aCslMkIrYW5kKyUyNQ=="


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ECKey.generate_key("P-256"), "ES256"),
        (ECKey.generate_key("P-384"), "ES384"),
        (RSAKey.generate_key(2048), "RS256"),
    ],
)
async def test_a_key_proves_the_client_to_one_issuer(
    server: HostileIssuer, clock: Time, tmp_path: Path, key: ECKey | RSAKey, algorithm: str
):
    (tmp_path / "key.pem").write_bytes(key.as_pem(private=True))
    issuer = broker(server, clock, client_auth={"private_key_jwt": f"file:{tmp_path}/key.pem", "key_id": "k1"})
    issued(await ask(issuer, request_at(server)))
    (_, form, authorization), *_ = [entry for entry in server.asked if entry[0] == "/token"]
    assertion = jwt.decode(form["client_assertion"][0], key, algorithms=[algorithm])
    claims = assertion.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("gw", "gw", server.url)
    assert claims["exp"] - claims["iat"] <= 60
    assert assertion.header["kid"] == "k1"
    assert (authorization, form["client_assertion_type"]) == (
        "",
        ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
    )


def test_a_public_key_cannot_prove_a_client(server: HostileIssuer, clock: Time, tmp_path: Path):
    (tmp_path / "key.pem").write_bytes(ECKey.generate_key("P-256").as_pem(private=False))
    with pytest.raises(ConfigurationError, match="no private key"):
        broker(server, clock, client_auth={"private_key_jwt": f"file:{tmp_path}/key.pem"})


async def test_a_token_of_another_issuer_goes_nowhere(server: HostileIssuer, clock: Time):
    issuer = broker(server, clock)
    for request in (request_at(server, issuer="https://other.example"), request_at(server, subject=None)):
        refused(await issuer.prepare(request), "credential/subject")
        refused(await issuer.issue(request, {}), "credential/subject")
    assert server.asked == []


# --- an answer that is wider ---------------------------------------------------------------------------

WIDER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"scope": "crm.read crm.write"}, {}),
    ({"scope": ["crm.read", "crm.write"]}, {}),
    ({"scp": "crm.write"}, {}),
    ({"scope": {"crm.read": 1}}, {}),
    ({}, {"scope": "crm.read admin"}),
    ({"scope": "crm.read"}, {"scope": "crm.read crm.write"}),
    ({"aud": "https://other.example"}, {}),
    ({"aud": [AUDIENCE, "https://other.example"]}, {}),
    ({"aud": []}, {}),
    ({"aud": None}, {}),
    ({"aud": {AUDIENCE: 1}}, {}),
    ({"aud": f"{AUDIENCE}/"}, {}),
    ({"sub": "eve"}, {}),
    ({"sub": None}, {}),
    ({"sub": ["ada"]}, {}),
    ({"iss": "https://other.example"}, {}),
    ({"exp": int(time.time()) + HOUR}, {}),
    ({"exp": 2**70}, {}),
    ({"exp": "never"}, {"expires_in": None}),
    ({"exp": None}, {"expires_in": None}),
    ({}, {"expires_in": HOUR}),
    ({}, {"expires_in": 2**70}),
    ({}, {"expires_in": "60"}),
    ({"exp": True}, {}),
    ({}, {"refresh_token": "a-refresh-token"}),
    ({}, {"token_type": "DPoP"}),
    ({}, {"token_type": "N_A"}),
    ({}, {"token_type": None}),
    ({}, {"issued_token_type": None}),
    ({}, {"issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}),
    ({}, {"scope": ["crm.read"]}),
]


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(("claims", "answer"), WIDER)
async def test_a_wider_token_is_revoked_and_refused(
    server: HostileIssuer, clock: Time, claims: dict[str, Any], answer: dict[str, Any], *, opaque: bool
):
    server.claims, server.answer, server.opaque = claims, answer, opaque
    refusal = refused(await ask(broker(server, clock), request_at(server)), "credential/wider")
    assert server.live == {}
    assert "it was revoked" in refusal.reason.message
    assert not refusal.may_retry
    assert values_shown(server.given, refusal) == []


async def test_a_refresh_token_is_revoked_too(server: HostileIssuer, clock: Time):
    server.answer = {"refresh_token": "a-refresh-token"}
    refused(await ask(broker(server, clock), request_at(server)), "credential/wider")
    assert [form["token"][0] for path, form, _ in server.asked if path == "/revoke"] == [
        "a-refresh-token",
        server.given[0],
    ]


async def test_a_wider_token_that_stays_is_told_so(server: HostileIssuer, clock: Time):
    server.claims, server.revokes = {"scope": "admin"}, "pretends"
    refusal = refused(await ask(broker(server, clock), request_at(server)), "credential/wider")
    assert "is not proven to be revoked" in refusal.reason.message


async def test_a_scope_that_the_operator_knows_is_no_excess(server: HostileIssuer, clock: Time):
    server.claims = {"scope": "crm.read profile"}
    found = issued(await ask(broker(server, clock, extra_scopes=["profile"]), request_at(server)))
    assert found.scope == ("crm.read",)


async def test_a_narrower_token_is_taken_as_it_is(server: HostileIssuer, clock: Time):
    server.claims = {"scope": "crm.read"}
    request = request_at(server)
    wide = lease_request(
        issuer=server.url, subject=request.subject_token, scope=type(request.scope)(("crm.read", "crm.list"))
    )
    assert issued(await ask(broker(server, clock), wide)).scope == ("crm.read",)


@pytest.mark.parametrize("act", [None, {"sub": "agent-2"}, "agent-1", {"act": {"sub": "agent-1"}}])
async def test_the_actor_of_the_caller_is_not_lost(server: HostileIssuer, clock: Time, act: object):
    server.claims = {"act": act}
    request = request_at(server, subject=caller(server, act={"sub": "agent-1"}))
    refused(await ask(broker(server, clock), request), "credential/wider")
    server.claims = {"act": {"sub": "agent-1"}}
    issued(await ask(broker(server, clock), request))


async def test_the_actor_that_was_sent_is_in_the_token(server: HostileIssuer, clock: Time, tmp_path: Path):
    path = tmp_path / "svid.jwt"
    path.write_text(jwt_text({"sub": "spiffe://corp.example/gateway"}) + "\n")
    issuer = broker(server, clock, actor=str(path))
    refused(await ask(issuer, request_at(server)), "credential/wider")
    server.claims = {"act": {"sub": "spiffe://corp.example/gateway"}}
    issued(await ask(issuer, request_at(server)))
    form = [form for endpoint, form, _ in server.asked if endpoint == "/token"][-1]
    assert (form["actor_token"], form["actor_token_type"]) == (
        [path.read_text().strip()],
        ["urn:ietf:params:oauth:token-type:jwt"],
    )
    path.write_text("no token")
    refused(await ask(issuer, request_at(server)), "credential/actor")
    path.unlink()
    refused(await ask(issuer, request_at(server)), "credential/actor")


async def test_another_claim_may_say_who_the_user_is(server: HostileIssuer, clock: Time):
    """Some servers give each client another `sub` for the same user."""
    server.claims = {"sub": "pairwise-1", "oid": "0b5"}
    issuer = broker(server, clock, user_claim="oid")
    issued(await ask(issuer, request_at(server, subject=caller(server, oid="0b5"))))
    refused(await ask(issuer, request_at(server, subject=caller(server, oid="1c6"))), "credential/wider")


async def test_an_opaque_token_has_the_claims_of_its_introspection(server: HostileIssuer, clock: Time):
    server.opaque = True
    issuer, request = broker(server, clock), request_at(server)
    found = issued(await ask(issuer, request))
    assert isinstance(await issuer.end(lease_of(request, found.handle), found.credential), Proof)


@pytest.mark.parametrize("introspects", ["inactive", "nothing"])
async def test_an_opaque_token_that_nobody_describes_is_refused(server: HostileIssuer, clock: Time, introspects: Any):
    server.opaque, server.introspects = True, introspects
    refused(await ask(broker(server, clock), request_at(server)), "credential/wider")


# --- an issuer that misbehaves -------------------------------------------------------------------------


async def test_a_denial_of_the_issuer_is_certain_and_any_other_failure_is_not(server: HostileIssuer, clock: Time):
    found: dict[str, bool] = {}
    for fault, _, _ in FAULTS:
        server.faults["/token"] = fault
        outcome = await ask(broker(server, clock, timeout="300ms"), request_at(server))
        assert not isinstance(outcome, Issued)
        found[fault] = outcome.is_certain
    assert {fault for fault, is_certain in found.items() if is_certain} == {"error"}


FAULTS: list[tuple[Fault, str, bool]] = [
    ("redirect", "credential/refused", False),
    ("large", "credential/unavailable", True),
    ("slow", "credential/unavailable", True),
    ("drip", "credential/unavailable", True),
    ("reset", "credential/unavailable", True),
    ("gzip", "credential/unavailable", True),
    ("busy", "credential/unavailable", True),
    ("html", "credential/malformed", False),
    ("list", "credential/malformed", False),
    ("bomb", "credential/malformed", False),
    ("error", "credential/refused", False),
]


@pytest.mark.parametrize(("fault", "code", "may_retry"), FAULTS)
async def test_a_fault_of_the_token_endpoint_is_a_refusal(
    server: HostileIssuer, clock: Time, fault: Fault, code: str, *, may_retry: bool
):
    server.faults["/token"] = fault
    request = request_at(server)
    refusal = refused(await ask(broker(server, clock, timeout="300ms"), request), code)
    assert refusal.may_retry is may_retry
    assert "/elsewhere" not in server.paths()
    assert values_shown([request.subject_token or "", SECRET, "quotes the subject"], refusal) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://idp.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "http://idp.example/token"},
        {"token_endpoint": "file:///token"},
        {"token_endpoint": ["http://127.0.0.1/token"]},
    ],
)
async def test_metadata_that_does_not_fit_is_not_used(server: HostileIssuer, clock: Time, metadata: dict[str, Any]):
    server.metadata = metadata
    refused(await ask(broker(server, clock), request_at(server)), "credential/unavailable")
    assert server.paths() == []


async def test_metadata_is_read_again_after_five_minutes(server: HostileIssuer, clock: Time):
    issuer = broker(server, clock)
    for ahead in (0.0, 10.0, 301.0):
        clock.ahead = ahead
        await issuer.issue(request_at(server), {})
    assert len([path for path, _, _ in server.asked if ".well-known" in path]) == 2


# --- the end -------------------------------------------------------------------------------------------


async def test_a_revocation_that_changes_nothing_is_no_end(server: HostileIssuer, clock: Time):
    issuer, request = broker(server, clock), request_at(server)
    found = issued(await ask(issuer, request))
    server.revokes = "pretends"
    outcome = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    assert "still calls the token active" in outcome.problem
    server.revokes = "yes"
    assert isinstance(await issuer.end(lease_of(request, found.handle), found.credential), Proof)
    assert isinstance(await issuer.end(lease_of(request, found.handle), found.credential), Proof)


async def test_an_issuer_that_calls_all_tokens_inactive_proves_nothing(server: HostileIssuer, clock: Time):
    """As Keycloak 26.7 does for a client that is not in the token's audience (RFC 7662 section 2.2)."""
    server.introspects = "inactive"
    issuer, request = broker(server, clock), request_at(server)
    found = issued(await ask(issuer, request))
    assert issuer.revocable == "after_ttl"
    outcome = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    assert 60 < outcome.after <= 90
    assert server.live == {}, "it is revoked all the same"
    clock.ahead = 91
    proof = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(proof, Proof)
    assert proof.kind == "time"


async def test_a_second_client_may_introspect(server: HostileIssuer, clock: Time):
    proving = {"client_id": "gw-proof", "client_auth": {"client_secret": "${GATEWAY_SECRET}"}}
    issuer, request = broker(server, clock, introspect_as=proving), request_at(server)
    found = issued(await ask(issuer, request))
    asked = {path: (form, authorization) for path, form, authorization in server.asked}
    assert asked["/token"][0]["audience"] == [AUDIENCE, "gw-proof"]
    assert asked["/token"][1] != asked["/introspect"][1]
    assert isinstance(await issuer.end(lease_of(request, found.handle), found.credential), Proof)
    server.claims = {"aud": "gw-proof"}
    refused(await ask(issuer, request), "credential/wider")


async def test_a_token_that_cannot_be_revoked_lives_five_minutes_at_most(server: HostileIssuer, clock: Time):
    server.revokes = "unsupported"
    server.faults["/introspect"] = "error"
    issuer, request = broker(server, clock, max_life="1h"), request_at(server)
    found = issued(await ask(issuer, request))
    assert issuer.revocable == "after_ttl"
    outcome = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    server.claims = {"exp": int(time.time()) + 400}
    refused(await ask(issuer, request), "credential/wider")


@pytest.mark.parametrize("mode", ["none", "blind"])
async def test_without_a_proof_only_time_ends_a_token(server: HostileIssuer, clock: Time, mode: str):
    issuer, request = broker(server, clock, revoke=mode), request_at(server)
    found = issued(await ask(issuer, request))
    assert issuer.revocable == "after_ttl"
    outcome = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    assert outcome.waits, "nothing has failed"
    assert ("/revoke" in server.paths()) == (mode == "blind")
    clock.ahead = 91
    assert isinstance(await issuer.end(lease_of(request, found.handle), found.credential), Proof)


@pytest.mark.parametrize("fault", ["redirect", "large", "slow", "drip", "html", "reset", "gzip", "error", "list"])
@pytest.mark.parametrize("endpoint", ["/revoke", "/introspect"])
async def test_a_fault_at_the_end_is_no_end(server: HostileIssuer, clock: Time, endpoint: str, fault: Fault):
    issuer, request = broker(server, clock, timeout="300ms"), request_at(server)
    found = issued(await ask(issuer, request))
    if (endpoint, fault) in {("/revoke", "html"), ("/revoke", "list")}:
        server.revokes = "pretends"
    server.faults[endpoint] = fault
    outcome = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    assert values_shown([found.credential.value, SECRET], outcome) == []
    server.faults.clear()
    server.revokes = "yes"
    assert isinstance(await issuer.end(lease_of(request, found.handle), found.credential), Proof)


async def test_a_busy_issuer_says_when_to_ask_again(server: HostileIssuer, clock: Time):
    issuer, request = broker(server, clock), request_at(server)
    found = issued(await ask(issuer, request))
    server.faults["/revoke"] = "busy"
    outcome = await issuer.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    assert (outcome.after, outcome.waits, "503" in outcome.problem) == (7.0, False, True)


async def test_a_lost_value_ends_with_its_time(server: HostileIssuer, clock: Time):
    """After a crash between the request and its answer only `prepared` is known: the longest life."""
    issuer, request = broker(server, clock), request_at(server)
    handle = prepared(await issuer.prepare(request))
    outcome = await issuer.end(lease_of(request, handle, cause="restart"), None)
    assert isinstance(outcome, NotEnded)
    assert 300 < outcome.after <= 300 + 3 * 30
    clock.ahead = outcome.after + 1
    assert isinstance(await issuer.end(lease_of(request, handle, cause="restart"), None), Proof)
    assert server.asked == []


async def test_a_request_that_was_never_prepared_has_nothing_to_end(server: HostileIssuer, clock: Time):
    """After a kill before `prepare` was done, the handle is empty: the issuer was not asked for a token."""
    outcome = await broker(server, clock).end(lease_of(request_at(server), {}, cause="restart"), None)
    assert isinstance(outcome, Proof)
    assert (outcome.kind, server.paths()) == ("absent", [])


async def test_no_value_is_in_a_handle_or_a_repr(server: HostileIssuer, clock: Time):
    issuer, request = broker(server, clock), request_at(server)
    handle = prepared(await issuer.prepare(request))
    found = issued(await issuer.issue(request, handle))
    secrets = [*server.given, request.subject_token or "", SECRET]
    assert values_shown(secrets, handle, found, found.handle, request, issuer, vars(issuer)) == []
    assert values_shown(secrets, found.credential.value), "the search finds what is there"
