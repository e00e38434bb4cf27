"""Trees of declared tasks: who opens a child, its bounds, and its end with each task above it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.config import HistorySettings
from gateway.history import Restored, build_history, rebuild
from gateway.history.task_history import TaskHistory
from gateway.history.tasks.endpoints import TaskEndpoints
from gateway.history.tasks.tokens import TaskTokens
from gateway.history.trees import MAX_DEPTH, MAX_TASKS
from gateway.model.call import Call
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.content import CallContent, ResultContent
from gateway.model.errors import TaskExpired
from gateway.model.target import Effect, Labels, Target
from gateway.model.task import Parent, Task
from tests.unit.history.tasks.handing_over import make_hand_overs
from tests.unit.live import live_values

if TYPE_CHECKING:
    from pathlib import Path

    from joserfc.jwk import ECKey

    from gateway.history.tasks.hand_over import HandOvers
    from gateway.model.wire import JsonObject

ISSUER = "https://idp.example"
ANN = User("ann")
LEAD = Principal("lead", ISSUER, AuthMethod.JWT, user=ANN)
DELEGATE = Principal(
    "worker", ISSUER, AuthMethod.JWT, user=ANN, delegation=(Actor("worker", ISSUER), Actor("lead", None))
)
STRANGERS = {
    "another agent of the user": Principal("worker", ISSUER, AuthMethod.JWT, user=ANN),
    "the agent for another user": replace(LEAD, user=User("bob")),
    "a chain of another user": replace(DELEGATE, user=User("bob")),
    "a chain of another issuer": replace(DELEGATE, issuer="https://evil.example"),
    "a chain with a namesake of another issuer": replace(
        DELEGATE, delegation=(Actor("worker", ISSUER), Actor("lead", "https://evil.example"))
    ),
    "a chain without the agent": replace(DELEGATE, delegation=(Actor("worker", ISSUER), Actor("other", ISSUER))),
}


class Desk:
    """The endpoints over a real history; the journal is a list."""

    def __init__(self, key: ECKey, hand_overs: HandOvers) -> None:
        settings = HistorySettings(tasks_per_caller=200)
        self.history = build_history(settings, clock=lambda: 1000.0, conceal=lambda goal, _kept: goal)
        self.written: list[JsonObject] = []
        self.ended: list[str] = []
        self.history.tasks.subscribe(lambda task, _how: self.ended.append(task))
        self.endpoints = TaskEndpoints(
            self.history.tasks,
            TaskTokens(KeyRing(SigningKey(key)), base_url="https://gateway.example", live=live_values()),
            hand_overs,
            inspect=lambda _goal, _contract: ResultContent(),
            find_ground=lambda _goal, _contract, _is_foreign: None,
            holds_credential=lambda _owner, _text: False,
            append=self._append,
            new_id=lambda: f"task-{len(self.history.tasks) + 1}",
        )

    async def _append(self, kind: str, fields: JsonObject) -> None:
        self.written.append({"seq": len(self.written) + 1, "kind": kind, **fields})

    async def open(
        self, parent: str | None = None, caller: Principal = LEAD, now: float = 1000.0, **fields: object
    ) -> Any:
        body = {**({} if parent is None else {"parent": parent}), **fields}
        return json.loads((await self.endpoints.open(caller, json.dumps(body).encode(), now)).body)

    async def status(self, task: str, caller: Principal = LEAD, now: float = 1000.0) -> str:
        return json.loads(self.endpoints.report(caller, task, now).body)["status"]

    def call(self, task: str, now: float = 1000.0) -> None:
        kept = self.history.tasks.find(task)
        assert kept is not None
        target = Target("tool", "files", "use", "files", labels=Labels(Effect.READ))
        self.history.ledger.reserve(kept.task, f"call of {task}", Call("tools/call", target, {}), CallContent(), now)


@pytest.fixture
def desk(key: ECKey, tmp_path: Path) -> Desk:
    return Desk(key, make_hand_overs(key, tmp_path))


def code(answer: Any) -> str:
    return answer["error"]["code"]


@pytest.mark.parametrize("caller", [LEAD, DELEGATE])
async def test_a_child_is_opened_by_the_parents_principal_or_in_its_delegation(desk: Desk, caller: Principal):
    root = (await desk.open(tenant="acme"))["id"]

    child = await desk.open(root, caller)

    assert (child["parent"], child["tenant"], child["status"]) == (root, "acme", "open")
    assert isinstance(desk.history.tasks.select(caller, child["id"], 1000.0), Task)


@pytest.mark.parametrize("caller", STRANGERS.values(), ids=STRANGERS.keys())
async def test_a_parent_is_unknown_to_everybody_else(desk: Desk, caller: Principal):
    root = (await desk.open())["id"]

    assert await desk.open(root, caller) == await desk.open("task-never", caller)
    assert len(desk.history.tasks) == 1


async def test_a_parent_is_a_declared_task_that_is_open(desk: Desk):
    implicit = desk.history.tasks.open_implicit(LEAD, 1000.0).id
    root = (await desk.open(expires_in=100))["id"]

    assert code(await desk.open(implicit)) == "task/unknown"
    assert code(await desk.open(root, now=1100.0)) == "task/expired"
    await desk.endpoints.end(LEAD, root, "completed", 1000.0)
    assert code(await desk.open(root)) == "task/ended"


async def test_a_wider_child_is_not_opened(desk: Desk):
    root = (await desk.open(contract={"tools": ["files/*"]}))["id"]

    assert code(await desk.open(root, contract={"tools": ["*"]})) == "task/wider"
    assert len(desk.history.tasks) == 1


async def test_a_child_expires_with_its_parent_at_the_latest(desk: Desk):
    root = await desk.open(expires_in=100)
    child = await desk.open(root["id"], expires_in=86_400)

    assert child["expires"] == root["expires"]


@pytest.mark.parametrize("how", ["completed", "cancelled"])
async def test_the_end_of_a_task_ends_all_tasks_below_it_and_no_others(desk: Desk, how: Any):
    root = (await desk.open())["id"]
    left, right = (await desk.open(root))["id"], (await desk.open(root, DELEGATE))["id"]
    low = (await desk.open(left))["id"]
    desk.call(low)

    await desk.endpoints.end(LEAD, left, how, 1000.0)

    assert [await desk.status(task) for task in (root, left, low)] == ["open", how, how]
    assert await desk.status(right, DELEGATE) == "open"
    assert desk.ended == [left, low]
    assert [entry["task"] for entry in desk.written if entry["event"] == "ended"] == [left, low]
    with pytest.raises(TaskExpired):
        desk.call(low)
    assert desk.history.tasks.was_ended(low)


async def test_a_child_of_which_the_end_is_lost_ends_with_its_parent_all_the_same(
    desk: Desk, key: ECKey, tmp_path: Path
):
    """The journal was cut after the entry of the parent's end."""
    root = (await desk.open())["id"]
    child = (await desk.open(root))["id"]
    await desk.endpoints.end(LEAD, root, "completed", 1000.0)
    again = Desk(key, make_hand_overs(key, tmp_path))

    entries: list[JsonObject] = [{"seq": 0, "kind": "segment", "journal": "j"}, *desk.written[:-1]]
    rebuild(again.history, entries, Restored())

    kept = again.history.tasks.find(child)
    assert kept is not None
    assert (kept.ended, kept.task.parent) == (None, desk.history.tasks.find(child).task.parent)  # pyright: ignore[reportOptionalMemberAccess]
    assert await again.status(child) == "completed"
    assert not again.history.tasks.is_open(child, 1000.0)
    assert code(await again.open(child)) == "task/ended"


