from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet
from msgspec import structs

from gateway.authority.minting import MAX_TOKEN, Mint, MintedToken, bind_call
from gateway.authority.model import BrokerRefusal, LeaseRequest, Scope
from gateway.base.json import canonical
from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.history.tasks.tokens import TaskTokens
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.task import Task
from tests import effort
from tests.unit.live import live_values

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

ISSUER = "https://gateway.example"
AUDIENCE = "https://tickets.example"
IDP = "https://idp.example"
ARGUMENTS = {"ticket": "T-1", "resolution": "done"}
CLOSE = bind_call(
    "tools/call", {"name": "close_ticket", "arguments": ARGUMENTS, "_meta": {}}, decision="d-1", policy="shipped@1"
)


def claims_of(token: MintedToken | BrokerRefusal, mint: Mint) -> dict[str, Any]:
    """Return the claims as an independent library reads them with the published keys."""
    assert isinstance(token, MintedToken)
    read = jwt.decode(token.value, KeySet.import_key_set(mint.jwks()), algorithms=["ES256"])  # pyright: ignore[reportArgumentType]
    assert read.header["typ"] == "at+jwt"
    return read.claims


def narrowed(request: LeaseRequest, *details: dict[str, Any]) -> LeaseRequest:
    return structs.replace(request, scope=Scope(("tickets:write",), details))


def test_a_token_of_a_call_names_the_call_and_nothing_more(mint: Mint, request_: LeaseRequest):
    claims = claims_of(mint.mint_call(request_, CLOSE, jti="j-1", now=1000.2), mint)

    assert claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "sub_id": {"format": "iss_sub", "iss": IDP, "sub": "ann"},
        "client_id": "agent",
        "act": {"sub": "agent", "iss": IDP, "act": {"sub": "planner"}},
        "iat": 1000,
        "exp": 1060,
        "jti": "j-1",
        "scope": "tickets:read tickets:write",
        "task": "task-1",
        "authorization_details": [
            {
                "type": "io.opagate.call",
                "locations": [AUDIENCE],
                "method": "tools/call",
                "actions": ["close_ticket"],
                "identifier": "tickets/close_ticket",
                "arguments_digest": canonical.digest(ARGUMENTS),
                "decision": "d-1",
                "policy": "shipped@1",
            }
        ],
    }


def test_the_gateway_keeps_the_facts_of_a_token_and_shows_no_value(mint: Mint, request_: LeaseRequest):
    token = mint.mint_call(request_, CLOSE, jti="j-1", now=1000.2)

    assert isinstance(token, MintedToken)
    assert (token.jti, token.audience, token.expires, token.task) == ("j-1", AUDIENCE, 1060.0, "task-1")
    assert token.owner == request_.principal.key
    assert token.credential.value == token.value
    assert token.value not in repr(token)


@pytest.mark.parametrize(
    ("principal", "sub", "act"),
    [
        (Principal("job", IDP, AuthMethod.JWT), "job", None),
        (Principal("agent", IDP, AuthMethod.JWT, user=User("ann")), "ann", {"sub": "agent", "iss": IDP}),
        (
            Principal("agent", IDP, AuthMethod.JWT, user=User("ann"), delegation=(Actor("agent", None),)),
            "ann",
            {"sub": "agent"},
        ),
    ],
    ids=["an agent for itself", "a client for a user", "a chain of one"],
)
def test_the_subject_is_the_user_and_the_actor_the_agent(
    mint: Mint, request_: LeaseRequest, principal: Principal, sub: str, act: object
):
    token = mint.mint_task(structs.replace(request_, principal=principal), jti="j", now=1000)
    claims = claims_of(token, mint)

    assert (claims["sub"], claims["client_id"], claims.get("act")) == (sub, principal.id, act)


def test_users_of_two_issuers_with_one_name_are_told_apart(mint: Mint, request_: LeaseRequest):
    other = Principal("agent", "https://other.example", AuthMethod.JWT, user=User("ann"))

    one, two = (
        claims_of(mint.mint_task(each, jti="j", now=1000), mint)
        for each in (request_, structs.replace(request_, principal=other))
    )

    assert one["sub"] == two["sub"]
    assert one["sub_id"] != two["sub_id"]


