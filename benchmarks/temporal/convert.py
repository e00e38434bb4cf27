"""Policies of the corpus as declared facts and Rego. Pure.

`formerly` is the time of the last call, `!A since B` compares two such times, and an aggregate over `formerly` is a count, a sum
or a number of different values. An event `request` is a call, and a `response` is a call that is done. A bare event is the
call under decision. The reason of each `Unsayable` is a row of the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from benchmarks.temporal.language import Entity, Policy, Tree, Unsayable

_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_OUTCOMES: Final = {"request": ["open", "done", "failed", "unknown"], "response": ["done"]}
NESTED: Final = "a formula of the past inside another"
PREVIOUS: Final = "`previous`: the event just before"
EACH_EVENT: Final = "`A since B` where A must hold at each event between"
ORDER: Final = "`since` over the times of answers: a fact has the times of calls"
ANSWER: Final = "the contents of an answer"


class Converted(NamedTuple):
    """Facts of `facts.yaml`, and the module of a package."""

    facts: Mapping[str, Any]
    module: str


def convert(policies: Sequence[Policy], package: str) -> Converted:
    """Return the facts and rules of a folder. Raise `Unsayable`."""
    facts: dict[str, Any] = {}
    lines = [
        f"package {package}",
        "import rego.v1",
        "default result := false",
        "result if { permitted; not forbidden; not input.facts_incomplete }",
    ]
    lines += ["default permitted := false", "default forbidden := false"]
    for number, policy in enumerate(policies):
        lines += _Rule(policy, f"p{number}", facts).write()
    return Converted(facts, "\n".join(lines) + "\n")


def tool_of(action: str) -> str:
    """Return the name of the tool for an action."""
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"-{ord(match[0]):x}-", action)


class _Rule:
    """One policy as rules. `facts` are the facts of its folder."""

    def __init__(self, policy: Policy, name: str, facts: dict[str, Any]) -> None:
        self._policy = policy
        self._name = name
        self._facts = facts
        self._helpers: list[str] = []
        self._needed: set[str] = set()

    def write(self) -> list[str]:
        body = [line for part in self._policy.head for line in self._lines(part)]
        for clause in self._policy.clauses:
            condition = ("not", clause.condition) if clause.is_unless else clause.condition
            body += self._lines(condition)
        # A policy that names an argument which the call lacks does not apply.
        needed = [f"_ = {_argument(path)}" for path in sorted(self._needed)]
        head = "permitted" if self._policy.permits else "forbidden"
        return [*self._helpers, f"{head} if {{ {'; '.join([*needed, *body]) or 'true'} }}"]

    def _help(self, bodies: Sequence[Sequence[str]]) -> str:
        name = f"{self._name}_{len(self._helpers)}"
        self._helpers.append(
            "\n".join(
                [f"default {name} := false", *(f"{name} if {{ {'; '.join(body) or 'true'} }}" for body in bodies)]
            )
        )
        return name

    # --- conditions on the call under decision ---------------------------------------------------------

    def _lines(self, condition: Tree) -> list[str]:  # noqa: C901, PLR0911 - one case for each form
        """Return the lines of a body in which a condition holds."""
        match condition:
            case ("and", *parts):
                return [line for part in parts for line in self._lines(part)]
            case ("or", *parts):
                return [self._help([self._lines(part) for part in parts])]
            case ("not", inner):
                return [f"not {self._help([self._lines(inner)])}"]
            case ("formerly", within, inner):
                return self._formerly(within, inner)
            case ("since", left, within, right):
                return self._since(left, within, right)
            case ("event", action, kind, fields):
                return self._present(action, kind, fields)
            case ("compare", left, sign, right):
                return [f"{self._term(left)} {sign} {self._term(right)}"]
            case ("is", term, kind):
                return [f"startswith({self._term(term)}, {_write(f'{kind}::')})"]
            case ("exists", (name, _), inner):
                return self._lines(_bind(inner, name))
            case ("previous", *_):
                raise Unsayable(PREVIOUS)
            case _:
                raise Unsayable(f"a condition `{condition[0]}` by itself")

    def _term(self, term: Tree) -> str:
        match term:
            case ("literal", value):
                return _write(value)
            case ("context", path):
                self._needed.add(path)
                return _argument(path)
            case ("scope", "principal"):
                return "input.subject.id"
            case ("scope", "action"):
                return "input.resource.properties.annotations.action"
            case ("scope", "resource"):
                return "input.resource.properties.annotations.resource"
            case ("aggregate", how, summed, binders, condition):
                return self._aggregate(how, summed, binders, condition)
            case _:
                raise Unsayable("a variable that joins two formulas")

    def _present(self, action: str, kind: str, fields: Sequence[tuple[str, Tree]]) -> list[str]:
        """Return lines in which the call under decision is this event."""
        if kind != "request":
            return ["false"]
        lines = [f"{self._term(('scope', 'action'))} == {_write(action)}"]
        for field, term in fields:
            place = self._place(field)
            if term[0] in {"any", "variable"}:
                lines.append(f"_ = {place}")
            else:
                lines.append(f"{place} == {self._term(term)}")
        return lines

    def _place(self, field: str) -> str:
        if field == "callerPrincipal":
            return "input.subject.id"
        if field == "callerResource":
            return self._term(("scope", "resource"))
        return _argument(_input(field))

    # --- the past --------------------------------------------------------------------------------------

    def _formerly(self, within: int, inner: Tree) -> list[str]:
        past = self._past(inner, within)
        return [*past.lines, f"input.facts.{self._declare(past, {'last': 'time'})}"]

    def _since(self, left: Tree, within: int, right: Tree) -> list[str]:
        """Return lines in which right was there, and nothing that left forbids came after it."""
        if left[0] != "not" or left[1][0] == "not":
            raise Unsayable(EACH_EVENT)
        anchor, broken = self._past(right, within), self._past(left[1], within)
        if anchor.is_answer or broken.is_answer:
            raise Unsayable(ORDER)
        begun, ended = self._declare(anchor, {"last": "time"}), self._declare(broken, {"last": "time"})
        later = self._help([[*broken.lines, f"input.facts.{ended} > input.facts.{begun}"]])
        return [*anchor.lines, f"input.facts.{begun}", f"not {later}"]

    def _aggregate(self, how: str, summed: str, binders: Sequence[tuple[str, str]], condition: Tree) -> str:
        points = {name for name, kind in binders if kind == "Timepoint"}
        values = [name for name, kind in binders if kind != "Timepoint"]
        parts = _flatten(condition)
        outside = {part[1] for part in parts if part[0] == "tp"}
        parts = [part for part in parts if part[0] != "tp"]
        if len(parts) != 1 or len(points) > 1:
            raise Unsayable(NESTED if any(_is_past(part) for part in parts) else "an aggregate over two events")
        body = parts[0]
        if body[0] != "formerly":
            return self._aggregate_now(how, summed, body)
        within, inner = body[1], body[2]
        if points and points <= outside:
            # The point is that of the call under decision: the aggregate has one member, or none.
            if values:
                raise Unsayable("an aggregate over values without their times")
            return f"count([1 | {'; '.join(self._formerly(within, inner))}])"
        past = self._past(inner, within)
        if how == "sum":
            if not points:
                raise Unsayable("a sum over different values")
            aggregate: dict[str, Any] = {"sum": past.variables[summed]}
        elif points:
            aggregate = {"count": "calls"}
        elif len(values) == 1:
            aggregate = {"distinct": past.variables[values[0]]}
        else:
            raise Unsayable("a count of different tuples")
        value = f'object.get(input.facts, "{self._declare(past, aggregate)}", 0)'
        if not past.lines:
            return value
        return f"sum([v | {'; '.join(past.lines)}; v := {value}])"

    def _aggregate_now(self, how: str, summed: str, body: Tree) -> str:
        """Return an aggregate over the call under decision alone."""
        if _is_past(body):
            raise Unsayable(EACH_EVENT if body[0] == "since" and body[1][0] != "not" else NESTED)
        lines = self._lines(body)
        if how == "count":
            return f"count([1 | {'; '.join(lines)}])"
        fields = {term[1]: field for field, term in body[3] if term[0] == "variable"} if body[0] == "event" else {}
        if summed not in fields:
            raise Unsayable("a sum of a variable that no event has")
        return f"sum([v | {'; '.join(lines)}; v := {_argument(_input(fields[summed]))}])"

    def _past(self, condition: Tree, within: int) -> _Past:  # noqa: C901 - one case for each form
        """Return an event of the past with all that is said about it."""
        past = _Past(within)
        for part in _flatten(condition):
            match part:
                case ("event", action, kind, fields):
                    past.add_event(action, kind)
                    for field, term in fields:
                        self._add_field(past, field, term)
                case ("tp", _):
                    pass
                case ("compare", ("variable", name), sign, ("literal", value)):
                    past.compared.append((name, sign, value))
                case ("compare", ("literal", value), sign, ("variable", name)):
                    past.compared.append((name, _FLIPPED[sign], value))
                case ("compare", left, sign, right):
                    if "variable" in {left[0], right[0]}:
                        raise Unsayable("a comparison of an earlier argument with this call")
                    past.lines.append(f"{self._term(left)} {sign} {self._term(right)}")
                case ("exists", (name, _), inner):
                    raise Unsayable(f"a variable `{name}` inside the past" if not _is_past(inner) else NESTED)
                case ("not", ("event", action, kind, _)) if past.is_other(action, kind):
                    pass  # An event of one kind is none of another.
                case ("not", ("event", *_)):
                    raise Unsayable("an earlier call without a value")
                case _:
                    raise Unsayable(PREVIOUS if part[0] == "previous" else NESTED)
        return past.finish()

    def _add_field(self, past: _Past, field: str, term: Tree) -> None:
        if field == "callerPrincipal":
            self._add_party(past, "agent", term)
        elif field == "callerResource":
            self._add_party(past, "upstream", term)
        else:
            pointer = "/arguments/" + _input(field).replace(".", "/")
            match term:
                case ("any",):
                    past.arguments.setdefault(pointer, {"present": True})
                case ("variable", name):
                    past.variables[name] = pointer
                    past.arguments.setdefault(pointer, {"present": True})
                case ("literal", value):
                    past.equal(pointer, value)
                case ("context", path):
                    self._needed.add(path)
                    this = "/arguments/" + path.removeprefix("input.").replace(".", "/")
                    past.keys.append(pointer if this == pointer else {"this": this, "that": pointer})
                case _:
                    raise Unsayable("an argument that is the caller")

    def _add_party(self, past: _Past, key: str, term: Tree) -> None:
        if term[0] in {"any", "variable"}:
            return
        if term != ("scope", {"agent": "principal", "upstream": "resource"}[key]):
            raise Unsayable("an earlier caller by name")
        past.keys.append(key)

    def _declare(self, past: _Past, aggregate: Mapping[str, Any]) -> str:
        """Return the name of the fact that says this."""
        fact = {**aggregate, **past.declare()}
        for name, known in self._facts.items():
            if known == fact:
                return name
        name = f"fact_{len(self._facts)}"
        self._facts[name] = fact
        return name


class _Past:
    """An event of the past. `lines` have to hold for the call under decision."""

    def __init__(self, within: int) -> None:
        self._within = within
        self._named: tuple[str, str] | None = None
        self.keys: list[Any] = []
        self.arguments: dict[str, dict[str, Any]] = {}
        self.variables: dict[str, str] = {}
        self.compared: list[tuple[str, str, Any]] = []
        self.lines: list[str] = []

    @property
    def is_answer(self) -> bool:
        return self._named is not None and self._named[1] != "request"

    def add_event(self, action: str, kind: str) -> None:
        if kind not in _OUTCOMES:
            raise Unsayable(f"an event `{kind}`")
        if self._named not in {None, (action, kind)}:
            raise Unsayable("two events at one time")
        self._named = action, kind

    def is_other(self, action: str, kind: str) -> bool:
        return self._named is not None and self._named != (action, kind)

    def equal(self, pointer: str, value: Any) -> None:
        self.arguments[pointer] = {"equals": str(value) if isinstance(value, Entity) else value}

    def finish(self) -> _Past:
        if self._named is None:
            raise Unsayable("the past of no event")
        for name, sign, value in self.compared:
            if name not in self.variables:
                raise Unsayable("a comparison with a variable that no event has")
            condition = self.arguments[self.variables[name]]
            match sign:
                case "==":
                    condition["equals"] = value
                case ">=" | ">":
                    condition["min"] = value + (1 if sign == ">" else 0)
                case "<=" | "<":
                    condition["max"] = value - (1 if sign == "<" else 0)
                case _:
                    raise Unsayable("an earlier argument that is unequal")
        return self

    def declare(self) -> dict[str, Any]:
        """Return the selection, keys and window of a fact."""
        action, kind = cast("tuple[str, str]", self._named)
        of: dict[str, Any] = {"tool": f"*/{tool_of(action)}", "outcome": _OUTCOMES[kind]}
        if self.arguments:
            of["arguments"] = self.arguments
        # All callers of a trace have one tenant.
        return {
            "of": of,
            "by": [*self.keys, *([] if "tenant" in self.keys else ["tenant"])],
            "within": f"{self._within}s",
        }


def _flatten(condition: Tree) -> list[Tree]:
    if condition[0] != "and":
        return [condition]
    parts = [part for each in condition[1:] for part in _flatten(each)]
    return sorted(parts, key=lambda part: part[0] == "not")


def _is_past(condition: Any) -> bool:
    """Return whether a condition asks about earlier events."""
    if not isinstance(condition, tuple):
        return False
    members = cast("tuple[Any, ...]", condition)
    return members[:1] in {("formerly",), ("previous",), ("since",)} or any(_is_past(part) for part in members)


def _bind(condition: Tree, name: str) -> Tree:
    """Return a condition without a variable: in the place of the aggregate that it equals, or as any value."""
    parts = _flatten(condition)
    for number, part in enumerate(parts):
        if part[0] == "compare" and part[1][0] == "aggregate" and part[2:] == ("==", ("variable", name)):
            rest = parts[:number] + parts[number + 1 :]
            return ("and", *(_replace(each, name, part[1]) for each in rest))
    if _count_uses(condition, name) > 1:
        raise Unsayable("a variable that joins two formulas")
    return _replace(condition, name, ("any",))


def _count_uses(tree: Any, name: str) -> int:
    if tree == ("variable", name):
        return 1
    return sum(_count_uses(part, name) for part in cast("Tree", tree)) if isinstance(tree, tuple) else 0


def _replace(tree: Any, name: str, by: Tree) -> Any:
    if tree == ("variable", name):
        return by
    return tuple(_replace(part, name, by) for part in cast("Tree", tree)) if isinstance(tree, tuple) else tree


def _input(field: str) -> str:
    """Return the argument of a field of an event."""
    group, _, path = field.partition(".")
    if group == "output":
        raise Unsayable(ANSWER)
    if group != "input" or not path:
        raise Unsayable("a field of an event beside its arguments")
    return path


def _argument(path: str) -> str:
    names = path.removeprefix("input.").split(".")
    return "input.arguments" + "".join(f"[{_write(name)}]" for name in names)


def _write(value: Any) -> str:
    """Return a literal of Rego."""
    return json.dumps(str(value) if isinstance(value, Entity) else value)
