"""A task as a graph: its calls downwards in time, its systems as lanes, and the ways of words and credentials between calls. Pure.

`read_task` folds the entries of the journal as history does. `lay_out` gives each part its place. A template draws it as SVG.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from msgspec import Struct, structs

from gateway.history.events import Reading
from gateway.history.reading_marks import ReadingMarks, reserved
from gateway.surfaces.explain.recorded import list_declared

if TYPE_CHECKING:
    from gateway.history.provenance import Explanation
    from gateway.model.wire import JsonObject

MOST: Final = 400
"""Rows of a graph, the latest ones."""
_LANES: Final = 12
_OTHERS: Final = "other systems"
_ROW: Final = 26
_LANE: Final = 92
_LEFT: Final = 168
_TOP: Final = 64
_LABELS: Final = 560
_NODE: Final = 9
_REPEAT: Final = 30
"""Rows after which the names of the lanes stand again: a reader of a long graph has lost the first ones."""

Kind = Literal["words", "credential", "fact"]


class Node(Struct, frozen=True):
    """A call, or a reading outside of calls. `shape` tells its effect. `declared` are the declared facts
    of its decision, in words."""

    number: int
    id: str
    time: str
    at: float
    lane: str
    target: str
    verdict: str
    shape: str
    codes: tuple[str, ...] = ()
    is_reading: bool = False
    is_untrusted: bool = False
    sensitivity: str = ""
    is_approved: bool = False
    declared: tuple[tuple[str, str], ...] = ()
    shows: int = 0
    y: int = 0
    x: int = 0
    is_lit: bool = False


class GraphEdge(Struct, frozen=True):
    """A way from an earlier call to a later call. It carries words or a credential of a result, or a fact."""

    kind: Kind
    source: int
    target: int
    label: str
    path: str = ""
    is_lit: bool = False


class LeaseBar(Struct, frozen=True):
    """A lent credential in the lane of its system, from its issue to its end. Without an end `until` is `None`."""

    id: str
    lane: str
    scope: str
    since: float
    until: float | None = None
    end: str = ""
    x: int = 0
    top: int = 0
    bottom: int = 0


class TaskGraph(Struct, frozen=True):
    """A task with the places of its parts. `repeats` has the heights at which the names of the lanes stand again. `left_out` counts earlier calls beyond the most that a graph has."""

    task: str
    nodes: tuple[Node, ...]
    edges: tuple[GraphEdge, ...]
    leases: tuple[LeaseBar, ...]
    lanes: tuple[tuple[str, int], ...]
    width: int
    height: int
    label_x: int
    repeats: tuple[int, ...] = ()
    left_out: int = 0
    lit: str | None = None


def read_task(task: str, entries: Sequence[JsonObject]) -> tuple[list[Node], list[GraphEdge]]:
    """Return the calls and readings of a task, and the ways of words and credentials between them.

    Raises what a damaged entry raises.
    """
    marks = ReadingMarks()
    nodes: dict[int, Node] = {}
    edges: list[GraphEdge] = []
    for entry in entries:
        fields = cast("Mapping[str, Any]", entry)
        if not _is_of(fields, task):
            continue
        if fields["kind"] == "call":
            node = _call(fields)
            nodes[node.number] = node
            edges += _ways(fields, node, marks)
        if fields["kind"] != "observed":
            marks.take(entry)
        elif isinstance(event := marks.observe(entry), Reading):
            nodes.setdefault(event.number, _reading(fields, event))
    for mark in marks.shown.values():
        if (shower := nodes.get(mark.number)) is not None:
            nodes[mark.number] = structs.replace(shower, shows=shower.shows + 1)
    return [nodes[number] for number in sorted(nodes)], edges


def _is_of(fields: Mapping[str, Any], task: str) -> bool:
    """Return whether an entry changes the history of the task. An outcome names its call alone."""
    if fields["kind"] in {"settled", "abandoned"}:
        return True
    named: Any = fields.get("task")
    return (cast("Mapping[str, Any]", named)["id"] if isinstance(named, Mapping) else named) == task


def _call(fields: Mapping[str, Any]) -> Node:
    history, target = fields["history"], fields["target"]
    return Node(
        number=int(history["number"]),
        id=str(fields["id"]),
        time=str(fields["time"]),
        at=float(history["at"]),
        lane=str(target["audience"]),
        target=str(target["id"]),
        verdict=str(fields["effect"]),
        shape=str(target["effect"]),
        codes=tuple(str(reason["code"]) for reason in fields.get("reasons") or ()),
        is_untrusted=not history.get("trusted", False),
        sensitivity=str(history.get("sensitivity", "")),
        is_approved="approval" in fields or "endorsement" in fields,
        declared=tuple(list_declared(fields)),
    )


def _ways(fields: Mapping[str, Any], node: Node, marks: ReadingMarks) -> Iterable[GraphEdge]:
    """Yield the ways of words and credentials into a call."""
    event = reserved(cast("JsonObject", fields))
    for number in event.source_results:
        if number > 0:
            yield GraphEdge("words", number, node.number, "words of its result")
    for fingerprint in dict.fromkeys(event.credentials):
        if (mark := marks.shown.get(fingerprint)) is not None:
            yield GraphEdge("credential", mark.number, node.number, f"the credential {fingerprint[:8]}")


def _reading(fields: Mapping[str, Any], event: Reading) -> Node:
    return Node(
        number=event.number,
        id=str(fields["id"]),
        time=str(fields["time"]),
        at=event.at,
        lane=event.audience,
        target=str(fields.get("source", event.audience)),
        verdict="read",
        shape="read",
        is_reading=True,
        is_untrusted=not event.trusted,
        sensitivity=event.sensitivity.value,
    )


def read_leases(task: str, entries: Iterable[JsonObject], audiences: Mapping[str, str]) -> list[LeaseBar]:
    """Return the leases of a task. `audiences` names the system of each upstream."""
    found: dict[str, LeaseBar] = {}
    for entry in entries:
        fields = cast("Mapping[str, Any]", entry)
        if fields["kind"] != "lease" or fields.get("task") != task:
            continue
        known, event = found.get(fields["id"]), fields["event"]
        if event == "issued" and known is None:
            lane = audiences.get(fields["upstream"], fields["upstream"])
            scope = " ".join(fields.get("scope") or ())
            found[fields["id"]] = LeaseBar(fields["id"], lane, scope, float(fields["at"]))
        elif known is not None and event in _LEASE_ENDS:
            end = f"{event}: {fields.get('cause', '')}".rstrip(": ")
            until = float(fields["at"]) if known.until is None else known.until
            found[fields["id"]] = structs.replace(known, until=until, end=end)
    return list(found.values())


_LEASE_ENDS: Final = frozenset({"ending", "revoked", "expired", "lapsed", "abandoned"})


def find_causes(explanation: Explanation, pointers: Iterable[str], target: int) -> list[GraphEdge]:
    """Return the ways from the calls that made the facts of a decision to that decision, the call with the number `target`."""
    edges: dict[tuple[int, str], GraphEdge] = {}
    for pointer in pointers:
        member = pointer.removeprefix("/session/")
        if pointer.startswith("/arguments/"):
            member = "ungrounded"
        while member not in explanation.causes and "/" in member:
            member = member.rpartition("/")[0]
        for cause in explanation.causes.get(member, ()):
            if cause.call.task is None and cause.call.number != target:
                key = (cause.call.number, cause.how)
                edges.setdefault(key, GraphEdge("fact", cause.call.number, target, cause.how, is_lit=True))
    return list(edges.values())


def lay_out(
    task: str,
    nodes: Sequence[Node],
    edges: Sequence[GraphEdge],
    leases: Sequence[LeaseBar],
    *,
    lit: str | None = None,
) -> TaskGraph:
    """Return the graph with the places of its parts. `lit` is the id of the decision whose path is lit."""
    shown = nodes[-MOST:]
    lanes = _lanes([*(node.lane for node in shown), *(lease.lane for lease in leases)])
    rows = {node.number: index for index, node in enumerate(shown)}
    target = next((node.number for node in shown if node.id == lit), None)
    bright = _bright(edges, target)
    placed = [
        structs.replace(
            node,
            x=lanes.get(node.lane, lanes.get(_OTHERS, _LEFT)),
            y=_y(rows[node.number]),
            is_lit=node.number in bright,
        )
        for node in shown
    ]
    by_number = {node.number: node for node in placed}
    drawn = [
        structs.replace(
            edge,
            path=_path(by_number[edge.source], by_number[edge.target]),
            is_lit=edge.target in bright and edge.source in bright,
        )
        for edge in edges
        if edge.source in by_number and edge.target in by_number
    ]
    label_x = max(lanes.values(), default=_LEFT) + _LANE // 2
    height = _y(len(shown)) + 8
    return TaskGraph(
        task=task,
        nodes=tuple(placed),
        edges=tuple(sorted(drawn, key=lambda edge: edge.is_lit)),
        leases=tuple(_place_lease(lease, placed, lanes, height) for lease in leases),
        lanes=tuple(lanes.items()),
        width=label_x + _LABELS,
        height=height,
        label_x=label_x,
        repeats=tuple(_y(row) - _ROW // 2 - 1 for row in range(_REPEAT, len(shown), _REPEAT)),
        left_out=len(nodes) - len(shown),
        lit=None if target is None else lit,
    )


def _lanes(systems: Sequence[str]) -> dict[str, int]:
    """Return the place of each system's lane, in the order of their first calls."""
    names = list(dict.fromkeys(systems))
    if len(names) > _LANES:
        names = [*names[: _LANES - 1], _OTHERS]
    return {name: _LEFT + index * _LANE for index, name in enumerate(names)}