def test_a_token_of_a_task_permits_calls_only_if_it_may_call(mint: Mint, request_: LeaseRequest):
    may, may_not = (
        claims_of(mint.mint_task(request_, jti="j", now=1000, may_call=calls), mint) for calls in (True, False)
    )

    assert may["authorization_details"] == [{"type": "io.opagate.call", "locations": [AUDIENCE]}]
    assert "authorization_details" not in may_not
    assert may["task"] == may_not["task"] == "task-1"


def test_the_listing_of_the_catalogue_is_by_the_gateway_itself(mint: Mint):
    token = mint.mint_catalogue(AUDIENCE, ("tickets:read",), jti="j", now=1000, expires=1030)
    claims = claims_of(token, mint)

    assert (claims["sub"], claims["client_id"], claims["scope"]) == (ISSUER, ISSUER, "tickets:read")
    assert claims.keys() & {"act", "task", "authorization_details"} == set()
    assert (token.task, token.owner) == (None, None)


def test_policy_narrows_the_calls_of_a_task(mint: Mint, request_: LeaseRequest):
    detail = {"type": "io.opagate.call", "actions": ["read_ticket"]}
    request = narrowed(request_, detail, {"type": "payment", "amount": 3})

    assert claims_of(mint.mint_task(request, jti="j", now=1000), mint)["authorization_details"] == [
        detail,
        {"type": "payment", "amount": 3},
    ]
    refused = mint.mint_call(request, CLOSE, jti="j", now=1000)
    assert isinstance(refused, BrokerRefusal)
    assert refused.code == "credential/details"


def test_policy_cannot_say_the_digest_of_a_call(mint: Mint, request_: LeaseRequest):
    forged = {"type": "io.opagate.call", "actions": ["close_ticket"], "arguments_digest": "sha256:00"}
    request = narrowed(request_, forged)

    for_task = claims_of(mint.mint_task(request, jti="j", now=1000), mint)["authorization_details"]
    for_call = claims_of(mint.mint_call(request, CLOSE, jti="j", now=1000), mint)["authorization_details"]

    assert for_task == [{"type": "io.opagate.call", "actions": ["close_ticket"]}]
    assert [detail["arguments_digest"] for detail in for_call] == [CLOSE.arguments_digest]


@pytest.mark.parametrize(
    ("detail", "permits"),
    [
        ({"type": "io.opagate.call"}, True),
        ({"type": "io.opagate.call", "actions": ["close_ticket"], "locations": [AUDIENCE]}, True),
        ({"type": "io.opagate.call", "actions": ["close_ticket"], "locations": ["https://mail.example"]}, False),
        ({"type": "io.opagate.call", "actions": []}, False),
        ({"type": "io.opagate.call", "actions": "close_ticket"}, False),
        ({"type": "io.opagate.call", "actions": None}, False),
    ],
)
def test_a_call_that_policy_does_not_name_gets_no_token(
    mint: Mint, request_: LeaseRequest, detail: dict[str, Any], *, permits: bool
):
    token = mint.mint_call(narrowed(request_, detail), CLOSE, jti="j", now=1000)

    assert isinstance(token, MintedToken) is permits


