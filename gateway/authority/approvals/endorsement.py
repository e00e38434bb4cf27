"""Endorsements: values approved by people for later tasks of the same kind, and their journal entries. Pure.

| event | when |
|---|---|
| `given` | an approval with the scope `recurring` was used; `replaces` names an earlier endorsement of the same values |
| `revoked` | a person took the endorsement back (`by`) |
| `expired` | its time was over |
| `withdrawn` | the journal was cut or replaced, and may lack a revocation |

The use of an endorsement is no event: the `call` entry has the field `endorsement`. A `given` entry has all parts of an
endorsement, except the values themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
from msgspec import Struct, structs

from gateway.authority.approvals.model import Approval, Binding, Person, Vote
from gateway.authority.approvals.state import describe_approvers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model.wire import JsonObject

KIND: Final = "endorsement"
Event = Literal["given", "revoked", "expired", "withdrawn"]


class Endorsement(Struct, frozen=True):
    """Approved values, good for later calls with the same binding. `approval` is the id of the answered question, and `used` the
    time of the last use. `shown` is `None` after a restart without the file of endorsements."""

    id: str
    binding: Binding
    agent: str
    user: str | None
    votes: tuple[Vote, ...]
    approval: str
    pointers: tuple[str, ...]
    granted: float
    expires: float
    used: float | None = None
    shown: dict[str, Any] | None = None


class EndorsementSelection(Struct, frozen=True, forbid_unknown_fields=True):
    """A choice of endorsements. Each given field has to match. `principal` is an agent, its user, or `Principal.key`."""

    id: str | None = None
    principal: str | None = None
    tool: str | None = None
    kind: str | None = None
    all: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.all or self.id or self.principal or self.tool or self.kind)

    def fits(self, endorsement: Endorsement) -> bool:
        """Return whether an endorsement fits every given field."""
        named = {endorsement.agent, endorsement.user, endorsement.binding.principal}
        return (
            self.id in {None, endorsement.id}
            and (self.principal is None or self.principal in named)
            and self.tool in {None, endorsement.binding.tool}
            and self.kind in {None, endorsement.binding.kind}
        )


def endorse(approval: Approval, identifier: str, now: float) -> Endorsement | None:
    """Return the endorsement by a used approval, `None` unless all its approvers chose the scope `recurring`."""
    question, recurrence = approval.question, approval.question.recurrence
    if recurrence is None or "recurring" not in approval.scopes or approval.granted is None:
        return None
    return Endorsement(
        id=identifier,
        binding=recurrence.binding,
        agent=question.requester.id,
        user=question.requester.user,
        votes=approval.yes,
        approval=approval.id,
        pointers=recurrence.pointers,
        granted=now,
        expires=now + recurrence.seconds,
        shown=recurrence.shown,
    )


def given_entry(endorsement: Endorsement, replaces: str | None) -> JsonObject:
    """Return the fields of a `given` entry: all of an endorsement but its values."""
    fields: dict[str, Any] = msgspec.to_builtins(structs.replace(endorsement, shown=None))
    del fields["shown"], fields["used"]
    return {
        **fields,
        "event": "given",
        "at": endorsement.granted,
        **({} if replaces is None else {"replaces": replaces}),
    }


def ended_entry(
    endorsement: Endorsement, event: Event, now: float, *, by: Person | None = None, cause: str = ""
) -> JsonObject:
    """Return the fields of the entry for the end of an endorsement."""
    fields: dict[str, Any] = {"id": endorsement.id, "event": event, "at": now}
    if by is not None:
        fields["by"] = msgspec.to_builtins(by)
    return {**fields, "cause": cause} if cause else fields


def read_given(fields: JsonObject) -> Endorsement:
    """Return the endorsement of a `given` entry. Raises `ValueError`."""
    try:
        return msgspec.convert(fields, Endorsement)
    except msgspec.ValidationError as error:
        raise ValueError(f"no endorsement: {error}") from error


def fact_of(endorsement: Endorsement, granted: str, now: float) -> JsonObject:
    """Return the endorsement in the form for policy (`context.endorsement`). `granted` is its time in RFC 3339."""
    return {
        "id": endorsement.id,
        "digest": endorsement.binding.values,
        "kind": endorsement.binding.kind,
        "approvers": describe_approvers(endorsement.votes),
        "granted": granted,
        "age_seconds": max(0, int(-(-(now - endorsement.granted) // 1))),
        "scopes": ["recurring"],
        "facts": [f"/arguments{pointer}" for pointer in endorsement.pointers],
    }


def used_at(fields: JsonObject) -> tuple[str, float] | None:
    """Return the id of the endorsement used by a `call` entry, and the time, `None` without an endorsement."""
    found = fields.get("endorsement")
    if not isinstance(found, dict) or fields.get("effect") != "allow":
        return None
    history = cast("Mapping[str, Any]", fields["history"])
    return cast("str", cast("Mapping[str, Any]", found)["id"]), float(history["at"])
