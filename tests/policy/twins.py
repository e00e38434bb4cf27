"""One plan in Python and in the native core, which have to agree on each question."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.native import core
from gateway.native.choice import choose
from gateway.policy.plan import values
from gateway.policy.plan.native import load_program
from gateway.policy.plan.program import Program


@dataclass(frozen=True)
class Failure:
    """An evaluation that failed, with the place."""

    place: str


class Twins:
    """The evaluators of one plan: Python, and the native core where it is installed. Both give the same answer, or fail alike."""

    def __init__(self, python: Program, native: core.Program | None) -> None:
        self.entries = python.entries
        self._python = python
        self._native = native

    def answer(self, entry: str, document: object) -> object:
        """Return the answer of both. Raise `EvaluationFailed` if both do, and `AssertionError` if they differ."""
        found = _outcome(self._python, entry, document)
        if self._native is not None:
            other = _outcome(self._native, entry, document)
            assert repr(other) == repr(found), (entry, document, other, found)
        if isinstance(found, Failure):
            raise values.EvaluationFailed(found.place)
        return found


def _outcome(evaluator: Program | core.Program, entry: str, document: object) -> object:
    try:
        return evaluator.answer(entry, document)
    except values.EvaluationFailed as error:
        return Failure(str(error))


def twins(python: Program, plan: bytes, data: values.Value) -> Twins:
    """Return the evaluators of a plan: its Python, and the native core where it is installed."""
    chosen = choose("auto").core
    return Twins(python, None if chosen is None else load_program(chosen, plan, data))