async def test_a_child_is_kept_as_long_as_its_root(desk: Desk):
    """A tree counts what its tasks did, so a child that expires early must not take that away."""
    root = (await desk.open(expires_in=10_000))["id"]
    child = (await desk.open(root, expires_in=1))["id"]

    assert await desk.status(child, now=1000.0 + 9_000) == "expired"
    assert code(await desk.open(child, now=1000.0 + 9_000)) == "task/expired"
    desk.history.tasks.forget(1000.0 + 10_000 + 3_600)
    assert len(desk.history.tasks) == 0


async def test_ten_thousand_children_are_refused_beyond_the_bound(desk: Desk):
    root = (await desk.open())["id"]
    opened = [await desk.open(root, expires_in=1) for _ in range(MAX_TASKS - 1)]
    last = opened[-1]["id"]
    await desk.endpoints.end(LEAD, opened[0]["id"], "completed", 1000.0)

    codes = {code(await desk.open(parent)) for parent in (root, last) for _ in range(100)}

    assert codes == {"task/tree-full"}
    assert len(desk.history.tasks) == MAX_TASKS


async def test_a_tree_that_another_gateway_filled_meanwhile_takes_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    root = (await desk.open())["id"]
    for _ in range(MAX_TASKS - 2):
        await desk.open(root)
    place = Parent(root, root, 1, 5000.0)
    other = Task("elsewhere", "declared", 1000.0, 2000.0, parent=place)
    append = desk.endpoints._append  # pyright: ignore[reportPrivateUsage]

    async def fill(kind: str, fields: JsonObject) -> None:
        if desk.history.tasks.find(other.id) is None:
            desk.history.tasks.admit(TaskHistory(other, LEAD.key, LEAD.parties, 1000.0, job=LEAD.job))
        await append(kind, fields)

    monkeypatch.setattr(desk.endpoints, "_append", fill)

    assert code(await desk.open(root)) == "task/tree-full"
    last = desk.written[-1]
    assert (last["event"], last["how"], last["task"]) == ("ended", "cancelled", desk.ended[-1])
    assert len([kept for kept in desk.history.tasks.all() if kept.ended is None]) == MAX_TASKS


async def test_a_child_names_the_agents_above_it(desk: Desk):
    root = (await desk.open())["id"]
    child = (await desk.open(root, DELEGATE))["id"]
    low = (await desk.open(child, DELEGATE))["id"]

    kept = desk.history.tasks.find(low)
    assert kept is not None
    assert kept.task.parent is not None
    assert kept.task.parent.agents == ("lead", "worker")
    assert kept.task.parent.path == (root, child)


async def test_a_tree_has_a_least_level(desk: Desk):
    task = (await desk.open())["id"]
    for _ in range(MAX_DEPTH):
        task = (await desk.open(task))["id"]

    assert code(await desk.open(task)) == "task/tree-full"
