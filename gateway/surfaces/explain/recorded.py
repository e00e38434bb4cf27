"""A recorded decision with the parts of its explanation. The caller brings the entries of the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway.authority.approvals.events import read_fact
from gateway.history.provenance import Provenance
from gateway.model.errors import JournalError
from gateway.policy.document import timestamp
from gateway.surfaces.explain.reasons import Rules, describe_for_programs

if TYPE_CHECKING:
    from gateway.history.provenance import Explanation
    from gateway.model.wire import JsonObject
    from gateway.surfaces.explain.facts import Facts


def explain_history(
    decision: JsonObject, find_entries: Callable[[Collection[str]], Iterable[JsonObject]]
) -> Explanation | None:
    """Return the history of the task at the time of the decision, `None` for a request without a task.

    `find_entries` gives the entries of tasks, oldest first. Raises `GatewayError`.
    """
    if "history" not in decision:
        return None
    provenance = Provenance(decision)
    for entry in find_entries(provenance.tasks):
        if not provenance.take(entry):
            break
    return provenance.explanation()


def read_approval(
    decision: Mapping[str, Any], find_entries: Callable[[str], Iterable[JsonObject]]
) -> JsonObject | None:
    """Return the approval of a call in the form of the policy input; `None` without an approval or its entries.

    `find_entries` gives the entries with an id. Raises `JournalError`.
    """
    identifier = decision.get("approval")
    if not isinstance(identifier, str):
        return None
    try:
        return read_fact(tuple(find_entries(identifier)), timestamp)
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(
            f"an entry of the approval {identifier} is damaged: {error}", "run `opagate journal verify`"
        ) from error


def describe_reason(recorded: Mapping[str, Any], rules: Rules, facts: Facts) -> dict[str, Any]:
    """Return a reason of a decision with its rule, its facts, and the calls behind each fact."""
    pointers = recorded.get("facts") or ()
    known = {pointer: facts.value(pointer) for pointer in pointers}
    return {
        **describe_for_programs(str(recorded["code"]), recorded.get("message"), rules, known),
        "made_by": {
            pointer: [{**asdict(cause.call), "how": cause.how} for cause in causes]
            for pointer in pointers
            if (causes := facts.causes(pointer))
        },
    }
