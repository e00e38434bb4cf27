"""Decisions: the latest ones with filters, paged by their places in the journal, and all that the record knows of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
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
from gateway.record.journal.columns import CALLS, COLUMNS, EFFECTS, REFUSED, UNREADABLE, Search
from gateway.record.journal.entry import LOST, LostTo
from gateway.surfaces.console.journals import read_cursor, read_place, write_cursor, write_place
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
from gateway.surfaces.replay.engine import inspector_of
from gateway.surfaces.replay.rebuilt import rebuild_input

if TYPE_CHECKING:
    from gateway.history.provenance import Explanation
    from gateway.model.wire import JsonObject
    from gateway.record.journal.columns import Column
    from gateway.surfaces.console.journals import Cursor, JointPage, JournalPlace
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/decisions"
EVENTS: Final = "/console/events"
_EFFECTS: Final = ("allow", "ask", "deny", "refused")
FILTERS: Final = ("agent", "user", "upstream", "tool", "code", "effect", "task", "arguments", "since", "until")
_TIMES: Final = ("since", "until")
_COUNT: Final = 50
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2})?", re.ASCII)
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
    user: str | None = None
    digest: str | None = None


class _DecisionHeading(msgspec.Struct, frozen=True):
    """The parts of a decision that a filter looks at."""

    kind: str
    effect: str = "refused"
    time: str = ""
    arguments: _DecisionPart = _DecisionPart()
    principal: _DecisionPart = _DecisionPart()
    target: _DecisionPart = _DecisionPart()
    task: _DecisionPart = _DecisionPart()
    reasons: tuple[_DecisionPart, ...] = ()


def make_filter(wanted: Mapping[str, str]) -> Callable[[bytes], bool]:
    """Return whether a line of the journal is a decision with all wanted values."""
    # A value without its JSON text in the line needs no decoding.
    marks = [msgspec.json.encode(value) for name, value in wanted.items() if name not in {"effect", *_TIMES}]
    first, last = wanted.get("since", ""), f"{wanted.get('until') or ''}~"

    def fits(line: bytes) -> bool:
        if not _DECISION.search(line, 0, 200) or not all(mark in line for mark in marks):
            return False
        if not wanted:
            return True
        heading = msgspec.json.decode(line, type=_DecisionHeading)
        found = {
            "since": {wanted.get("since") if first <= heading.time else None},
            "until": {wanted.get("until") if heading.time <= last else None},
            "arguments": {heading.arguments.digest},
            "user": {heading.principal.user},
            "tool": {heading.target.id},
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
    wanted, before = read_filters(query, FILTERS), read_cursor(query.get("before", ""))
    page = find_decisions(console, wanted, before, count=_COUNT)
    older = {**wanted, "before": write_cursor(page.before)} if page.before else None
    return {
        **describe_journals(console),
        "rows": [
            {**describe_row(place, entry), "gateway": console.journals.name_of(place)} for place, entry in page.found
        ],
        "wanted": wanted,
        "older": older and f"{PATH}?{urlencode(older)}",
        "newest": not before,
        "newest_path": f"{PATH}?{urlencode(wanted)}",
        "events": f"{EVENTS}/decisions?{urlencode(wanted)}",
        "searched": page.searched,
    }


def describe_journals(console: ConsoleParts) -> dict[str, Any]:
    """Return the state of the journals behind a list, for its notices."""
    journals = console.journals
    return {
        "broken": journals.broken_lines(),
        "is_several": journals.is_several,
        "unread": journals.unread,
        "is_alone": console.gateway.claim is not None and not journals.is_several,
    }


def read_filters(query: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the filters of a query that have a value. A time that is none is no filter."""
    found = {name: query[name][:200] for name in names if query.get(name)}
    return {name: value for name, value in found.items() if name not in _TIMES or _TIME.fullmatch(value)}


def find_decisions(
    console: ConsoleParts, wanted: Mapping[str, str], before: Cursor, *, count: int
) -> JointPage[JsonObject]:
    """Return the decisions before a place that fit. It reads files: the lines of the page, found by the index if there is a filter."""
    fits = make_filter(wanted)
    if not wanted:
        return console.journals.find_latest(fits, before, count=count)
    return console.journals.find_page(make_search(wanted), fits, before, count=count)


def make_search(wanted: Mapping[str, str]) -> Search:
    """Return the search of the index for the wanted values."""
    effect = wanted.get("effect")
    values: dict[Column, str] = {name: wanted[name] for name in COLUMNS if name in wanted}
    kinds = DECISIONS if effect is None else frozenset({EFFECTS.get(effect, UNREADABLE)})
    hours = _hour_of(wanted.get("since"), 0), _hour_of(wanted.get("until"), 2**32)
    return Search(values, wanted.get("code"), kinds, hours if hours != (0, 2**32) else None)


def _hour_of(text: str | None, otherwise: int) -> int:
    """Return the hour of a time, since the epoch."""
    try:
        found = None if text is None else datetime.fromisoformat(text[:16])
        return otherwise if found is None else int(found.replace(tzinfo=UTC).timestamp()) // 3600
    except ValueError:
        return otherwise


def describe_row(place: JournalPlace, entry: JsonObject) -> dict[str, Any]:
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
    gateway = visit.console.journals.name_of(place) if visit.console.journals.is_several else None
    return visit.page("decision.html", **described, row=describe_row(place, decision), gateway=gateway)


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
    console: ConsoleParts, identifier: str, place: JournalPlace | None
) -> tuple[JournalPlace, JsonObject] | None:
    """Return a decision and its place; `None` for an unknown one. Without a place the indexes find it."""
    if place is not None:
        entry = await console.read_journal(partial(console.journals.read_at, place))
        if entry is not None and entry.get("id") == identifier and entry["kind"] in {"call", "refused"}:
            return place, entry
    mark = msgspec.json.encode(identifier)

    def fits(line: bytes) -> bool:
        if mark not in line or not _DECISION.search(line, 0, 200):
            return False
        return cast("Mapping[str, Any]", msgspec.json.decode(line)).get("id") == identifier

    search = Search({"id": identifier}, kinds=DECISIONS)
    page = await console.read_journal(partial(console.journals.find_page, search, fits, count=2, budget=_FAR))
    # A call whose upstream failed has a refusal of the same id after it.
    return next((one for one in page.found if one[1]["kind"] == "call"), page.found[0] if page.found else None)


def _describe(console: ConsoleParts, decision: JsonObject, place: JournalPlace) -> dict[str, Any]:
    """Return all that the record and the policy of today know of a decision, but for the grants. It reads files."""
    window = console.journals.open_window(place)
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
