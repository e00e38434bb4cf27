"""The release of an approved call, and of a call with values that people endorsed for later tasks.

A call claims its approval, and the recorded decision uses or ends it. The kind of a task is its caller's word. So an endorsement is for one caller, one tool and one combination of values, and the
policy judges its approvers again with each call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import structlog
from msgspec import Struct, structs

from gateway.authority.approvals.desk import Desk
from gateway.authority.approvals.endorsement import endorse
from gateway.authority.approvals.endorsement import fact_of as fact_of_endorsement
from gateway.authority.approvals.endorsements import Endorsements
from gateway.authority.approvals.model import Approval, Binding, Question, Recurrence
from gateway.authority.approvals.rules import without_recurrence
from gateway.authority.approvals.state import fact_of
from gateway.base.json.walk import item_number, split_pointer
from gateway.calls.pipeline.record import append_or_log
from gateway.history import TaskLedger
from gateway.inspection.arguments import at
from gateway.model.caller import AuthMethod
from gateway.model.errors import HistoryError, JournalError, StoreError
from gateway.model.reasons import policy_codes
from gateway.model.target import Role
from gateway.policy.document import timestamp
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.authority.approvals.endorsement import Endorsement
    from gateway.calls.pipeline.decide import Ruling
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.model.call import Call
    from gateway.model.content import CallContent
    from gateway.model.decision import Decision
    from gateway.model.facts import SessionFacts
    from gateway.model.task import Task
    from gateway.model.wire import Json, JsonObject

# --- values that recur -----------------------------------------------------------------------------------


log = structlog.get_logger("gateway.releasing")

CODE: Final = policy_codes.UNGROUNDED
"""The question about values."""
_ROLES: Final = frozenset({Role.DESTINATION, Role.COMMAND, Role.AMOUNT, Role.RECORD})
"""Texts change from task to task, and credentials have rules of their own."""


def add_recurrence(
    question: Question, prepared: PreparedCall, ruling: Ruling, endorsements: Endorsements, shown: Json
) -> Question:
    """Return a question with the part of its call that can recur, or without the scope `recurring`. `shown` are the arguments as
    people see them, `None` if they are not shown whole."""
    recurrence = None
    if "recurring" in question.rule.scopes and shown is not None:
        recurrence = _recurrence(question, prepared, ruling, endorsements, shown)
    rule = question.rule if recurrence is not None else without_recurrence(question.rule)
    return structs.replace(question, rule=rule, recurrence=recurrence)


def find_endorsement(
    endorsements: Endorsements, prepared: PreparedCall, facts: SessionFacts, content: CallContent
) -> Endorsement | None:
    """Return an endorsement of the values for which the call would need approval, if any exists."""
    kind = prepared.task.declared_kind
    if kind is None or not facts.ungrounded or (facts.labels and not facts.labels.untrusted):
        return None
    principal, tool = prepared.request.principal.key, prepared.call.target.id
    if not endorsements.has_some(principal, kind, tool):
        return None
    binding = _bind(endorsements, prepared, _bound_values(prepared.call, content))
    found = None if binding is None else endorsements.find(binding)
    return None if found is None or not set(found.pointers) & set(facts.ungrounded) else found


def describe_endorsement(endorsements: Endorsements, endorsement: Endorsement) -> JsonObject:
    """Return an endorsement as the policy reads it."""
    return fact_of_endorsement(endorsement, timestamp(endorsement.granted), endorsements.now())


async def give_endorsement(endorsements: Endorsements, approval: Approval, identifier: str) -> None:
    """Endorse the values of a used approval for later tasks, if all its approvers chose so."""
    endorsement = endorse(approval, identifier, endorsements.now())
    if endorsement is None:
        return
    try:
        if not await endorsements.give(endorsement):
            log.warning("endorsement.full", approval=approval.id)
    except (StoreError, JournalError) as error:
        log.exception("endorsement.unsaved", id=endorsement.id, problem=error.message)


def _recurrence(
    question: Question, prepared: PreparedCall, ruling: Ruling, endorsements: Endorsements, shown: Json
) -> Recurrence | None:
    values = _bound_values(prepared.call, ruling.content)
    asked = {fact for reason in question.reasons if reason.code == CODE for fact in reason.facts}
    pointers = tuple(
        each for each in ruling.facts.ungrounded or () if each in (values or ()) and f"/arguments{each}" in asked
    )
    binding, seconds = _bind(endorsements, prepared, values), question.rule.recur_seconds
    if values is None or binding is None or seconds is None or not pointers:
        return None
    return Recurrence(binding, seconds, pointers, {pointer: _plain_at(shown, pointer) for pointer in values})


def _bind(endorsements: Endorsements, prepared: PreparedCall, values: Mapping[str, Any] | None) -> Binding | None:
    """Return the calls that values are good for; `None` if their caller, task or tool is not the same a second time."""
    principal, target, kind = prepared.request.principal, prepared.call.target, prepared.task.declared_kind
    if values is None or kind is None or target.definition is None or principal.method is AuthMethod.ANONYMOUS:
        return None
    document: dict[str, Json] = {
        "v": 1,
        "audience": target.audience,
        "tenant": target.tenant,
        "environment": target.environment,
        "aggregates": None if target.aggregates is None else list(target.aggregates),
        "names": sorted(prepared.call.arguments),
        "beside": prepared.call.beside,
        "values": dict(values),
    }
    return Binding(principal.key, kind, target.id, target.definition, endorsements.digest(document))


def _bound_values(call: Call, content: CallContent) -> dict[str, Any] | None:
    """Return the values of authority in a call of a tool, by pointer; `None` if one of them is not what people see.

    Other readers may take the members of a list, a text with JSON, or a name in another spelling for the same argument. Such a
    call asks again.
    """
    if call.target.type != "tool" or call.action != "tools/call":
        return None
    found: dict[str, Any] = {}
    for pointer, role in call.target.labels.roles.items():
        if role not in _ROLES:
            continue
        values = at(call.arguments, pointer)
        if not _is_same(values, _plain_at(call.arguments, pointer)) or _has_credential(pointer, content):
            return None
        if values:
            found[pointer] = {"role": role.value, "values": values}
    return found


def _has_credential(pointer: str, content: CallContent) -> bool:
    """Return whether a credential stands in the argument of a value."""
    names = {_argument(sighting.pointer) for sighting in content.sightings}
    return _argument(pointer) in names or "" in names


def _argument(pointer: str) -> str:
    return pointer.removeprefix("/").partition("/")[0]


def _is_same(some: Iterable[Json], others: Iterable[Json]) -> bool:
    return list(map(id, some)) == list(map(id, others))


def _plain_at(value: Json, pointer: str) -> list[Any]:
    """Return the values at a pointer, in which names have their own spelling and `*` is each member or item."""
    found: list[Any] = [value]
    for name in split_pointer(pointer):
        found = [member for item in found for member in _plain_members(item, name)]
    return found


def _plain_members(value: Any, name: str) -> list[Any]:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return [*members.values()] if name == "*" else [members[name]] if name in members else []
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if name == "*":
            return [*items]
        number = item_number(name, len(items))
        return [] if number is None else [items[number]]
    return []


# --- approvals -------------------------------------------------------------------------------------------


class Release(NamedTuple):
    """An approval for a call. `earlier` is the decision id of the previous round of an upstream's exchange."""

    approval: Approval
    earlier: str | None = None


