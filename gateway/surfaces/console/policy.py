"""The policy in force, and what each of its rules asked and stopped lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.record.journal.placed import lines_before
from gateway.surfaces.console.candidate import CandidateRuns
from gateway.surfaces.console.overview import describe_policy
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route
from gateway.surfaces.explain.reasons import rules_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.surfaces.console.parts import ConsoleParts

PATH: Final = "/console/policy"
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
        may_compare=visit.session.visitor.has_role("operator"),
        counts={**counts, "rows": [_row(code, found, rules) for code, found in counts["codes"].items()]},
    )


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
