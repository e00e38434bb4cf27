"""The forwarded calls of a journal, as far as grants are about them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from gateway.model.reasons.policy_codes import APPROVAL_GRANT, CREDENTIAL_PRESENTED

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

Kind = Literal["tool", "resource", "prompt"]
_CHAINS: Final = CREDENTIAL_PRESENTED.partition("/")[0] + "/"
"""The family of reasons for which no grant is proposed, whoever would approve the call."""


class ObservedCall(NamedTuple):
    """A forwarded call. `values` has the arguments by name, `None` if the journal keeps digests. `names` is `None` if it keeps
    nothing. `is_approved`: a person approved the call, or its grant asked for one."""

    id: str
    time: str
    agent: str
    issuer: str
    user: str | None
    upstream: str
    kind: Kind
    name: str
    effect: str
    sensitivity: str
    roles: Mapping[str, str]
    names: tuple[str, ...] | None
    values: Mapping[str, Any] | None
    is_approved: bool


class Sorted(NamedTuple):
    """The calls of a journal: forwarded ones with their entries, and the number of others by the reason to leave them out."""

    calls: list[tuple[ObservedCall, JsonObject]]
    left_out: dict[str, int]


def sort_calls(
    entries: Iterable[JsonObject], since: str, *, agent: str | None, upstream: str | None, unasked: bool = False
) -> Sorted:
    """Return the forwarded calls from a time on, of one agent and one upstream if these are given.

    `unasked`: the grants of an observed time ask for nobody; only a call that a person did approve is approved.
    """
    found = Sorted([], {})
    for entry in entries:
        if entry["kind"] != "call" or str(entry["time"]) < since or "effect" not in entry:
            continue
        call = read_call(entry, unasked=unasked)
        if agent not in {None, call.agent} or upstream not in {None, call.upstream}:
            continue
        reason = _find_reason(entry, call)
        if reason is None:
            found.calls.append((call, entry))
        else:
            found.left_out[reason] = found.left_out.get(reason, 0) + 1
    return found


def read_call(entry: JsonObject, *, unasked: bool = False) -> ObservedCall:
    """Return a `call` entry in the form for grants."""
    fields = cast("Mapping[str, Any]", entry)
    target, principal, arguments = fields["target"], fields["principal"], fields["arguments"]
    names = arguments.get("names")
    return ObservedCall(
        fields["id"],
        fields["time"],
        principal["id"],
        principal["issuer"],
        principal["user"],
        target["upstream"],
        target["type"],
        str(target["id"]).removeprefix(f"{target['upstream']}/"),
        target["effect"] if target["type"] == "tool" else "read",
        target["sensitivity"],
        target["roles"],
        None if names is None else tuple(names),
        arguments.get("value"),
        "approval" in fields or (not unasked and APPROVAL_GRANT in _codes(fields)),
    )


def _find_reason(entry: JsonObject, call: ObservedCall) -> str | None:
    """Return the reason to propose no grant for a call, if there is any."""
    codes = _codes(cast("Mapping[str, Any]", entry))
    if entry["effect"] != "allow":
        return f"not forwarded ({codes[0]})" if codes else "not forwarded"
    if any(code.startswith(_CHAINS) for code in codes):
        return f"a chain of credentials ({next(code for code in codes if code.startswith(_CHAINS))})"
    if any("*" in text for text in (call.agent, call.issuer, call.name, call.user or "")):
        return "a name with *, which a grant reads as a pattern"
    return None


def _codes(fields: Mapping[str, Any]) -> list[str]:
    return [reason["code"] for reason in fields.get("reasons") or ()]
