"""Acceptance test 2: a token is of its call and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey

from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.history.tasks.tokens import TaskTokens
from gateway.model.task import Task
from opagate.verify import Caller, Refusal, UsedTokens, Verifier
from tests.minted import AUDIENCE, DELEGATE, IDP, ISSUER, NOW, Minter, decoded, encoded, message, sign, sign_hs256
from tests.unit.live import live_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import JsonObject

CALL = message()


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def minter() -> Minter:
    return Minter()


@pytest.fixture
def verifier(minter: Minter, clock: Clock) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, jwks=minter.mint.jwks(), clock=clock)


async def code(verifier: Verifier, token: str, body: bytes = CALL) -> str:
    """Return the code of the refusal, or `accepted`."""
    found = await verifier.verify(token, body)
    return found.code if isinstance(found, Refusal) else "accepted"


async def test_the_call_of_the_token_is_accepted(verifier: Verifier, minter: Minter):
    caller = await verifier.verify(minter.call(CALL), CALL)

    assert isinstance(caller, Caller)
    assert (caller.subject, caller.subject_issuer, caller.agent) == ("ann", IDP, "agent")
    assert (caller.task, caller.scopes) == ("task-1", {"tickets:write"})


@pytest.mark.parametrize(
    "params",
    [
        {"name": "close_ticket", "arguments": {"ticket": "T-2", "n": 1}},
        {"name": "close_ticket", "arguments": {"ticket": "T-1", "n": 2}},
        {"name": "close_ticket", "arguments": {"ticket": "T-1", "n": "1"}},
        {"name": "close_ticket", "arguments": {"ticket": "T-1", "n": True}},
        {"name": "close_ticket", "arguments": {"ticket": "T-1"}},
        {"name": "close_ticket", "arguments": {"ticket": "T-1", "n": 1, "x": None}},
        {"name": "close_ticket", "arguments": {}},
        {"name": "close_ticket", "arguments": None},
        {"name": "close_ticket", "arguments": []},
        {"name": "close_ticket"},
        {"name": "open_ticket", "arguments": {"ticket": "T-1", "n": 1}},
        {"name": ["close_ticket"], "arguments": {"ticket": "T-1", "n": 1}},
        {"arguments": {"ticket": "T-1", "n": 1}},
        {
            "name": "close_ticket",
            "arguments": {"ticket": "T-1", "n": 1},
            "inputResponses": {"sure": {"action": "accept"}},
        },
        {"name": "close_ticket", "arguments": {"ticket": "T-1", "n": 1}, "task": {"ttl": 1}},
        {},
    ],
)
async def test_another_call_is_refused_and_does_not_use_up_the_token(
    verifier: Verifier, minter: Minter, params: JsonObject
):
    token = minter.call(CALL)

    assert await code(verifier, token, message(params=params)) == "call/other"
    assert await code(verifier, token) == "accepted"


@pytest.mark.parametrize(
    "method", ["prompts/get", "resources/read", "tools/list", "initialize", "tools/Call", "no/such"]
)
async def test_another_method_is_refused(verifier: Verifier, minter: Minter, method: str):
    assert await code(verifier, minter.call(CALL), message(method)) == "call/other"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "file:///a"}),
        ("prompts/get", {"name": "p", "arguments": {"a": "b"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}),
    ],
)
async def test_calls_without_tools_are_bound_by_all_their_params(
    verifier: Verifier, minter: Minter, method: str, params: JsonObject
):
    body = message(method, params)
    token = minter.call(body)

    assert await code(verifier, token, message(method, {**params, "more": 1})) == "call/other"
    assert await code(verifier, token, message("tools/call", params)) == "call/other"
    assert await code(verifier, token, message(method, {**params, "_meta": {"progressToken": 7}})) == "accepted"


async def test_a_tool_named_like_a_method_is_another_call(verifier: Verifier, minter: Minter):
    read = minter.call(message("resources/read", {"uri": "a"}))

    assert (
        await code(verifier, read, message(params={"name": "resources/read", "arguments": {"uri": "a"}}))
        == "call/other"
    )


async def test_input_responses_are_part_of_the_call(verifier: Verifier, minter: Minter):
    body = message(params={"name": "x", "arguments": {}, "inputResponses": {"sure": {"action": "accept"}}})
    other = message(params={"name": "x", "arguments": {}, "inputResponses": {"sure": {"action": "decline"}}})
    token = minter.call(body)

    assert await code(verifier, token, other) == "call/other"
    assert await code(verifier, token, message(params={"name": "x", "arguments": {}})) == "call/other"
    assert await code(verifier, token, body) == "accepted"


# --- one use ---------------------------------------------------------------------------------------


async def test_a_token_of_a_call_is_used_once(verifier: Verifier, minter: Minter):
    token = minter.call(CALL)

    assert [await code(verifier, token) for _ in range(3)] == ["accepted", "token/used", "token/used"]


async def test_another_signature_over_the_same_token_is_the_same_token(verifier: Verifier, minter: Minter):
    token = minter.call(CALL)
    again = minter.forge(token)

    assert again != token
    assert [await code(verifier, each) for each in (token, again)] == ["accepted", "token/used"]


async def test_a_token_is_refused_by_a_server_that_started_after_it(minter: Minter, clock: Clock):
    token = minter.call(CALL)
    clock.now += 2

    assert await code(Verifier(ISSUER, AUDIENCE, jwks=minter.mint.jwks(), clock=clock), token) == "token/used"


async def test_a_used_token_stays_used_when_the_clock_jumps(verifier: Verifier, minter: Minter, clock: Clock):
    token = minter.call(CALL)
    assert await code(verifier, token) == "accepted"
    clock.now += 3_600
    assert await code(verifier, token) == "token/expired"
    later = minter.forge(minter.call(CALL), claims={"iat": int(clock.now), "exp": int(clock.now) + 60})
    assert await code(verifier, later) == "accepted"
    clock.now -= 3_600

    assert await code(verifier, token) == "token/used"


def test_a_full_memory_refuses_and_forgets_nothing():
    used = UsedTokens(capacity=2)

    assert [used.use(jti, 100, 0) for jti in ("a", "b", "c", "a")] == ["fresh", "fresh", "full", "used"]
    assert used.use("c", 200, 100) == "fresh"
    assert len(used._used) == len(used._order) == 1


async def test_a_full_memory_answers_for_a_while_with_503(minter: Minter, clock: Clock):
    verifier = Verifier(ISSUER, AUDIENCE, jwks=minter.mint.jwks(), clock=clock, used=UsedTokens(capacity=0))
    refused = await verifier.verify(minter.call(CALL), CALL)

    assert isinstance(refused, Refusal)
    assert (refused.code, refused.status) == ("token/room", 503)


# --- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"), [(-31, "token/expired"), (-30, "accepted"), (89.9, "accepted"), (90, "token/expired")]
)
async def test_a_token_is_good_for_its_life_and_30_seconds_of_skew(
    verifier: Verifier, minter: Minter, clock: Clock, after: float, expected: str
):
    token = minter.call(CALL, ttl=60)
    clock.now = NOW + after

    assert await code(verifier, token) == expected


# --- forgery ---------------------------------------------------------------------------------------


def _none(_minter: Minter, token: str) -> str:
    head = encoded(b'{"alg":"none","typ":"at+jwt","kid":"x"}')
    return f"{head}.{token.split('.')[1]}."


def _hs256(token: str, secret: bytes, alg: str = "HS256") -> str:
    head, claims = (decoded(part) for part in token.split(".")[:2])
    return sign_hs256({**head, "alg": alg}, claims, secret)


FORGERIES: dict[str, tuple[Callable[[Minter, str], str], str]] = {
    "typ JWT": (lambda m, t: m.forge(t, {"typ": "JWT"}), "token/type"),
    "typ of task tokens": (lambda m, t: m.forge(t, {"typ": "opagate-task+jwt"}), "token/type"),
    "no typ": (
        lambda m, t: sign({"alg": "ES256", "kid": m.key.thumbprint()}, decoded(t.split(".")[1]), m.key),
        "token/algorithm",
    ),
    "alg none": (_none, "token/algorithm"),
    "HS256 with the public key in PEM": (lambda m, t: _hs256(t, m.key.as_pem(private=False)), "token/algorithm"),
    "HS256 with the public key in DER": (lambda m, t: _hs256(t, m.key.as_der(private=False)), "token/algorithm"),
    "HMAC under alg ES256": (
        lambda m, t: _hs256(t, m.key.as_pem(private=False), "ES256"),
        "token/signature",
    ),
    "ES384": (lambda m, t: m.forge(t, {"alg": "ES384"}), "token/algorithm"),
    "alg in a list": (lambda m, t: m.forge(t, {"alg": ["ES256"]}), "token/algorithm"),
    "a foreign kid": (lambda m, t: m.forge(t, {"kid": "other"}), "token/signature"),
    "another key under our kid": (lambda m, t: m.forge(t, key=ECKey.generate_key("P-256")), "token/signature"),
    "a key in the header": (lambda m, t: m.forge(t, {"jwk": dict(m.key.as_dict(private=False))}), "token/algorithm"),
    "a key by address": (lambda m, t: m.forge(t, {"jku": "https://evil.example"}), "token/algorithm"),
    "crit": (lambda m, t: m.forge(t, {"crit": ["b64"], "b64": False}), "token/algorithm"),
    "another issuer": (lambda m, t: m.forge(t, claims={"iss": "https://evil.example"}), "token/issuer"),
    "an issuer with a slash": (lambda m, t: m.forge(t, claims={"iss": ISSUER + "/"}), "token/issuer"),
    "another audience": (lambda m, t: m.forge(t, claims={"aud": "https://mail.example"}), "token/audience"),
    "two audiences": (lambda m, t: m.forge(t, claims={"aud": [AUDIENCE, "https://mail.example"]}), "token/audience"),
    "no jti": (lambda m, t: m.forge(t, claims={"jti": None}), "token/malformed"),
    "exp as text": (lambda m, t: m.forge(t, claims={"exp": "9999999999"}), "token/malformed"),
    "exp as a truth value": (lambda m, t: m.forge(t, claims={"exp": True}), "token/malformed"),
    "no iat": (lambda m, t: m.forge(t, claims={"iat": None}), "token/malformed"),
    "details as an object": (lambda m, t: m.forge(t, claims={"authorization_details": {}}), "token/malformed"),
    "details of texts": (lambda m, t: m.forge(t, claims={"authorization_details": ["x"]}), "token/malformed"),
    "a claim twice": (
        lambda m, t: sign(decoded(t.split(".")[0]), b'{"iss":"a","iss":"b"}', m.key),
        "token/malformed",
    ),
    "claims in a list": (lambda m, t: sign(decoded(t.split(".")[0]), b"[]", m.key), "token/malformed"),
    "an empty signature": (lambda m, t: t.rpartition(".")[0] + ".", "token/signature"),
    "a signature of zeros": (lambda m, t: t.rpartition(".")[0] + "." + encoded(bytes(64)), "token/signature"),
    "a signature in DER": (
        lambda m, t: t.rpartition(".")[0] + "." + encoded(b"\x30\x06\x02\x01\x01\x02\x01\x01"),
        "token/signature",
    ),
    "padding": (lambda m, t: t + "=", "token/malformed"),
    "four parts": (lambda m, t: t + ".x", "token/malformed"),
    "letters beyond ASCII": (lambda m, t: "é" + t, "token/malformed"),
    "blanks": (lambda m, t: t.replace(".", ". "), "token/malformed"),
    "too long": (lambda m, t: "A" * 20_000 + t, "token/malformed"),
    "nothing": (lambda m, t: "", "token/malformed"),
    "deep nesting": (lambda m, t: sign(decoded(t.split(".")[0]), b"[" * 9_000, m.key), "token/malformed"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_refused(verifier: Verifier, minter: Minter, name: str):
    forge, expected = FORGERIES[name]

    assert await code(verifier, forge(minter, minter.call(CALL))) == expected
    assert await code(verifier, minter.forge(minter.call(CALL))) == "accepted"


async def test_each_changed_character_is_noticed(verifier: Verifier, minter: Minter):
    token = minter.call(CALL)

    for place in range(0, len(token), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert await code(verifier, changed) != "accepted", place


async def test_a_task_token_of_an_agent_is_no_access_token_even_under_one_key(minter: Minter, clock: Clock):
    token = TaskTokens(KeyRing(SigningKey(minter.key)), base_url=ISSUER, live=live_values()).issue(
        DELEGATE, Task("t", "declared", NOW, NOW + 600), NOW
    )
    verifier = Verifier(ISSUER, f"{ISSUER}/mcp", jwks=minter.mint.jwks(), clock=clock, bind="task")

    assert await code(verifier, token) == "token/type"


# --- tokens of a task ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [message("tools/list", {}), message("initialize", {}), b"", b'{"jsonrpc":"2.0","id":1,"result":{}}']
)
async def test_a_token_of_a_task_is_for_its_messages(verifier: Verifier, minter: Minter, body: bytes):
    token = minter.task(may_call=False)

    assert [await code(verifier, token, body) for _ in range(2)] == ["accepted", "accepted"]


@pytest.mark.parametrize("may_call", [True, False])
async def test_where_calls_are_bound_no_token_of_a_task_calls(verifier: Verifier, minter: Minter, *, may_call: bool):
    assert await code(verifier, minter.task(may_call=may_call)) == "call/unbound"


async def test_a_method_of_tomorrow_is_a_call(verifier: Verifier, minter: Minter):
    assert await code(verifier, minter.task(), message("tools/execute")) == "call/unbound"


async def test_where_tasks_are_bound_a_token_calls_within_its_details(minter: Minter, clock: Clock):
    verifier = Verifier(ISSUER, AUDIENCE, jwks=minter.mint.jwks(), clock=clock, bind="task")
    details: list[dict[str, Any]] = [
        {"type": "io.opagate.call", "actions": ["close_ticket"]},
        {"type": "io.opagate.call", "actions": ["read_ticket"]},
        {"type": "io.opagate.call", "actions": "close_ticket or more"},
        {"type": "io.opagate.call", "locations": ["https://mail.example"]},
    ]

    assert [await code(verifier, minter.task()) for _ in range(2)] == ["accepted", "accepted"]
    assert await code(verifier, minter.task(may_call=False)) == "call/unbound"
    assert await code(verifier, minter.call(CALL)) == "accepted"
    assert [await code(verifier, minter.task(60, each)) for each in details] == ["accepted", *["call/unbound"] * 3]


async def test_a_token_with_two_digests_is_bound_to_neither(verifier: Verifier, minter: Minter):
    token = minter.call(CALL)
    (detail,) = decoded(token.split(".")[1])["authorization_details"]
    both = minter.forge(token, claims={"authorization_details": [detail, {**detail, "arguments_digest": "sha256:0"}]})

    assert await code(verifier, both) == "call/other"


# --- the body --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[" + CALL + b"]", "request/batch"),
        (b'"text"', "request/batch"),
        (CALL.replace(b'"ticket": "T-1"', b'"ticket": "T-2", "ticket": "T-1"'), "request/json"),
        (CALL.replace(b'"method"', b'"method": "tools/list", "method"'), "request/json"),
        (CALL.replace(b'"n": 1', b'"n": NaN'), "request/json"),
        (CALL.replace(b'"n": 1', b'"n": 1e400'), "request/json"),
        (CALL.replace(b'"n": 1', b'"n": 1e-400'), "request/json"),
        (CALL.replace(b"T-1", b"\\ud800"), "request/json"),
        (CALL.replace(b"T-1", b"\xff"), "request/json"),
        (b"\xef\xbb\xbf" + CALL, "request/json"),
        (CALL.decode().encode("utf-16"), "request/json"),
        (CALL + b"{}", "request/json"),
        (CALL[:-1], "request/json"),
        (b"[" * 100_000, "request/json"),
        (CALL.replace(b'"tools/call"', b"null"), "request/envelope"),
        (CALL.replace(b'"tools/call"', b'["tools/call"]'), "request/envelope"),
        (b'{"method": "tools/call", "params": [1]}', "request/envelope"),
    ],
)
async def test_a_body_that_two_readers_may_read_differently_is_refused(
    verifier: Verifier, minter: Minter, body: bytes, expected: str
):
    assert await code(verifier, minter.call(CALL), body) == expected


@pytest.mark.parametrize(
    "body",
    [
        CALL.replace(b'"n": 1', b'"n": 1.0'),
        CALL.replace(b"T-1", b"\\u0054-1"),
        CALL.replace(b": ", b"\n:\t"),
        CALL.replace(b'"ticket": "T-1", "n": 1', b'"n": 1, "ticket": "T-1"'),
    ],
)
async def test_another_spelling_of_the_same_call_is_the_same_call(verifier: Verifier, minter: Minter, body: bytes):
    assert body != CALL
    assert await code(verifier, minter.call(CALL), body) == "accepted"
