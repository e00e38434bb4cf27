"""The fields of the input that a plan reads, beside the schema of the input. Pure.

OPA's own check does not follow a part of the input into a function, into `every`, or behind a value that may be null. A misspelt
field has no value, so a denial that reads it never holds. This module follows the parts of the input through the whole plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, cast

from gateway.policy.folder.data_files import nearest
from gateway.policy.plan.intermediate import Block, Function, Plan, PlanOperand, Statement

Nodes: TypeAlias = frozenset[str]
"""The possible places of a value in the schema."""


class Part(NamedTuple):
    """A part of the input: its places in the schema, and its path for people."""

    nodes: Nodes
    shown: str


class InputUse(NamedTuple):
    """The use of the input by a plan: `misuses` are sentences with the place of the rule. `facts` are the declared facts that rules
    read, each with the files of these rules."""

    misuses: list[str]
    facts: Mapping[str, tuple[str, ...]]


FACTS: Final = ("facts", "facts_before")
"""The parts of the input with the facts that an author declares."""


def look_at_input_use(plan: Plan, schema: Mapping[str, Any], facts: Iterable[str] = ()) -> InputUse:
    """Return each field that the schema does not have, and each text that a field never is.

    `facts` are the declared facts. Rules read them by name alone: a computed name may be misspelt.
    """
    look = _Look(plan, _Schema(_with_facts(schema, facts)))
    for entry in plan.entries:
        look.follow(entry.blocks, {0: Part(look.schema.resolve("#"), "input")})
    return InputUse([said for place, said in look.wrong.items() if place not in look.right], look.list_readers())


def _with_facts(schema: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the schema of an input whose facts have these names."""
    properties = dict(schema["properties"])
    for part in FACTS:
        value = properties[part]["additionalProperties"]
        named = {"type": "object", "properties": dict.fromkeys(names, value), "additionalProperties": False}
        properties[part] = named
    return {**schema, "properties": properties}