def _bright(edges: Sequence[GraphEdge], target: int | None) -> set[int]:
    """Return the calls on the path to a decision: the makers of its facts, and the sources of the words in those calls."""
    if target is None:
        return set()
    found = {target} | {edge.source for edge in edges if edge.kind == "fact" and edge.target == target}
    waiting = list(found)
    while waiting:
        one = waiting.pop()
        sources = {edge.source for edge in edges if edge.target == one and edge.kind != "fact"} - found
        found |= sources
        waiting += sources
    return found


def _y(row: int) -> int:
    return _TOP + row * _ROW


def _path(source: Node, target: Node) -> str:
    """Return a curve from a call down to a later call. A long way runs between the lanes, and crosses no call there."""
    end = target.y - _NODE
    if end - source.y <= 4 * _ROW:
        bend = max(18, (end - source.y) // 3)
        left = bend if source.x == target.x else 0
        return f"M{source.x} {source.y}C{source.x - left} {source.y + bend} {target.x - left} {end - bend} {target.x} {end}"
    side = -_LANE // 4 if source.x == target.x else -_LANE // 2 if source.x < target.x else _LANE // 2
    way, top, bottom = target.x + side, source.y + 2 * _ROW, end - 2 * _ROW
    return (
        f"M{source.x} {source.y}C{source.x} {source.y + _ROW} {way} {source.y + _ROW} {way} {top}"
        f"L{way} {bottom}C{way} {end - _ROW} {target.x} {end - _ROW} {target.x} {end}"
    )


def _place_lease(lease: LeaseBar, nodes: Sequence[Node], lanes: Mapping[str, int], height: int) -> LeaseBar:
    times = [node.at for node in nodes]
    first = bisect_left(times, lease.since)
    last = len(times) if lease.until is None else bisect_left(times, lease.until)
    top = _y(first) - _ROW // 2
    bottom = height - 12 if lease.until is None else max(_y(last) - _ROW // 2, top + 8)
    return structs.replace(lease, x=lanes.get(lease.lane, lanes.get(_OTHERS, _LEFT)) + 15, top=top, bottom=bottom)
