"""Arguments and results of tools, checked against the schemas of their definitions. A schema is compiled once."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.base.json.schema import Misfit, Schema, UnusableSchema, compile_schema
from gateway.base.json.walk import split_pointer
from gateway.base.letters import cut, spell_out
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.error_codes import REFUSED
from gateway.model.target import Pin

if TYPE_CHECKING:
    from gateway.model.reasons.text import RefusalText
    from gateway.model.target import Target
    from gateway.model.wire import Json

_KEPT: Final = 2_048
"""Compiled schemas that are kept."""
_LONGEST: Final = 128
"""Characters of a pointer that a refusal repeats."""
_DECIDED: Final = frozenset({Pin.MATCH, Pin.UNPINNED})
"""The states of definitions that calls may use. Policy refuses calls of any other, and says why."""


class ToolSchemas:
    """The compiled schemas of tools. `lenient` has the upstreams whose tools may get members that their schema does not name."""

    def __init__(self, lenient: Container[str] = ()) -> None:
        self.lenient = lenient
        self._compiled: dict[int, tuple[Json, Schema | UnusableSchema]] = {}

    def refuse_arguments(self, target: Target, arguments: Json, size: int) -> Refusal | None:
        """Refuse arguments that do not fit the definition of their tool or prompt. `size` are the bytes of their message."""
        if target.schema is None or target.pin not in _DECIDED:
            return None
        kept, is_lenient = self._compiled.get(id(target.schema)), target.upstream in self.lenient
        schema = self._compile(target.schema) if kept is None else kept[1]
        if isinstance(schema, UnusableSchema):
            return (
                None
                if is_lenient
                else _refuse(reasons.ARGUMENT_SCHEMA_UNUSABLE, target.type, Misfit("", schema.problem))
            )
        misfit = schema.find_misfit(arguments, size)
        # Clients and models send `null` for an argument that they leave out.
        if misfit is not None and schema.find_misfit(_without_nulls(arguments), size) is not None:
            return _refuse(reasons.ARGUMENT_SCHEMA, target.type, misfit)
        unnamed = None if is_lenient else schema.find_unnamed(arguments)
        return None if unnamed is None else _refuse(reasons.ARGUMENT_UNNAMED, target.type, unnamed)

    def refuse_result(self, target: Target, structured: Json, size: int) -> Refusal | None:
        """Refuse a result's `structuredContent` that does not fit the tool's `outputSchema`. `size` are the bytes of its message."""
        kept = self._compiled.get(id(target.output))
        schema = self._compile(target.output) if kept is None else kept[1]
        if isinstance(schema, UnusableSchema):
            return None if target.upstream in self.lenient else _refuse_result(f"the schema {schema.problem}")
        misfit = schema.find_misfit(structured, size)
        if misfit is None:
            return None
        # A name of the result may be a secret, and the caller may not have it yet.
        pointer = misfit.pointer if all(schema.has_name(step) for step in split_pointer(misfit.pointer)) else ""
        return _refuse_result(f"{pointer}: {misfit.problem}" if pointer else misfit.problem)

    def refuse_unreadable_result(self) -> Refusal:
        """Return the refusal of a result in which nothing can be compared."""
        return _refuse_result("it cannot be read")

    def _compile(self, document: Json) -> Schema | UnusableSchema:
        """Compile a schema, and keep it with its document, so that no other object gets the document's number."""
        if len(self._compiled) >= _KEPT:
            self._compiled.clear()
        compiled = compile_schema(document)
        self._compiled[id(document)] = document, compiled
        return compiled


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def _refuse(text: RefusalText, kind: str, misfit: Misfit) -> Refusal:
    pointer = cut(spell_out(misfit.pointer), _LONGEST)
    problem = f"{pointer}: {spell_out(misfit.problem)}" if pointer else spell_out(misfit.problem)
    reason = replace(text.reason(kind=kind, problem=problem), facts=(f"/arguments{pointer}",))
    return Refusal(text.status, reason, REFUSED)


def _refuse_result(problem: str) -> Refusal:
    return reasons.RESULT_SCHEMA.refusal(problem=spell_out(problem))