class _Schema:
    """A JSON schema. A place is a pointer into it, such as `#/$defs/Input`."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def node(self, place: str) -> Mapping[str, Any]:
        found: Any = self._schema
        for step in place.split("/")[1:]:
            found = found[int(step) if type(found) is list else step]
        return cast("Mapping[str, Any]", found)

    def resolve(self, place: str) -> Nodes:
        """Return the places that a place stands for."""
        node = self.node(place)
        if "$ref" in node:
            return self.resolve(node["$ref"])
        return (
            self._each(f"{place}/anyOf/{number}" for number in range(len(node["anyOf"])))
            if "anyOf" in node
            else frozenset({place})
        )

    def below(self, nodes: Nodes, name: str) -> Nodes | None:
        """Return the places of a field, empty if there is no such field, and `None` if any field may be there."""
        found: Nodes = frozenset()
        for place in nodes:
            node = self.node(place)
            if name in node.get("properties", {}):
                found |= self.resolve(f"{place}/properties/{name}")
                continue
            more = self._others(place, node)
            if more is None:
                return None
            found |= more
        return found

    def items(self, nodes: Nodes) -> Nodes | None:
        """Return the places of the members of a list or an object, and `None` if anything may be there."""
        found: Nodes = frozenset()
        for place in nodes:
            node = self.node(place)
            more = self.resolve(f"{place}/items") if node.get("items") else self._others(place, node)
            if more is None or (node.get("type") == "array" and not node.get("items")):
                return None
            found |= more | self._each(f"{place}/properties/{name}" for name in node.get("properties", {}))
        return found

    def texts(self, nodes: Nodes) -> frozenset[str] | None:
        """Return the texts that a value may be, `None` if it may be others."""
        found = [self.node(place) for place in nodes]
        listed = [node.get("enum", [node["const"]] if "const" in node else None) for node in found]
        if not listed or any(texts is None for texts in listed):
            return None
        return frozenset(text for texts in listed for text in cast("list[Any]", texts) if isinstance(text, str))

    def _others(self, place: str, node: Mapping[str, Any]) -> Nodes | None:
        """Return the places of fields that are not named, `None` if they may be anything."""
        if node.get("type") != "object":
            return None if not node.keys() & {"type", "enum", "const"} else frozenset()
        more = node.get("additionalProperties", True)
        if isinstance(more, Mapping) and more:
            return self.resolve(f"{place}/additionalProperties")
        return frozenset() if more is False else None

    def _each(self, places: Iterable[str]) -> Nodes:
        return frozenset[str]().union(*map(self.resolve, places))


_FACTS_SHOWN: Final = frozenset(f"input.{part}" for part in FACTS)
_Held: TypeAlias = dict[int, Part | None]
_UNKNOWN: Final = None


@dataclass
class _Look:
    """A look through a plan. `wrong` has sentences by the statements that are wrong, and `right` statements that are right once."""

    plan: Plan
    schema: _Schema
    wrong: dict[int, str] = field(default_factory=dict[int, str])
    right: set[int] = field(default_factory=set[int])
    facts: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _results: dict[tuple[str, tuple[Nodes | None, ...]], Part | None] = field(
        default_factory=dict[tuple[str, tuple["Nodes | None", ...]], "Part | None"]
    )

    def __post_init__(self) -> None:
        self._functions = {function.name: function for function in self.plan.functions}

    def list_readers(self) -> dict[str, tuple[str, ...]]:
        """Return the files with rules that read each declared fact."""
        return {name: tuple(sorted(files)) for name, files in sorted(self.facts.items())}

    def follow(self, blocks: Iterable[Block], given: _Held) -> list[Part | None]:
        """Follow the parts through blocks. Return what they give back. OPA numbers the locals of each block anew."""
        return [part for block in blocks for part in self._through([block], dict(given))]

    def _through(self, blocks: Iterable[Block], held: _Held) -> Iterator[Part | None]:
        for block in blocks:
            for statement in block.statements:
                if statement.type == "ReturnLocalStmt":
                    yield held.get(statement.local("source"))
                elif statement.type == "WithStmt":
                    yield from self._through(statement.inner, {**held, statement.local("local"): _UNKNOWN})
                else:
                    self._note(statement, held)
                    yield from self._through(statement.inner, held)

    def _note(self, statement: Statement, held: _Held) -> None:
        match statement.type:
            case "DotStmt":
                held[statement.local("target")] = self._look_up(statement, held)
            case "AssignVarStmt" | "AssignVarOnceStmt":
                held[statement.local("target")] = _part(statement.operand("source"), held)
            case "ScanStmt":
                self._refuse_computed(statement, held.get(statement.local("source")))
                held[statement.local("key")] = _UNKNOWN
                held[statement.local("value")] = self._member(held.get(statement.local("source")))
            case "CallStmt":
                held[statement.local("result")] = self._call(statement, held)
            case "EqualStmt":
                self._compare(statement, held)
            case _:
                for name in ("target", "result"):
                    if name in statement.fields:
                        held[statement.local(name)] = _UNKNOWN

    def _look_up(self, statement: Statement, held: _Held) -> Part | None:
        source, key = _part(statement.operand("source"), held), statement.operand("key")
        if key.type != "string_index":
            self._refuse_computed(statement, source)
            return self._member(source)
        name = self.plan.strings[key.value]
        if source is not None and source.shown in _FACTS_SHOWN:
            self.facts.setdefault(name, set()).add(self.plan.files[int(statement.fields["file"])])
        nodes = None if source is None else self.schema.below(source.nodes, name)
        if source is None or nodes is None:
            self.right.add(id(statement))
            return _UNKNOWN
        if nodes:
            self.right.add(id(statement))
            return Part(nodes, f"{source.shown}.{name}")
        known = [each for place in source.nodes for each in self.schema.node(place).get("properties", {})]
        if not known and source.shown not in _FACTS_SHOWN:
            # A function may ask a text for a field, to tell it from an object. OPA finds such a field of the input itself.
            self.right.add(id(statement))
            return _UNKNOWN
        self._tell(statement, f"`{source.shown}` has no field `{name}`{nearest(name, known)}")
        return _UNKNOWN

    def _refuse_computed(self, statement: Statement, source: Part | None) -> None:
        """Refuse the use of all facts, or of a fact by a name that no check can know."""
        if source is not None and source.shown in _FACTS_SHOWN:
            told = f"`{source.shown}` is read by a computed name; write the name of the fact: `{source.shown}.NAME`"
            self._tell(statement, told)

    def _member(self, source: Part | None) -> Part | None:
        nodes = None if source is None else self.schema.items(source.nodes)
        return _UNKNOWN if source is None or not nodes else Part(nodes, f"{source.shown}[…]")

    def _compare(self, statement: Statement, held: _Held) -> None:
        """Look at a comparison of a part with a text. An empty text asks for no value, also of a field that never is empty."""
        for one, other in (("a", "b"), ("b", "a")):
            text, part = statement.operand(one), _part(statement.operand(other), held)
            if text.type != "string_index":
                continue
            texts = None if part is None else self.schema.texts(part.nodes)
            written = self.plan.strings[text.value]
            if part is None or texts is None or not written or written in texts:
                self.right.add(id(statement))
            else:
                listed = ", ".join(sorted(texts))
                said = (
                    f'"{written}" is none of the texts that `{part.shown}` can be ({listed}){nearest(written, texts)}'
                )
                self._tell(statement, said)

    def _call(self, statement: Statement, held: _Held) -> Part | None:
        function = self._functions.get(statement.fields["func"])
        arguments = [_part(operand, held) for operand in statement.operands("args")]
        if function is None:
            for argument in arguments:
                self._refuse_computed(statement, argument)
            return _UNKNOWN
        known = function.name, tuple(part and part.nodes for part in arguments)
        if known not in self._results:
            self._results[known] = _UNKNOWN
            self._results[known] = self._result(function, arguments)
        return self._results[known]

    def _result(self, function: Function, arguments: Sequence[Part | None]) -> Part | None:
        found = self.follow(function.blocks, dict(zip(function.params, arguments, strict=False)))
        if not found or any(part is None for part in found):
            return _UNKNOWN
        parts = cast("list[Part]", found)
        return Part(frozenset[str]().union(*(part.nodes for part in parts)), parts[0].shown)

    def _tell(self, statement: Statement, said: str) -> None:
        place = f"{self.plan.files[statement.fields['file']]}:{statement.row}"
        self.wrong.setdefault(id(statement), f"{place}: {said}")


def _part(operand: PlanOperand, held: Mapping[int, Part | None]) -> Part | None:
    return held.get(operand.value) if operand.type == "local" else _UNKNOWN
