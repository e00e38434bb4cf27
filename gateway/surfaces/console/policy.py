"""The pages of the policy: the policy in force with what each of its rules asked and stopped lately, and the candidate.

The candidate decides no call. The page shows the latest recorded decisions that would change under it. Both policies are asked
about the same inputs, built again from the journal, in a process of its own. The journal keeps less than policy saw. So a
decision counts only if the policy in force gives the recorded effect again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec
from msgspec import Struct, structs
from starlette.responses import Response
from starlette.routing import Route

from gateway.base.concurrency.background import ThreadTurns
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.model import reasons
from gateway.model.errors import GatewayError
from gateway.policy.trials.comparison import PolicyFiles, compare
from gateway.record.journal.chain import timestamp
from gateway.record.journal.columns import CALLS, OTHER, Search
from gateway.record.journal.entry import find_unenforced
from gateway.record.journal.placed import lines_before
from gateway.surfaces.console.decisions import describe_row
from gateway.surfaces.console.overview import describe_policy
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route
from gateway.surfaces.explain.recorded import explain_history, read_approval, rules_of
from gateway.surfaces.explain.window import since_of
from gateway.surfaces.replay.engine import inspector_of
from gateway.surfaces.replay.rebuilt import rebuild_input

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.responses import Response

    from gateway.config.console import CandidatePolicy
    from gateway.inspection.inspector import Inspector
    from gateway.model.wire import JsonObject
    from gateway.policy.trials.comparison import Compared, ComparedVerdict
    from gateway.surfaces.console.journals import JournalPlace
    from gateway.surfaces.console.visits import ConsoleParts, ConsoleVisit


PATH: Final = "/console/policy"
_DIFFERENCES: Final = 50
"""Differences of the shadow policy, the latest ones."""
_BUDGET: Final = 16 * 2**20
"""Bytes of the journal that the counts rest on."""


class _CountedReason(msgspec.Struct, frozen=True):
    code: str


class _CountedCall(msgspec.Struct, frozen=True):
    """The parts of a `call` entry that the counts rest on."""

    time: str
    effect: str
    reasons: tuple[_CountedReason, ...] = ()


def policy_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of the policy."""
    runs = CandidateRuns(console.settings.candidate)
    return [
        page_route(console, PATH, "viewer", partial(_show, runs)),
        action_route(console, f"{PATH}/compare", "operator", runs.run),
    ]


async def _show(runs: CandidateRuns, visit: ConsoleVisit) -> Response:
    console = visit.console
    counts = await console.read_journal(partial(count_reasons, console.configuration.journal.path))
    rules = await console.read_journal(partial(rules_of, console.configuration))
    return visit.page(
        "policy.html",
        policy=describe_policy(console.gateway),
        candidate=runs.describe(),
        shadow=await _describe_shadow(console),
        may_compare=visit.session.visitor.has_role("operator"),
        counts={**counts, "rows": [_row(code, found, rules) for code, found in counts["codes"].items()]},
    )


async def _describe_shadow(console: ConsoleParts) -> dict[str, Any] | None:
    """Return the state of the shadow policy with its latest differences; `None` without one."""
    shadow = console.gateway.shadow
    if shadow is None:
        return None
    rows = await console.read_journal(partial(_read_differences, console))
    return {"status": shadow.status(), "rows": rows}


def _read_differences(console: ConsoleParts) -> list[JsonObject]:
    """Return the latest entries of the shadow policy. It reads files. Raises `JournalError`."""
    page = console.journals.find_page(
        Search(kinds=frozenset({OTHER})), lambda line: b'"kind":"shadow"' in line[:200], count=_DIFFERENCES
    )
    return [entry for _, entry in page.found]


def _row(code: str, found: Mapping[str, int], rules: Mapping[str, Any]) -> dict[str, Any]:
    rule = rules.get(code)
    return {
        "code": code,
        "title": None if rule is None else rule.title,
        "place": None if rule is None else f"{rule.file}:{rule.line}",
        "asked": found.get("ask", 0),
        "stopped": found.get("deny", 0),
    }


def count_reasons(folder: Path, budget: int = _BUDGET) -> dict[str, Any]:
    """Return how many of the latest calls passed, asked and were stopped, and for which codes. Raises `JournalError`."""
    effects, codes = Counter[str](), dict[str, Counter[str]]()
    read, since = 0, None
    for _, line in lines_before(folder):
        read += len(line)
        if read > budget:
            break
        if b'"kind":"call"' not in line[:200]:
            continue
        call = msgspec.json.decode(line, type=_CountedCall)
        since = call.time
        effects[call.effect] += 1
        for reason in {one.code for one in call.reasons}:
            codes.setdefault(reason, Counter())[call.effect] += 1
    ordered = sorted(codes.items(), key=lambda item: -item[1].total())
    return {"since": since, "effects": cast("dict[str, int]", effects), "codes": dict(ordered)}


MOST: Final = 200
"""Decisions of one comparison, the latest ones."""
_SECONDS: Final = 20.0
"""For building the inputs. A comparison of long tasks has fewer decisions."""
PLACE: Final = "/console/policy#candidate"


