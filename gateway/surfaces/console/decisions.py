"""Decisions: the latest ones with filters, paged by their places in the journal, and all that the record knows of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.calls.pipeline.effects import OutcomeOrder
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import GatewayError, JournalError
from gateway.record.journal.columns import CALLS, EFFECTS, REFUSED, UNREADABLE, Search
from gateway.record.journal.entry import LOST, LostTo
from gateway.record.journal.placed import EntryPlace, find_page, read_at
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route, read_reason
from gateway.surfaces.explain.grants import as_json, choose_recorded, places
from gateway.surfaces.explain.recorded import (
    Facts,
    describe_reason,
    describe_unenforced,
    facts_of,
    list_declared,
    read_decision,
    rules_of,
    say_confirmed,
)
from gateway.surfaces.explain.window import JournalWindow
from gateway.surfaces.replay.engine import inspector_of
from gateway.surfaces.replay.rebuilt import rebuild_input

if TYPE_CHECKING:
    from gateway.history.provenance import Explanation
    from gateway.model.wire import JsonObject
    from gateway.record.journal.columns import Column
    from gateway.record.journal.placed import EntryPage
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/decisions"
EVENTS: Final = "/console/events"
_EFFECTS: Final = ("allow", "ask", "deny", "refused")
FILTERS: Final = ("agent", "upstream", "code", "effect", "task")
_COUNT: Final = 50
_PLACE: Final = re.compile(r"([0-9]{1,8})-([0-9]{1,15})")
_DECISION: Final = re.compile(rb'"kind":"(?:call|refused)"')
DECISIONS: Final = frozenset({*CALLS, REFUSED})
_FAR: Final = 256 * 2**20
"""Bytes that a search for one decision indexes at most."""


def decision_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of decisions."""
    return [
        page_route(console, PATH, "viewer", _list),
        action_route(console, f"{PATH}/settle", "operator", _settle),
        page_route(console, f"{PATH}/{{id}}", "viewer", _show),
    ]


class _DecisionPart(msgspec.Struct, frozen=True):
    id: str | None = None
    upstream: str | None = None
    code: str | None = None


class _DecisionHeading(msgspec.Struct, frozen=True):
    """The parts of a decision that a filter looks at."""

    kind: str
    effect: str = "refused"
    principal: _DecisionPart = _DecisionPart()
    target: _DecisionPart = _DecisionPart()
    task: _DecisionPart = _DecisionPart()
    reasons: tuple[_DecisionPart, ...] = ()


def make_filter(wanted: Mapping[str, str]) -> Callable[[bytes], bool]:
    """Return whether a line of the journal is a decision with all wanted values."""
    # A value without its JSON text in the line needs no decoding.
    marks = [msgspec.json.encode(value) for name, value in wanted.items() if name != "effect"]

    def fits(line: bytes) -> bool:
        if not _DECISION.search(line, 0, 200) or not all(mark in line for mark in marks):
            return False
        if not wanted:
            return True
        heading = msgspec.json.decode(line, type=_DecisionHeading)
        found = {
            "agent": {heading.principal.id},
            "upstream": {heading.target.upstream},
            "effect": {heading.effect},
            "task": {heading.task.id},
            "code": {reason.code for reason in heading.reasons},
        }
        return all(value in found[name] for name, value in wanted.items())

    return fits


async def _list(visit: ConsoleVisit) -> Response:
    query, console = visit.request.query_params, visit.console
    context = await console.read_journal(partial(load_decisions, console, query))
    return visit.page("decisions.html", **context, effects=_EFFECTS, upstreams=sorted(console.configuration.upstreams))