class Releases(Struct, frozen=True):
    """The approvals and endorsements of people that let calls pass."""

    desk: Desk
    endorsements: Endorsements
    ledger: TaskLedger
    journal: Journal
    metrics: Metrics
    new_id: Callable[[], str]

    async def claim(self, release: Release, decision_id: str, job: str) -> Release | None:
        """Return the approval if this call has it now; `None` if an equal call was faster. Raises `StoreError`."""
        is_first = await self.desk.claim(release.approval.id, decision_id, release.earlier, job=job)
        return release if is_first else None

    def give_back(self, release: Release, decision_id: str) -> None:
        """Let another call have an approval: this call was not decided, or not recorded."""
        self.desk.give_back(release.approval.id, decision_id)

    async def settle(self, decision_id: str, task: Task, decision: Decision, release: Release) -> None:
        """Use an approval after the record has the decision of its call, or end it if the policy does not let the call pass.

        The use is on the disk before the call goes on: in the store, or else in the journal. Raises `JournalError` if
        neither takes the use. A power failure would let the approval be used again.
        """
        desk, approval = self.desk, release.approval
        try:
            if decision.allowed:
                is_first = approval.state == "granted"
                await desk.use(approval.id, decision_id)
                if is_first:
                    await self._endorse(task, approval)
                    await give_endorsement(self.endorsements, approval, self.new_id())
            elif decision.undecided:
                desk.give_back(approval.id, decision_id)
            elif decision.effect == "ask":
                await desk.end(approval.id, "superseded", "further-reasons")
            else:
                await desk.end(approval.id, "void", decision.reasons[0].code)
        except (StoreError, JournalError) as error:
            log.exception("approval.unsaved", id=approval.id, problem=error.message)
            if decision.allowed:
                await self.journal.write_through()

    async def _endorse(self, task: Task, approval: Approval) -> None:
        """Note the use of an approval in the task's history, with the values and limits of its scope."""
        question, scopes = approval.question, approval.scopes
        values = frozenset(question.values) if "destination" in scopes else frozenset[int]()
        limits: dict[str, int] = {}
        if "limit" in scopes:
            for reason in question.reasons:
                limits.update(reason.limits)
        try:
            entry = self.ledger.endorse(task, values, limits)
        except HistoryError as error:
            log.warning("approval.not-endorsed", id=approval.id, problem=error.message)
            return
        await append_or_log(self, "task", entry)

    def describe(
        self, release: Release | None, endorsement: Endorsement | None
    ) -> tuple[JsonObject | None, JsonObject | None]:
        """Return an approval and an endorsement as the policy reads them."""
        approved = None
        if release is not None and release.approval.granted is not None:
            approved = fact_of(release.approval, timestamp(release.approval.granted))
        return approved, None if endorsement is None else describe_endorsement(self.endorsements, endorsement)

    async def is_in_force(self, endorsement: Endorsement) -> bool:
        """Return whether an endorsement is not revoked meanwhile, and its time is not over. A lost store counts as a revocation."""
        try:
            return await self.endorsements.is_in_force(endorsement.id)
        except StoreError as error:
            log.warning("endorsement.unknown", id=endorsement.id, problem=error.message)
            return False
