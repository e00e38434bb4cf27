"""The proof of proposed grants: the recorded calls, decided again by the same policy with these grants alone.

The inputs are built again from the journal, as `opagate journal explain` builds them. Targets have the labels of today, since labels may
have been written after the calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.history.provenance import Provenance
from gateway.model.errors import GatewayError
from gateway.model.reasons.policy_codes import ARGUMENTS_UNCOVERED
from gateway.record.journal import reader
from gateway.record.journal.entry import closed_by, opened_by
from gateway.record.journal.several import collect
from gateway.surfaces.explain.recorded import explain_history, read_approval
from gateway.surfaces.granting.proposal import Place, ProposedGrant, place_of, propose, write_yaml
from gateway.surfaces.granting.sparing import Spared, find_spared
from gateway.surfaces.replay.rebuilt import rebuild_input

if TYPE_CHECKING:
    from gateway.inspection.inspector import Inspector
    from gateway.model.decision import Decision
    from gateway.model.wire import JsonObject
    from gateway.policy.policy import Policy
    from gateway.record.journal.several import NamedJournal
    from gateway.surfaces.granting.observed import ObservedCall

_ROUNDS: Final = 4
"""Proposals until each condition holds for the calls that it comes from. A condition that does not is left out."""

OpenPolicy = Callable[[AsyncExitStack, Path], Any]
"""Starts the policy with a file of grants; the stack ends it."""


class Verdict(NamedTuple):
    """The decision on a recorded call under the proposed grants."""

    call: ObservedCall
    effect: str
    codes: tuple[str, ...]
    unmet: tuple[str, ...]
    """The pointers of arguments for which no proposed condition holds."""
    spared: Spared | None = None
    """The settings that spare the question about the call, if it asks and if there are any."""


class Proof(NamedTuple):
    """The final proposal with the verdicts on its calls, and on the calls that other rules refuse. `unclear` calls cannot be built
    again from the journal."""

    grants: list[ProposedGrant]
    covered: list[Verdict]
    refused: list[Verdict]
    unclear: int


class RecordedTasks:
    """The entries of the tasks of some calls, and of approvals, in memory."""

    def __init__(self, journals: Sequence[NamedJournal], decisions: Iterable[JsonObject]) -> None:
        """Read the entries. Raises `JournalError`."""
        ids = {task for decision in decisions for task in Provenance(decision).tasks}
        self._tasks: dict[str, list[tuple[int, JsonObject]]] = {task: [] for task in ids}
        self._approvals: dict[str, list[JsonObject]] = {}
        calls: dict[str, str] = {}
        found = collect(journals, lambda each: reader.tasks(each.folder, ids, key=each.keys))
        for place, (_, entry) in enumerate(found):
            named: Any = entry.get("task")
            kind = str(entry["kind"])
            closed = closed_by(kind, entry)
            named = cast("dict[str, Any]", named)["id"] if isinstance(named, dict) else named
            task = calls[closed] if closed is not None else str(named)
            if (opened := opened_by(kind, entry)) is not None:
                calls[opened] = task
            self._tasks[task].append((place, entry))
            if kind == "approval":
                self._approvals.setdefault(str(entry["id"]), []).append(entry)

    def find(self, ids: Collection[str]) -> list[JsonObject]:
        """Return the entries of tasks, oldest first."""
        return [entry for _, entry in merge(*(self._tasks.get(task, ()) for task in ids), key=lambda found: found[0])]

    def approval(self, identifier: str) -> list[JsonObject]:
        """Return the entries of an approval, oldest first."""
        return self._approvals.get(identifier, [])


def build_inputs(
    calls: Sequence[tuple[ObservedCall, JsonObject]], tasks: RecordedTasks, inspector: Inspector
) -> Iterator[tuple[ObservedCall, JsonObject | None]]:
    """Yield each call with its policy input; `None` if the journal lacks a part of the input."""
    for call, entry in calls:
        try:
            explanation = explain_history(entry, tasks.find)
            approval = read_approval(cast("Mapping[str, Any]", entry), tasks.approval)
            document = None if explanation is None else rebuild_input(entry, explanation, inspector, approval).document
        except (GatewayError, KeyError, TypeError, ValueError, AttributeError):
            document = None  # counted as unclear
        if document is not None and "arguments" not in document:
            # Without values, a grant is proved on the names alone.
            document = _with_unknown_destinations({**document, "arguments": dict.fromkeys(call.names or ())})
        yield call, document


def _with_unknown_destinations(document: JsonObject) -> JsonObject:
    """Return the input with untrusted destinations in the place of those of which the journal has digests alone.

    The policy refuses each call with unknown destinations (`fan-out/incomplete`). The gateway knew the destinations.
    """
    session = cast("dict[str, Any]", document["session"])
    if "call_destinations" in session:
        return document
    raised = cast("Mapping[str, int]", session.get("raises") or {})
    names = [f"unrecorded-{number}" for number in range(max(1, raised.get("call_destinations", 1)))]
    return {**document, "session": {**session, "call_destinations": names}}


async def prove(asked: Sequence[tuple[ObservedCall, JsonObject | None]], open_policy: OpenPolicy) -> Proof:
    """Return the least grants for calls, without the calls that other rules refuse, and without conditions that do not hold."""
    known = [(call, document) for call, document in asked if document is not None]
    refused: dict[str, Verdict] = {}
    dropped = set[tuple[Place, str]]()
    grants: list[ProposedGrant] = []
    verdicts: list[Verdict] = []
    for _ in range(_ROUNDS):
        kept = [(call, document) for call, document in known if call.id not in refused]
        grants = propose((call for call, _ in kept), dropped)
        verdicts = await _decide_all(kept, grants, open_policy)
        denied = [found for found in verdicts if found.effect == "deny"]
        if not denied:
            break
        unmet = {(place_of(found.call), pointer) for found in denied for pointer in found.unmet} - dropped
        dropped |= unmet
        refused |= {found.call.id: found for found in denied if not found.unmet or not unmet}
    covered = [found for found in verdicts if found.effect != "deny"]
    return Proof(grants, covered, list(refused.values()), len(asked) - len(known))


async def _decide_all(
    asked: Sequence[tuple[ObservedCall, JsonObject]], grants: Sequence[ProposedGrant], open_policy: OpenPolicy
) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="opagate-grants-") as folder:
        file = Path(folder) / "grants.yaml"
        file.write_text(write_yaml(grants, ()), "utf-8")
        async with AsyncExitStack() as stack:
            policy: Policy = await open_policy(stack, file)
            return [_judge(call, document, await policy.decide(document)) for call, document in asked]


def _judge(call: ObservedCall, document: JsonObject, decision: Decision) -> Verdict:
    unmet = {
        fact.removeprefix("/arguments")
        for reason in decision.reasons
        if reason.code == ARGUMENTS_UNCOVERED
        for fact in reason.facts
    }
    codes = tuple(reason.code for reason in decision.reasons)
    spared = find_spared(call, document, decision.reasons) if decision.effect == "ask" else None
    return Verdict(call, decision.effect, codes, tuple(sorted(unmet)), spared)