class _RecordedInput(NamedTuple):
    """A recorded decision and its policy input. Without an input the record lacks a part."""

    row: dict[str, Any]
    document: JsonObject | None


class ChangedDecision(Struct, frozen=True):
    """A recorded decision with another verdict under the candidate policy. `row` describes the decision in a list."""

    row: dict[str, Any]
    before: ComparedVerdict
    after: ComparedVerdict


class Comparison(Struct, frozen=True):
    """A comparison on the latest decisions. `unclear` decisions are not compared: the record lacks a part of their input."""

    by: str
    at: str
    looked: int
    unclear: int
    differences: tuple[ChangedDecision, ...]
    revisions: tuple[str, str]


class CandidateRuns:
    """Runner of policy comparisons: one runs at a time. The console shows the latest result until the gateway stops."""

    def __init__(self, candidate: CandidatePolicy | None) -> None:
        self.candidate = candidate
        self.latest: Comparison | None = None
        self._is_running = False

    def describe(self) -> dict[str, Any] | None:
        """Return the candidate and its latest comparison for the page; `None` without a candidate."""
        if self.candidate is None:
            return None
        return {"files": self.describe_files(), "latest": self.latest, "most": MOST, "is_running": self._is_running}

    async def run(self, visit: ConsoleVisit) -> Response:
        """Compare, and lead back to the page. The journal has the person before the comparison begins."""
        console = visit.console
        if self.candidate is None:
            return visit.refuse(reasons.CONSOLE_CANDIDATE.reason())
        if not console.configuration.policy.has_files:
            return visit.refuse(reasons.CONSOLE_CANDIDATE_REMOTE.reason())
        if self._is_running:
            return visit.refuse(reasons.CONSOLE_BUSY.reason())
        self._is_running = True
        try:
            await visit.record("policy-compare", candidate=self.describe_files())
            asked = await console.read_journal(partial(read_asked, console))
            in_force = PolicyFiles.configured(console.configuration.policy)
            candidate = structs.replace(in_force, **self.describe_files())
            documents = [one.document for one in asked if one.document is not None]
            compared = await compare(in_force, candidate, documents, SUPPORTED_OBLIGATIONS)
            self.latest = judge(visit.session.visitor.name, timestamp(console.gateway.clock()), asked, compared)
        finally:
            self._is_running = False
        return see_other(PLACE)

    def describe_files(self) -> dict[str, str]:
        """Return the named parts of the candidate."""
        parts = {} if self.candidate is None else self.candidate.model_dump()
        return {name: str(path) for name, path in parts.items() if path is not None}


def read_asked(console: ConsoleParts) -> list[_RecordedInput]:
    """Return the latest decisions of the policy, with their inputs. It reads files. Raises `JournalError`."""
    inspector, turns = inspector_of(console.configuration), ThreadTurns()
    until = time.monotonic() + _SECONDS
    page = console.journals.find_page(Search(kinds=CALLS), lambda line: b'"kind":"call"' in line[:200], count=MOST)
    found: list[_RecordedInput] = []
    for place, decision in page.found:
        if decision.get("undecided"):
            continue
        if time.monotonic() > until:
            break
        turns.give()
        try:
            document = _build_input(console, place, decision, inspector)
        except (GatewayError, KeyError, TypeError, ValueError, AttributeError):
            document = None  # counted as unclear on the page
        row = {**describe_row(place, decision), "has_arguments": _has_arguments(decision)}
        if (unenforced := find_unenforced(decision)) is not None:
            # Observe mode let the call pass; the policies are compared by their own verdicts.
            row["effect"] = unenforced[0]
        found.append(_RecordedInput(row, document))
    return found


def _has_arguments(decision: JsonObject) -> bool:
    kept = decision.get("arguments")
    return isinstance(kept, dict) and "value" in kept


def _build_input(
    console: ConsoleParts, place: JournalPlace, decision: JsonObject, inspector: Inspector
) -> JsonObject | None:
    window = console.journals.open_window(place)
    explanation = explain_history(decision, lambda tasks: window.tasks(tasks, since=since_of(decision)))
    if explanation is None:
        return None
    approval = read_approval(cast("Mapping[str, Any]", decision), window.approval)
    # Without its arguments a call is malformed to every policy. The page marks a decision that was taken with empty arguments.
    return {"arguments": {}, **rebuild_input(decision, explanation, inspector, approval).document}


def judge(by: str, at: str, asked: list[_RecordedInput], compared: Compared) -> Comparison:
    """Return the decisions that would change, and the number of decisions without a clear answer. Pure."""
    answers = iter(compared.answers)
    unclear = 0
    differences: list[ChangedDecision] = []
    for row, document in asked:
        if document is None:
            unclear += 1
            continue
        before, after = next(answers)
        if before.effect != row["effect"]:
            unclear += 1
        elif before != after:
            differences.append(ChangedDecision(row, before, after))
    return Comparison(by, at, len(asked), unclear, tuple(differences), compared.revisions)