def test_a_token_too_long_for_a_request_head_is_refused(mint: Mint, request_: LeaseRequest):
    long = structs.replace(request_, scope=Scope(tuple(f"scope-{number:04}" for number in range(MAX_TOKEN // 11))))

    refused = mint.mint_task(long, jti="j", now=1000)

    assert isinstance(refused, BrokerRefusal)
    assert refused.code == "credential/size"


def test_a_token_never_outlives_its_request(mint: Mint, request_: LeaseRequest):
    token = mint.mint_task(request_, jti="j", now=1000.2)

    assert isinstance(token, MintedToken)
    assert token.expires <= request_.expires


@pytest.mark.parametrize(
    ("params", "same"),
    [
        ({"name": "close_ticket", "arguments": {"resolution": "done", "ticket": "T-1"}}, True),
        ({"name": "close_ticket", "arguments": ARGUMENTS, "_meta": {"progressToken": 1}}, True),
        ({"name": "open_ticket", "arguments": ARGUMENTS}, False),
        ({"name": "close_ticket", "arguments": {**ARGUMENTS, "ticket": "T-2"}}, False),
        ({"name": "close_ticket", "arguments": {**ARGUMENTS, "more": None}}, False),
        ({"name": "close_ticket", "arguments": ARGUMENTS, "inputResponses": {"a": {"action": "accept"}}}, False),
        ({"name": "close_ticket", "arguments": ARGUMENTS, "requestState": "s"}, False),
        ({"name": "close_ticket"}, False),
    ],
)
def test_a_binding_is_of_all_that_the_upstream_executes(params: JsonObject, *, same: bool):
    assert (bind_call("tools/call", params, decision="d-1", policy="shipped@1") == CLOSE) is same


def test_absent_arguments_are_no_arguments():
    written: tuple[JsonObject, ...] = (
        {"name": "list"},
        {"name": "list", "arguments": None},
        {"name": "list", "arguments": {}},
    )
    absent, null, empty = (bind_call("tools/call", params, decision="d", policy="p") for params in written)

    assert absent == null == empty


def test_a_method_without_tools_is_bound_by_all_its_params():
    read = bind_call("resources/read", {"uri": "file:///a", "_meta": {}}, decision="d", policy="p")

    assert (read.action, read.params_digest) == ("resources/read", None)
    assert read.arguments_digest == canonical.digest({"uri": "file:///a"})


# --- keys ------------------------------------------------------------------------------------------


def test_the_published_keys_have_no_private_part(mint: Mint, key: ECKey):
    (published,) = cast("list[dict[str, str]]", mint.jwks()["keys"])

    assert published.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert published["kid"] == key.thumbprint()


def test_a_task_token_is_no_access_token_and_an_access_token_no_task_token(
    mint: Mint, tokens_key: ECKey, request_: LeaseRequest
):
    tasks = TaskTokens(KeyRing(SigningKey(tokens_key)), base_url=ISSUER, live=live_values())
    task_token = tasks.issue(request_.principal, Task("task-1", "declared", 1000, 2000), 1000)
    access_token = mint.mint_task(request_, jti="task-1", now=1000)
    assert isinstance(access_token, MintedToken)

    with pytest.raises(BadSignatureError):
        jwt.decode(task_token, KeySet.import_key_set(mint.jwks()).keys[0], algorithms=["ES256"])  # pyright: ignore[reportArgumentType]
    assert tasks.task_of(access_token.value, request_.principal, 1001) != "task-1"


def test_one_key_for_both_kinds_would_still_tell_them_apart(tokens_key: ECKey, request_: LeaseRequest):
    """The type separates the kinds even where an operator gives both one key (RFC 8725 section 3.11)."""
    token = Mint(KeyRing(SigningKey(tokens_key)), ISSUER).mint_task(request_, jti="task-1", now=1000)
    assert isinstance(token, MintedToken)

    assert (
        TaskTokens(KeyRing(SigningKey(tokens_key)), base_url=ISSUER, live=live_values()).task_of(
            token.value, request_.principal, 1001
        )
        != "task-1"
    )


def test_a_call_costs_little_time(mint: Mint, request_: LeaseRequest):
    """Issue 14 point 10: at most 60 µs of CPU. The bound here is wide."""
    params = {"name": "send", "arguments": {"to": ["a@b.example"], "subject": "Hello", "body": "x" * 400, "n": 3}}

    with effort.at_most(300 * 0.000_5):
        for number in range(300):
            call = bind_call("tools/call", params, decision="d", policy="p")
            mint.mint_call(request_, call, jti=f"j-{number}", now=1000)
