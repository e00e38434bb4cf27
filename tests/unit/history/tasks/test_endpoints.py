"""With the real history and the real tokens; the journal is a list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.config import HistorySettings
from gateway.history import Restored, build_history, rebuild
from gateway.history.tasks.endpoints import TaskEndpoints
from gateway.history.tasks.tokens import TaskTokens
from gateway.model.call import Call
from gateway.model.caller import Principal
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.errors import HistoryFull, JournalError
from gateway.model.target import Effect, Labels, Target
from gateway.model.task import Contract
from tests.unit.history.tasks.handing_over import make_hand_overs
from tests.unit.live import live_values

if TYPE_CHECKING:
    from pathlib import Path

    from joserfc.jwk import ECKey

    from gateway.model.wire import JsonObject
    from gateway.wire.protocol.replies import Reply

BODY = {
    "goal": "mend it",
    "kind": "login-fix",
    "risk": "low",
    "tenant": "acme",
    "environment": "staging",
    "expires_in": 100,
    "contract": {
        "audiences": ["b", "a"],
        "tools": ["a/*"],
        "destinations": ["x@a.example"],
        "credential_flows": [{"from": "a", "to": "b"}],
        "limits": {"destinations": 6},
    },
}


class Desk:
    """The endpoints, and what is behind them."""

    def __init__(self, key: ECKey, folder: Path) -> None:
        self.history = build_history(
            HistorySettings(tasks_per_caller=3), clock=lambda: 1000.0, conceal=lambda goal, _kept: goal
        )
        self.tokens = TaskTokens(KeyRing(SigningKey(key)), base_url="https://gateway.example", live=live_values())
        self.hand_overs = make_hand_overs(key, folder)
        self.written: list[tuple[str, JsonObject]] = []
        self.broken = False
        self.inspected: list[tuple[str | None, Contract | None]] = []
        self.count = 0
        self.endpoints = TaskEndpoints(
            self.history.tasks,
            self.tokens,
            self.hand_overs,
            inspect=self._inspect,
            find_ground=lambda _goal, _contract, _is_foreign: None,
            holds_credential=self._holds_credential,
            append=self._append,
            new_id=self._new_id,
        )

    def _holds_credential(self, owner: str, text: str) -> bool:
        return f"secret of {owner}" in text

    def _inspect(self, goal: str | None, contract: Contract | None) -> ResultContent:
        self.inspected.append((goal, contract))
        return ResultContent((Sighting("fp:1", "jwt"),), frozenset({7}))

    async def _append(self, kind: str, fields: JsonObject) -> None:
        if self.broken:
            raise JournalError("the journal cannot be written: no space", "free space")
        self.written.append((kind, fields))

    def _new_id(self) -> str:
        self.count += 1
        return f"task-{self.count}"

    async def ask(self, principal: Principal, path: str, body: object = None, now: float = 1000.0) -> tuple[int, Any]:
        reply = await self.reply(principal, path, body, now)
        return reply.status, json.loads(reply.body)

    async def reply(self, principal: Principal, path: str, body: object = None, now: float = 1000.0) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        match path.split("/")[2:]:
            case []:
                return await self.endpoints.open(principal, data, now)
            case [task]:
                return self.endpoints.report(principal, task, now)
            case [task, "complete"]:
                return await self.endpoints.end(principal, task, "completed", now)
            case _:
                return await self.endpoints.end(principal, path.split("/")[2], "cancelled", now)


@pytest.fixture
def desk(key: ECKey, tmp_path: Path) -> Desk:
    return Desk(key, tmp_path)


async def test_a_task_is_opened_and_described(desk: Desk, me: Principal):
    reply = await desk.reply(me, "/tasks", BODY)

    described = json.loads(reply.body)
    token = described.pop("token")
    assert reply.status == 201
    assert described == {
        "id": "task-1",
        "status": "open",
        "opened": "1970-01-01T00:16:40Z",
        "expires": "1970-01-01T00:18:20Z",
        "goal": "mend it",
        "kind": "login-fix",
        "risk": "low",
        "tenant": "acme",
        "environment": "staging",
        "contract": {**BODY["contract"], "audiences": ["a", "b"]},  # type: ignore[dict-item] - an object
        "done": {
            "calls": 0,
            "in_flight": 0,
            "denials": 0,
            "audiences": [],
            "write_audiences": [],
            "destinations": 0,
        },
    }
    headers = dict(reply.headers)
    assert (headers[b"location"], headers[b"cache-control"]) == (b"/tasks/task-1", b"no-store")
    assert (headers[b"content-type"], headers[b"x-content-type-options"]) == (b"application/json", b"nosniff")
    assert desk.tokens.task_of(token, me, 1050) == "task-1"
    assert desk.history.tasks.select(me, "task-1", 1050) != desk.history.tasks.select(me, "task-2", 1050)


async def test_the_least_that_can_be_declared_is_nothing(desk: Desk, me: Principal):
    status, described = await desk.ask(me, "/tasks")

    assert status == 201
    assert not {"goal", "kind", "contract", "risk", "tenant", "environment"} & described.keys()


async def test_what_a_goal_holds_is_known_to_history(desk: Desk, me: Principal):
    await desk.ask(me, "/tasks", BODY)
    task = desk.history.tasks.select(me, "task-1", 1001)
    target = Target("tool", "a", "use", "a", labels=Labels(Effect.WRITE))
    content = CallContent(sightings=(Sighting("fp:1", "jwt"),), authority={"/to": frozenset({7})})

    known = desk.history.ledger.reserve(task, "c", Call("tools/call", target, {}), content, 1001).facts  # type: ignore[arg-type] - selected

    assert desk.inspected[0][0] == "mend it"
    assert desk.inspected[0][1] is not None
    assert known.ungrounded == ()
    assert known.credentials is not None
    assert known.credentials[0].origin.kind == "user"


async def test_a_task_is_read_by_its_owner_only(desk: Desk, me: Principal, you: Principal):
    await desk.ask(me, "/tasks", BODY)

    status, described = await desk.ask(me, "/tasks/task-1")
    foreign, never = await desk.ask(you, "/tasks/task-1"), await desk.ask(you, "/tasks/never")

    assert (status, described["id"]) == (200, "task-1")
    assert "token" not in described
    assert foreign == never
    assert (foreign[0], foreign[1]["error"]["code"]) == (404, "task/unknown")


@pytest.mark.parametrize(("verb", "how"), [("complete", "completed"), ("cancel", "cancelled")])
async def test_a_task_is_ended_by_its_owner(desk: Desk, me: Principal, you: Principal, verb: str, how: str):
    await desk.ask(me, "/tasks", BODY)
    foreign, _ = await desk.ask(you, f"/tasks/task-1/{verb}")

    status, described = await desk.ask(me, f"/tasks/task-1/{verb}")
    again, _ = await desk.ask(me, f"/tasks/task-1/{verb}")
    other = await desk.ask(me, "/tasks/task-1/" + ("cancel" if verb == "complete" else "complete"))

    assert foreign == 404
    assert (status, described["status"], again) == (200, how, 200)
    assert (other[0], other[1]["error"]["code"]) == (409, "task/ended")
    assert getattr(desk.history.tasks.select(me, "task-1", 1001), "code", None) == "task/ended"


async def test_a_task_whose_time_is_over_is_read_and_not_ended(desk: Desk, me: Principal):
    await desk.ask(me, "/tasks", BODY)

    _, described = await desk.ask(me, "/tasks/task-1", now=1100)
    ended = await desk.ask(me, "/tasks/task-1/complete", now=1100)

    assert described["status"] == "expired"
    assert (ended[0], ended[1]["error"]["code"]) == (410, "task/expired")


async def test_a_task_that_cannot_be_written_down_is_not_opened(desk: Desk, me: Principal):
    desk.broken = True

    with pytest.raises(JournalError):
        await desk.ask(me, "/tasks", BODY)

    assert getattr(desk.history.tasks.select(me, "task-1", 1001), "code", None) == "task/ended"


async def test_an_end_that_cannot_be_written_down_is_not_confirmed_and_can_be_asked_for_again(
    desk: Desk, me: Principal
):
    await desk.ask(me, "/tasks", BODY)
    desk.broken = True
    with pytest.raises(JournalError):
        await desk.ask(me, "/tasks/task-1/complete")
    desk.broken = False

    status, _ = await desk.ask(me, "/tasks/task-1/complete")

    assert status == 200
    assert [fields["event"] for _, fields in desk.written] == ["opened", "ended"]


async def test_what_is_written_down_is_enough_to_go_on_after_a_restart(desk: Desk, me: Principal, you: Principal):
    await desk.ask(me, "/tasks", BODY)
    await desk.ask(me, "/tasks", BODY)
    await desk.ask(me, "/tasks/task-2/cancel")
    entries = [
        json.loads(json.dumps({"seq": number, "kind": kind, **fields}))
        for number, (kind, fields) in enumerate(desk.written, 1)
    ]

    after = build_history(HistorySettings(), clock=lambda: 1000.0)
    rebuild(after, entries, Restored())

    assert after.tasks.select(me, "task-1", 1001) == desk.history.tasks.select(me, "task-1", 1001)
    assert getattr(after.tasks.select(me, "task-2", 1001), "code", None) == "task/ended"
    assert getattr(after.tasks.select(you, "task-1", 1001), "code", None) == "task/unknown"


async def test_one_caller_cannot_take_all_the_room(desk: Desk, me: Principal, you: Principal):
    assert [(await desk.ask(me, "/tasks"))[0] for _ in range(3)] == [201, 201, 201]
    with pytest.raises(HistoryFull):
        await desk.ask(me, "/tasks")
    assert (await desk.ask(you, "/tasks"))[0] == 201


async def test_a_bad_declaration_opens_nothing(desk: Desk, me: Principal):
    status, refused = await desk.ask(me, "/tasks", {"goals": "x"})

    assert (status, refused["error"]["code"]) == (400, "task/invalid")
    assert len(desk.history.tasks) == 0
    assert desk.written == []


async def test_a_task_that_is_forgotten_while_it_is_written_down_is_not_confirmed(desk: Desk, me: Principal):
    original = desk._append

    async def slow(kind: str, fields: JsonObject) -> None:
        await original(kind, fields)
        desk.history.tasks.forget(10**9)

    endpoints = TaskEndpoints(
        desk.history.tasks,
        desk.tokens,
        desk.hand_overs,
        inspect=desk._inspect,
        find_ground=lambda _goal, _contract, _is_foreign: None,
        holds_credential=desk._holds_credential,
        append=slow,
        new_id=desk._new_id,
    )

    assert (await endpoints.open(me, b"", 1000.0)).status == 404
    assert endpoints.report(me, "task-1", 1000.0).status == 404


@pytest.mark.parametrize(
    "declared",
    [
        {"tenant": "SECRET"},
        {"environment": "x SECRET"},
        *({"contract": {name: ["a", "SECRET"]}} for name in ("audiences", "tools", "destinations")),
        {"contract": {"credential_flows": [{"from": "a", "to": "SECRET"}]}},
    ],
)
async def test_a_task_with_a_credential_in_its_contract_is_not_opened(
    desk: Desk, me: Principal, you: Principal, declared: dict[str, Any]
):
    """A contract is kept as it stands. A goal is concealed where it is written."""
    for caller, status in ((me, 400), (you, 201)):
        body = json.loads(json.dumps(declared).replace("SECRET", f"secret of {me.job}"))
        assert (await desk.ask(caller, "/tasks", body))[0] == status
    assert (await desk.ask(me, "/tasks", {"goal": f"secret of {me.job}"}))[0] == 201


async def test_without_room_a_declaration_is_not_even_searched(desk: Desk, me: Principal, you: Principal):
    """The search takes milliseconds, and whoever is refused may ask again without end."""
    for _ in range(3):
        assert (await desk.ask(me, "/tasks", BODY))[0] == 201

    with pytest.raises(HistoryFull):
        await desk.ask(me, "/tasks", BODY)

    assert len(desk.inspected) == len(desk.written) == 3
    assert (await desk.ask(you, "/tasks", BODY))[0] == 201


async def test_a_declaration_with_many_credentials_is_refused(
    desk: Desk, me: Principal, monkeypatch: pytest.MonkeyPatch
):
    def inspect(count: int) -> None:
        found = tuple(Sighting(f"fp:{number}", "jwt") for number in range(count))
        monkeypatch.setattr(desk.endpoints, "_inspect", lambda _goal, _contract: ResultContent(found))  # pyright: ignore[reportUnknownLambdaType,reportUnknownArgumentType]

    inspect(17)
    status, answer = await desk.ask(me, "/tasks", BODY)
    inspect(16)

    assert (status, answer["error"]["code"]) == (400, "task/invalid")
    assert "more than 16 credentials" in answer["error"]["message"]
    assert len(desk.history.tasks) == 0
    assert (await desk.ask(me, "/tasks", BODY))[0] == 201
