from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.history.tasks.tokens import TaskTokens, is_token
from gateway.model.decision import Reason
from gateway.model.task import Task
from tests.unit.live import live_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.caller import Principal

BASE = "https://gateway.example"
TASK = Task("task-1", "declared", 1000.5, 2000.5)


@pytest.fixture
def tokens(key: ECKey) -> TaskTokens:
    return TaskTokens(KeyRing(SigningKey(key)), base_url=BASE, live=live_values())


@pytest.fixture
def forge(key: ECKey, me: Principal) -> Callable[..., str]:
    """A token that the right key signed, with one thing other than it should be."""

    def make(header: dict[str, Any] | None = None, without: str = "", signed: ECKey = key, **claims: Any) -> str:
        head = {"alg": "ES256", "typ": "opagate-task+jwt", "kid": key.thumbprint(), **(header or {})}
        body: dict[str, Any] = {
            "iss": BASE,
            "aud": f"{BASE}/mcp",
            "sub": me.key,
            "jti": "task-1",
            "iat": 1,
            "exp": 2000,
        }
        body = {name: value for name, value in {**body, **claims}.items() if name != without}
        return jwt.encode(head, body, signed, algorithms=["ES256", "ES512"])

    return make


def _code(read: str | Reason) -> str:
    return read.code if isinstance(read, Reason) else f"read {read}"


def test_a_token_names_its_task_to_its_caller(tokens: TaskTokens, me: Principal, forge: Callable[..., str]):
    token = tokens.issue(me, TASK, 1000)

    assert tokens.task_of(token, me, 1999) == "task-1"
    assert tokens.task_of(forge(), me, 1999) == "task-1"
    assert is_token(token)
    assert not is_token("task-1")


def test_a_token_of_another_caller_names_nothing(tokens: TaskTokens, me: Principal, you: Principal):
    assert _code(tokens.task_of(tokens.issue(me, TASK, 1000), you, 1999)) == "task/unknown"


def test_a_token_is_good_as_long_as_its_task(tokens: TaskTokens, me: Principal):
    assert _code(tokens.task_of(tokens.issue(me, TASK, 1000), me, 2000)) == "task/expired"


def test_a_task_without_expiry_has_no_token(tokens: TaskTokens, me: Principal):
    with pytest.raises(ValueError, match="without expiry"):
        tokens.issue(me, Task("t", "declared", 0), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"aud": BASE},
        {"aud": [f"{BASE}/mcp"]},
        {"sub": "x"},
        {"jti": 5},
        {"exp": "2000"},
        {"exp": 1e12},
        {"exp": True},
        {"scope": "all"},
        {"without": "exp"},
        {"without": "iat"},
        {"without": "jti"},
        {"without": "sub"},
        {"header": {"typ": "at+jwt"}},
        {"header": {"kid": "other"}},
        {"header": {"jku": "https://evil.example"}},
    ],
    ids=str,
)
def test_anything_other_than_what_is_issued_is_nothing(
    tokens: TaskTokens, me: Principal, forge: Callable[..., str], change: dict[str, Any]
):
    assert _code(tokens.task_of(forge(**change), me, 1500)) == "task/unknown"


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_tokens_of_other_keys_and_algorithms_are_nothing(
    tokens: TaskTokens, me: Principal, key: ECKey, forge: Callable[..., str]
):
    good = forge()
    header, claims, signature = good.split(".")
    kid = key.thumbprint()
    unsigned = f"{_segment({'alg': 'none', 'typ': 'opagate-task+jwt', 'kid': kid})}.{claims}."
    other = _segment({"iss": BASE, "aud": f"{BASE}/mcp", "sub": me.key, "jti": "task-2", "iat": 1, "exp": 2000})
    forged = [
        forge(signed=ECKey.generate_key("P-256")),
        unsigned,
        f"{header}.{other}.{signature}",
        f"{header}.{claims}.",
        f"{header}.{claims}",
        "",
        "..",
        "a.b.c",
        good + "é",
        good + "A" * 5000,
        f"{header}.{_segment([1])}.{signature}",
    ]

    assert {_code(tokens.task_of(token, me, 1500)) for token in forged} == {"task/unknown"}
