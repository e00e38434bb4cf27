"""The answers of `/tasks` to verified callers, and the keys of the tokens of tasks. `gateway.surfaces.pages.tasks` has the
routes.

A task of another caller is as unknown as a task never declared. An answer of success is in the journal first. A task
without its journal entry is ended at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec
from msgspec import structs

from gateway.base.letters import spell_out
from gateway.history.tasks.contract import (
    MAX_CREDENTIALS,
    Declaration,
    read_declaration,
    read_hand_over,
    too_many_credentials,
)
from gateway.history.tasks.hand_over import DEFAULT_LIFE, MAX_LIFE, HandOver
from gateway.history.tasks.narrowing import narrow
from gateway.history.tasks.tokens import is_token
from gateway.model import reasons
from gateway.model.caller import Principal
from gateway.model.content import ResultContent
from gateway.model.decision import Reason
from gateway.model.facts import TaskReport
from gateway.model.task import Ground, Parent, Task, TaskApprover
from gateway.model.wire import Json, JsonObject
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from gateway.history.log import HistoryLog
    from gateway.history.task_history import TaskHistory
    from gateway.history.tasks.hand_over import HandOvers
    from gateway.history.tasks.tokens import TaskTokens
    from gateway.history.trees import Trees
    from gateway.inspection.words.words import IsForeign
    from gateway.model.task import Contract

End = Literal["completed", "cancelled"]


@dataclass(frozen=True, slots=True)
class RefusalReply(Reply):
    """An answer of refusal, with its reason."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class TaskApproval:
    """A person's approval of a task as a whole: its id, the id of the request that has it, and the approvers."""

    id: str
    request: str
    approvers: tuple[TaskApprover, ...]


class TaskStore(Protocol):
    """Store of tasks: `history.TaskRegistry`. `log` makes a task known to other gateways."""

    @property
    def log(self) -> HistoryLog: ...
    def require_room(self, principal: Principal, now: float) -> None: ...
    def find_foreign(self, principal: Principal, now: float) -> IsForeign | None: ...
    @property
    def trees(self) -> Trees: ...
    def select(self, principal: Principal, task_id: str, now: float) -> Task | Reason: ...
    def open(self, principal: Principal, task: Task, content: ResultContent) -> JsonObject: ...
    def report(self, principal: Principal, task_id: str, now: float) -> TaskReport | Reason: ...
    def end(self, task: Task, how: End) -> list[JsonObject]: ...