def load_decisions(console: ConsoleParts, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of the list for a query. It reads files. Raises `JournalError`."""
    wanted, before = read_filters(query, FILTERS), read_place(query.get("before", ""))
    page = find_decisions(console, wanted, before)
    older = None if page.before is None else {**wanted, "before": write_place(page.before)}
    return {
        "rows": [describe_row(place, entry) for place, entry in page.found],
        "wanted": wanted,
        "older": older and f"{PATH}?{urlencode(older)}",
        "newest": before is None,
        "newest_path": f"{PATH}?{urlencode(wanted)}",
        "events": f"{EVENTS}/decisions?{urlencode(wanted)}",
        "searched": page.searched,
        "broken": console.index.broken_lines(),
    }


def read_filters(query: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the filters of a query that have a value."""
    return {name: query[name][:200] for name in names if query.get(name)}


def find_decisions(console: ConsoleParts, wanted: Mapping[str, str], before: EntryPlace | None) -> EntryPage:
    """Return the decisions before a place that fit. It reads files: the lines of the page, found by the index if there is a filter."""
    fits = make_filter(wanted)
    if not wanted:
        folder = console.configuration.journal.path
        return find_page(folder, fits, before=before, count=_COUNT, key=console.journal_key)
    return console.index.find_page(make_search(wanted), fits, before=before, count=_COUNT)


def make_search(wanted: Mapping[str, str]) -> Search:
    """Return the search of the index for the wanted values."""
    effect = wanted.get("effect")
    values: dict[Column, str] = {name: wanted[name] for name in ("agent", "upstream", "task") if name in wanted}
    kinds = DECISIONS if effect is None else frozenset({EFFECTS.get(effect, UNREADABLE)})
    return Search(values, wanted.get("code"), kinds)


def describe_row(place: EntryPlace, entry: JsonObject) -> dict[str, Any]:
    """Return a decision for a list."""
    fields = cast("Mapping[str, Any]", entry)
    principal: Mapping[str, Any] = fields.get("principal") or {}
    target: Mapping[str, Any] = fields.get("target") or {}
    task: Mapping[str, Any] = fields.get("task") or {}
    return {
        "id": fields["id"],
        "path": f"{PATH}/{fields['id']}?at={write_place(place)}",
        "time": fields["time"],
        "effect": fields.get("effect", "refused"),
        "agent": principal.get("id"),
        "user": principal.get("user"),
        "known_as": principal.get("known_as"),
        "target": target.get("id") or fields.get("name") or fields.get("method"),
        "codes": [reason["code"] for reason in fields.get("reasons") or ()],
        "task": task.get("id"),
        "approval": fields.get("approval"),
        "unenforced": describe_unenforced(fields),
    }


def write_place(place: EntryPlace) -> str:
    """Return a place for an address."""
    return f"{place.segment}-{place.offset}"


def read_place(text: str) -> EntryPlace | None:
    """Return the place in an address, `None` without one."""
    match = _PLACE.fullmatch(text)
    return None if match is None else EntryPlace(int(match[1]), int(match[2]))


async def _show(visit: ConsoleVisit) -> Response:
    identifier = visit.request.path_params["id"]
    found = await find_decision(visit.console, identifier, read_place(visit.request.query_params.get("at", "")))
    if found is None:
        return visit.refuse(reasons.CONSOLE_DECISION.reason())
    place, decision = found
    try:
        described = await visit.console.read_journal(partial(_describe, visit.console, decision, place))
        described["grants"] = await _near_grants(visit.console, decision, described["explanation"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(f"the entry of {identifier} is damaged: {error}", "run `opagate journal verify`") from error
    settled = described["settled"]
    is_unknown = settled is not None and (settled["kind"] == "abandoned" or settled.get("outcome") == "unknown")
    described["may_settle"] = is_unknown and visit.session.visitor.has_role("operator")
    return visit.page("decision.html", **described, row=describe_row(place, decision))


async def _settle(visit: ConsoleVisit) -> Response:
    """Settle the unknown outcome of a call. The journal has the person and the reason."""
    stage, end = visit.console.gateway.effects, visit.value("end")
    reason = read_reason(visit)
    if isinstance(reason, Reason):
        return visit.refuse(reason)
    if stage is None or end not in {"done", "failed"}:
        return visit.refuse(reasons.OUTCOME_KNOWN.reason())
    person = visit.session.visitor.person
    by = {"id": person.id, "issuer": person.issuer, "channel": "console"}
    order = OutcomeOrder(visit.value("id"), cast("Literal['done', 'failed']", end), reason)
    found = await stage.settle_by_person(order, by)
    return visit.refuse(found) if isinstance(found, Reason) else see_other(f"{PATH}/{order.id}")


async def find_decision(
    console: ConsoleParts, identifier: str, place: EntryPlace | None
) -> tuple[EntryPlace, JsonObject] | None:
    """Return a decision and its place; `None` for an unknown one. Without a place the index finds it."""
    folder, key = console.configuration.journal.path, console.journal_key
    if place is not None:
        try:
            entry = await console.read_journal(partial(read_at, folder, place, key=key))
        except JournalError:
            entry = None
        if entry is not None and entry.get("id") == identifier and entry["kind"] in {"call", "refused"}:
            return place, entry
    mark = msgspec.json.encode(identifier)

    def fits(line: bytes) -> bool:
        if mark not in line or not _DECISION.search(line, 0, 200):
            return False
        return cast("Mapping[str, Any]", msgspec.json.decode(line)).get("id") == identifier

    search = Search({"id": identifier}, kinds=DECISIONS)
    page = await console.read_journal(partial(console.index.find_page, search, fits, count=2, budget=_FAR))
    # A call whose upstream failed has a refusal of the same id after it.
    return next((one for one in page.found if one[1]["kind"] == "call"), page.found[0] if page.found else None)


def _describe(console: ConsoleParts, decision: JsonObject, place: EntryPlace) -> dict[str, Any]:
    """Return all that the record and the policy of today know of a decision, but for the grants. It reads files."""
    window = JournalWindow(console.configuration.journal.path, place, console.journal_key, console.index)
    found = read_decision(decision, window)
    explanation = found.explanation
    facts, rules = facts_of(decision, explanation, found.counted), rules_of(console.configuration)
    return {
        "decision": decision,
        "explanation": explanation,
        "settled": found.settled,
        "lost": None if found.settled is None else LOST.get(cast("LostTo", found.settled.get("lost"))),
        "confirmed": None if found.confirmed is None else say_confirmed(found.confirmed),
        "approved": found.approval,
        "shadow": found.shadow,
        "reasons": [
            {**describe_reason(reason, rules, facts), "words": _words(reason, facts)}
            for reason in cast("list[Mapping[str, Any]]", decision.get("reasons") or [])
        ],
        "declared": list_declared(decision),
        "missing": 0 if explanation is None else explanation.missing,
        "is_cut": window.is_cut,
    }


def _words(reason: Mapping[str, Any], facts: Facts) -> dict[str, str]:
    return {pointer: facts.words(pointer) for pointer in reason.get("facts") or ()}


async def _near_grants(
    console: ConsoleParts, decision: JsonObject, explanation: Explanation | None
) -> list[dict[str, Any]] | None:
    """Return the grants that hold or come nearest, as the policy in force judges them; `None` if nothing tells."""
    if explanation is None:
        return None
    configuration = console.configuration
    try:
        asked = await console.read_journal(partial(_rebuild, console, decision, explanation))
    except GatewayError:
        return None
    fits = await console.gateway.policy.fits(asked)
    if fits is None:
        return None
    return as_json(choose_recorded(fits, decision), await console.read_journal(partial(places, configuration.policy)))


def _rebuild(console: ConsoleParts, decision: JsonObject, explanation: Explanation) -> JsonObject:
    return rebuild_input(decision, explanation, inspector_of(console.configuration)).document
