"""A hand-over token opens one child, for its agent and its user, within minutes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.base.store.records import SealedStore
from gateway.history.tasks.hand_over import HANDED_OVER, MAX_LIFE, MAX_OPEN, HandOver, HandOvers
from gateway.inspection.credentials.live_values import GRACE, LiveValues
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.errors import StoreError
from tests.unit.base.store.engines import open_store
from tests.unit.base.store.keeping import sealed_store
from tests.unit.history.tasks.handing_over import BASE, make_hand_overs, over_store
from tests.unit.history.tasks.test_trees import Desk, code
from tests.unit.live import DETECTOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ISSUER = "https://idp.example"
LEAD = Principal("lead", ISSUER, AuthMethod.JWT, user=User("ann"))
WORKER = replace(LEAD, id="worker")
THIEVES = {
    "another agent of the user": replace(LEAD, id="thief"),
    "the agent for another user": replace(WORKER, user=User("bob")),
    "a namesake of another issuer": replace(WORKER, issuer="https://evil.example"),
    "the agent without a user": replace(WORKER, user=None),
}


@pytest.fixture
def desk(key: ECKey, tmp_path: Path) -> Desk:
    return Desk(key, make_hand_overs(key, tmp_path))


def hand_over(desk: Desk, task: str, caller: Principal = LEAD, now: float = 1000.0, **fields: object) -> Any:
    body = json.dumps({"agent": "worker", **fields}).encode()
    return json.loads(desk.endpoints.hand_over(caller, task, body, now).body)


async def test_the_named_agent_opens_one_child_inside_the_parent(desk: Desk):
    root = (await desk.open(tenant="acme"))["id"]
    token = hand_over(desk, root)["token"]

    wider = await desk.open(token, WORKER, tenant="other")
    child = await desk.open(token, WORKER)
    again = await desk.open(token, WORKER)

    assert code(wider) == "task/wider"
    assert (child["parent"], child["tenant"]) == (root, "acme")
    assert code(again) == "task/hand-over-used"
    assert desk.written[-1]["task"] == child["id"]
    assert desk.written[-1]["hand_over"]


@pytest.mark.parametrize("thief", THIEVES.values(), ids=THIEVES.keys())
async def test_a_stolen_token_names_nothing_and_stays_good(desk: Desk, thief: Principal):
    root = (await desk.open())["id"]
    token = hand_over(desk, root)["token"]

    assert code(await desk.open(token, thief)) == "task/unknown"
    assert (await desk.open(token, WORKER))["status"] == "open"


async def test_a_token_is_good_for_minutes_and_no_longer_than_its_task(desk: Desk):
    root = (await desk.open(expires_in=50))["id"]
    short, long = hand_over(desk, root, expires_in=10)["token"], hand_over(desk, root, expires_in=MAX_LIFE)["token"]

    assert code(await desk.open(short, WORKER, now=1010.0)) == "task/expired"
    assert code(await desk.open(long, WORKER, now=1050.0)) == "task/expired"
    assert (await desk.open(long, WORKER, now=1049.0))["status"] == "open"


async def test_a_token_of_an_ended_task_opens_nothing(desk: Desk):
    root = (await desk.open())["id"]
    token = hand_over(desk, root)["token"]
    await desk.endpoints.end(LEAD, root, "completed", 1000.0)

    assert code(await desk.open(token, WORKER)) == "task/ended"
    assert code(hand_over(desk, root)) == "task/ended"


async def test_a_caller_has_room_for_some_tokens_and_takes_that_of_nobody_else(key: ECKey, tmp_path: Path):
    """The gateway looks for each token in all traffic, so a flood of them would push the tokens of others out of its memory."""
    now = [1000.0]
    live = LiveValues(DETECTOR, lambda: now[0])
    records = sealed_store(tmp_path, clock=lambda: now[0]).of(HANDED_OVER)
    desk = Desk(key, HandOvers(KeyRing(SigningKey(key)), records, base_url=BASE, live=live))
    tasks = [(await desk.open())["id"] for _ in range(2)]
    other = (await desk.open(caller=WORKER))["id"]

    given = [hand_over(desk, tasks[number % 2], expires_in=10)["token"] for number in range(MAX_OPEN)]
    refused = [hand_over(desk, task, expires_in=10) for task in tasks]

    assert [code(each) for each in refused] == ["task/invalid"] * 2
    assert "have not expired" in refused[0]["error"]["message"]
    assert "token" in hand_over(desk, other, WORKER)
    assert all(map(live.holds, given))
    now[0] += 10
    assert "token" in hand_over(desk, tasks[0], now=now[0])
    now[0] += GRACE
    live.forget()
    assert len(live) == 2


async def test_a_task_is_handed_over_by_its_owner_alone(desk: Desk):
    root = (await desk.open())["id"]

    assert code(hand_over(desk, root, WORKER)) == "task/unknown"
    assert code(hand_over(desk, desk.history.tasks.open_implicit(LEAD, 1000.0).id)) == "task/unknown"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"agent": None}, "agent is a text"),
        ({"agent": ""}, "agent is a text"),
        ({"expires_in": MAX_LIFE + 1}, "expires_in is a whole number from 1 to 600"),
        ({"agents": ["a"]}, "the request has a field that is not known (did you mean agent?)"),
    ],
)
async def test_a_request_that_is_not_understood_is_refused_with_its_field(desk: Desk, fields: Any, problem: str):
    root = (await desk.open())["id"]

    refused = hand_over(desk, root, **fields)

    assert refused["error"]["message"].startswith(f"The task was not handed over: {problem}")


async def test_the_token_of_a_task_hands_nothing_over(desk: Desk):
    root = await desk.open()

    assert code(await desk.open(root["token"])) == "task/unknown"


@pytest.fixture
def forge(key: ECKey) -> Callable[..., str]:
    """A token that the right key signed, with one thing other than it should be."""

    def make(header: dict[str, str] | None = None, signed: ECKey = key, **claims: object) -> str:
        head = {"alg": "ES256", "typ": "opagate-hand-over+jwt", "kid": key.thumbprint(), **(header or {})}
        body: dict[str, Any] = {
            "iss": BASE,
            "aud": f"{BASE}/tasks",
            "sub": WORKER.job,
            "agent": "worker",
            "task": "task-1",
            "jti": "one",
            "iat": 1000,
            "exp": 2000,
        }
        body |= claims
        return jwt.encode(head, {name: value for name, value in body.items() if value is not None}, signed)

    return make


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"aud": f"{BASE}/mcp"},
        {"aud": [f"{BASE}/tasks"]},
        {"sub": LEAD.key},
        {"agent": "lead"},
        {"task": 1},
        {"jti": None},
        {"exp": 2000.5},
        {"exp": None},
        {"more": "of it"},
        {"header": {"typ": "opagate-task+jwt"}},
        {"signed": ECKey.generate_key("P-256")},
    ],
)
def test_a_token_in_another_form_names_nothing(
    key: ECKey, tmp_path: Path, forge: Callable[..., str], change: dict[str, Any]
):
    tokens = make_hand_overs(key, tmp_path)

    assert tokens.read(forge(), WORKER, 1000.0) == HandOver("one", "task-1", 2000)
    assert getattr(tokens.read(forge(**change), WORKER, 1000.0), "code", None) == "task/unknown"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the file or the address of the records."""
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


async def test_gateways_of_one_store_take_a_token_once(key: ECKey, place: str):
    engines = [open_store(place, lambda: 1000.0) for _ in range(2)]
    gateways = [over_store(key, SealedStore(each, KeyRing(b"k" * 32))) for each in engines]
    found = HandOver("one", "task-1", 1600)

    uses = await asyncio.gather(*(gateway.use(found) for gateway in gateways * 10))

    assert sorted(uses) == [False] * 19 + [True]
    for each in engines:
        each.close()


async def test_a_token_that_cannot_be_noted_opens_nothing(key: ECKey, tmp_path: Path):
    (tmp_path / "records.db").write_bytes(b"no database, but more than an empty file" * 100)
    desk = Desk(key, make_hand_overs(key, tmp_path))
    root = (await desk.open())["id"]
    token = hand_over(desk, root)["token"]

    with pytest.raises(StoreError):
        await desk.open(token, WORKER)

    assert len(desk.history.tasks) == 1