class TaskEndpoints:
    """`inspect` finds the words of a goal and of a contract's destinations, and `find_ground` the part without foreign words. `holds_credential` tells whether a text
    holds a credential, by its form or known to the caller with this `Principal.key`. `append` writes to the journal.
    `leases` describes the open leases of a task."""

    def __init__(
        self,
        store: TaskStore,
        tokens: TaskTokens,
        hand_overs: HandOvers,
        *,
        inspect: Callable[[str | None, Contract | None], ResultContent],
        find_ground: Callable[[str | None, Contract | None, IsForeign], Ground | None],
        holds_credential: Callable[[str, str], bool],
        append: Callable[[str, JsonObject], Awaitable[None]],
        new_id: Callable[[], str],
        leases: Callable[[str], Sequence[JsonObject]] = lambda _task: (),
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._hand_overs = hand_overs
        self._inspect = inspect
        self._find_ground = find_ground
        self._holds_credential = holds_credential
        self._append = append
        self._new_id = new_id
        self._leases = leases

    async def open(self, principal: Principal, body: bytes, now: float, approval: TaskApproval | None = None) -> Reply:
        """Open the task declared in a body. `now` is in seconds since the epoch, here and below. `approval` is a
        person's yes to the task as a whole.

        Raises `GatewayError` if there is no room, or if the journal cannot be written.
        """
        plan = await self._claim_plan(principal, body, now)
        if isinstance(plan, Reason):
            return refuse_task(plan)
        task = _task(self._new_id(), plan, now)
        if approval is not None:
            task = replace(task, approved_by=approval.approvers)
        content = self._inspect(task.goal, task.contract)
        if approval is None and (is_foreign := self._store.find_foreign(principal, now)) is not None:
            ground = self._find_ground(task.goal, task.contract, is_foreign)
            task, content = self._take_ground(task, content, ground)
        task, content = self._take_ground(task, content, _find_inherited_ground(task, plan))
        if len(content.sightings) > MAX_CREDENTIALS:
            return refuse_task(too_many_credentials())
        fields = self._store.open(principal, task, content)
        if plan.hand_over is not None:
            fields = {**fields, "hand_over": plan.hand_over.id}
        await self._record(principal, task, fields if approval is None else {**fields, "approval": approval.id})
        report = self._store.report(principal, task.id, now)
        if isinstance(report, Reason):
            return refuse_task(report)
        if report.status != "open":
            # Another gateway ended the parent meanwhile.
            return refuse_task(reasons.TASK_ENDED.reason())
        overrun = None if task.parent is None else self._store.trees.find_overrun(task.parent.root)
        if overrun is not None:
            return await self._take_back(principal, task, overrun)
        token = self._tokens.issue(principal, task, now)
        location = (b"location", f"/tasks/{task.id}".encode("ascii"))
        return _json(201, {**_describe(report), "token": token}, location)

    async def _claim_plan(self, principal: Principal, body: bytes, now: float) -> _Plan | Reason:
        """Return the plan in a body after the use of its hand-over token. Raises as `open` does."""
        plan = self._plan(principal, body, now)
        if isinstance(plan, Reason):
            return plan
        self._store.require_room(principal, now)
        if plan.hand_over is None:
            return plan
        if not await self._hand_overs.use(plan.hand_over):
            return reasons.TASK_HAND_OVER_USED.reason()
        return self._plan(principal, body, now)  # the tree may have changed meanwhile

    async def _record(self, principal: Principal, task: Task, fields: JsonObject) -> None:
        """Write the opening of a task into the log and into the journal, or end the task. Raises as `open` does."""
        try:
            await self._store.log.confirm(principal.job)
            await self._append("task", fields)
        except BaseException:
            # Also when the caller is gone: nobody has been told the task's name, so nobody could end it.
            self._store.end(task, "cancelled")
            raise

    async def _take_back(self, principal: Principal, task: Task, reason: Reason) -> Reply:
        """End a task that was just opened, and refuse its declaration. Raises as `open` does."""
        ended = self._store.end(task, "cancelled")
        await self._store.log.confirm(principal.job)
        for fields in ended:
            await self._append("task", fields)
        return refuse_task(reason)

    def find_refusal(self, principal: Principal, body: bytes, now: float) -> RefusalReply | None:
        """Return the refusal of a declaration that no approval could open."""
        plan = self._plan(principal, body, now)
        return refuse_task(plan) if isinstance(plan, Reason) else None

    def _plan(self, principal: Principal, body: bytes, now: float) -> _Plan | Reason:
        """Return the declaration in a body, inside of its parent's if it names one."""
        declared = read_declaration(body)
        if isinstance(declared, Reason):
            return declared
        if self._holds_credential(principal.job, "\n".join(declared.names())):
            # These texts are in force as they stand, and kept so: none of them can be concealed.
            return reasons.TASK_INVALID_CREDENTIAL.reason()
        return (
            _Plan(declared) if declared.parent is None else self._plan_child(principal, declared, declared.parent, now)
        )

    def _plan_child(self, principal: Principal, declared: Declaration, named: str, now: float) -> _Plan | Reason:
        """Return a declaration inside its parent, which is named by its id or by a hand-over token."""
        parent, hand_over = named, None
        if is_token(named):
            hand_over = self._hand_overs.read(named, principal, now)
            if isinstance(hand_over, Reason):
                return hand_over
            parent = hand_over.task
        above = self._store.trees.find_parent(principal, parent, now, is_handed_over=hand_over is not None)
        if isinstance(above, Reason):
            return above
        names_destinations = declared.contract is not None and declared.contract.destinations is not None
        narrowed = narrow(above.task, declared)
        if isinstance(narrowed, Reason):
            return narrowed
        return _Plan(narrowed, above, hand_over, names_destinations=names_destinations)

    def hand_over(self, principal: Principal, task_id: str, body: bytes, now: float) -> Reply:
        """Return a token by which another agent of the same user opens one child of a task."""
        wanted = read_hand_over(body, usual=DEFAULT_LIFE, longest=MAX_LIFE)
        if isinstance(wanted, Reason):
            return refuse_task(wanted)
        task = self._store.select(principal, task_id, now)
        if isinstance(task, Reason):
            return refuse_task(task)
        token = self._hand_overs.issue(principal, task, wanted.agent, wanted.life, now)
        if isinstance(token, Reason):
            return refuse_task(token)
        return _json(201, {"parent": task.id, "agent": wanted.agent, "token": token})

    def _take_ground(self, task: Task, content: ResultContent, ground: Ground | None) -> tuple[Task, ResultContent]:
        """Return a task and the content of its declaration, so that only a part of the declaration gives ground."""
        if ground is None:
            return task, content
        contract = None if task.contract is None else replace(task.contract, destinations=ground.destinations)
        known = self._inspect(ground.goal, contract)
        return replace(task, ground=ground), structs.replace(content, tokens=known.tokens)

    def report(self, principal: Principal, task_id: str, now: float) -> Reply:
        """Describe a task to its owner."""
        report = self._store.report(principal, task_id, now)
        if isinstance(report, Reason):
            return refuse_task(report)
        return _json(200, {**_describe(report), "leases": self._leases(task_id)})

    async def end(self, principal: Principal, task_id: str, how: End, now: float) -> Reply:
        """End a task. A second end asks whether the task has ended, and records the end again.

        Raises `GatewayError` if the journal cannot be written.
        """
        report = self._store.report(principal, task_id, now)
        if isinstance(report, Reason):
            return refuse_task(report)
        if report.status == "expired":
            return refuse_task(reasons.TASK_EXPIRED.reason())
        if report.status not in {"open", how}:
            return refuse_task(reasons.TASK_ENDED_BEFORE.reason(state=report.status))
        ended = self._store.end(report.task, how)
        await self._store.log.confirm(principal.job)
        for fields in ended:
            await self._append("task", fields)
        return self.report(principal, task_id, now)


class _Plan(NamedTuple):
    """A declaration inside its parent, with the parent and the hand-over token of the request. `names_destinations`: the
    destinations of the contract are the child's own."""

    declared: Declaration
    parent: TaskHistory | None = None
    hand_over: HandOver | None = None
    names_destinations: bool = True


def _task(task_id: str, plan: _Plan, now: float) -> Task:
    """Return a task as declared. A child ends with its parent at the latest."""
    opened, declared = round(now, 3), plan.declared
    expires, parent, approved_by = opened + declared.expires_in, None, ()
    if plan.parent is not None and plan.parent.kept_until is not None:
        above = plan.parent.task
        place = above.parent or Parent(above.id, above.id, 0, plan.parent.kept_until)
        agents = (*place.agents, plan.parent.agent)
        path = (*place.path, above.id)
        parent = Parent(above.id, place.root, place.depth + 1, place.until, agents, path)
        approved_by = above.approved_by if _names_nothing_new(above, declared) else ()
        expires = min(expires, above.expires or expires)
    return Task(
        id=task_id,
        kind="declared",
        opened=opened,
        expires=expires,
        goal=declared.goal,
        declared_kind=declared.kind,
        risk=declared.risk,
        tenant=declared.tenant,
        environment=declared.environment,
        contract=declared.contract,
        approved_by=approved_by,
        parent=parent,
    )


def _find_inherited_ground(task: Task, plan: _Plan) -> Ground | None:
    """Return what gives ground in a child with the destinations of its parent. Of these no more does than in the parent. A person
    who approved the child was not shown them. `None` if nothing changes."""
    if plan.parent is None or plan.names_destinations or (above := plan.parent.task.ground) is None:
        return None
    given = task.ground or Ground(task.goal, None if task.contract is None else task.contract.destinations)
    kept = tuple(one for one in given.destinations or () if one in (above.destinations or ()))
    return None if kept == (given.destinations or ()) else Ground(given.goal, kept)


def _names_nothing_new(above: Task, declared: Declaration) -> bool:
    """Return whether a child has no goal and no destinations beyond its parent's. People approved the parent's alone, and an agent
    writes those of the child: values in them would have a source by its own word."""
    shown = () if above.contract is None else above.contract.destinations or ()
    named = () if declared.contract is None else declared.contract.destinations or ()
    return declared.goal in {None, above.goal} and set(named) <= set(shown)


def _describe(report: TaskReport) -> JsonObject:
    task, facts = report.task, report.facts
    described: dict[str, Json] = {
        "id": task.id,
        "status": report.status,
        "parent": None if task.parent is None else task.parent.id,
        "opened": _time(task.opened),
        "expires": None if task.expires is None else _time(task.expires),
        "goal": task.goal,
        "ground": None if task.ground is None else msgspec.to_builtins(task.ground),
        "kind": task.declared_kind,
        "risk": task.risk,
        "tenant": task.tenant,
        "environment": task.environment,
        "contract": None if task.contract is None else _contract(task.contract),
        "approved_by": [{"id": one.id, "issuer": one.issuer} for one in task.approved_by] or None,
        "done": _known_fields(
            {
                "calls": facts.calls,
                "in_flight": facts.in_flight,
                "denials": facts.denials,
                "audiences": sorted(facts.audiences),
                "write_audiences": sorted(facts.write_audiences),
                "destinations": facts.destinations,
            }
        ),
    }
    return _known_fields(described)


def _known_fields(fields: JsonObject) -> JsonObject:
    """Return the fields without undeclared or unknown values."""
    return {name: value for name, value in fields.items() if value is not None}


def _contract(contract: Contract) -> JsonObject:
    return _known_fields(
        {
            "audiences": None if contract.audiences is None else sorted(contract.audiences),
            "tools": contract.tools,
            "destinations": contract.destinations,
            "credential_flows": [{"from": source, "to": to} for source, to in contract.credential_flows],
            "limits": contract.limits,
            "effects": contract.effects or None,
        }
    )


def _time(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6] + "Z"


def refuse_task(reason: Reason, status: int | None = None, *headers: tuple[bytes, bytes]) -> RefusalReply:
    """Return the answer of refusal to a request. The status is the reason's own unless given."""
    shown = {"code": reason.code, "message": spell_out(reason.message), "remedy": spell_out(reason.remedy)}
    reply = _json(status or reasons.status_of(reason.code), {"error": shown}, *headers)
    return RefusalReply(reply.status, reply.headers, reply.body, reason)


def _json(status: int, body: JsonObject, *headers: tuple[bytes, bytes]) -> Reply:
    fixed = ((b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff"))
    kept = () if any(name == b"cache-control" for name, _ in headers) else ((b"cache-control", b"no-store"),)
    return Reply(status, (*fixed, *kept, *headers), msgspec.json.encode(body))
