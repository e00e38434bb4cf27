"""A policy compiled from its plan, and the questions to it. Pure: the caller makes the code and gives the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import CodeType, TracebackType
from typing import Any, Final, cast

from gateway.errors import PolicyLate, PolicyMalformed, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy.grant_index import with_grant_index
from gateway.policy.plan.values import EvaluationFailed, U, Value, to_json

FILE: Final = "<the plan of the policy>"
"""The name of the written Python in tracebacks."""


class Program:
    """The rules of a policy with their data. `entries` are the names of its questions."""

    def __init__(self, code: CodeType, data: Value) -> None:
        names: dict[str, Any] = {"__name__": "opagate_policy"}
        exec(code, names)  # noqa: S102 - the code is written by `generator`, and `store` holds its digest
        self.entries = cast("Mapping[str, Callable[..., list[Any]]]", names["ENTRIES"])
        self._places = cast("Mapping[str, str]", names["PLACES"])
        self._data = with_grant_index(data)
        self._lasting = _evaluate_lasting(names["LASTING"], self._data)

    def answer(self, entry: str, document: Value) -> Any:
        """Return the answer to an input as JSON has it, `None` for no answer. Raise `EvaluationFailed`, with the place."""
        try:
            results = self.entries[entry](self._lasting.copy(), document, self._data)
            return to_json(results[0]["result"]) if results else None
        except Exception as error:
            raise EvaluationFailed(self._place(error.__traceback__)) from error

    def _place(self, trace: TracebackType | None) -> str:
        """Return the file and line of the rule that failed."""
        place = ""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == FILE:
                place = self._places.get(trace.tb_frame.f_code.co_name, place)
            trace = trace.tb_next
        return place


def _evaluate_lasting(rules: Mapping[str, Callable[..., Value]], data: Value) -> dict[str, Value]:
    """Return the values of the rules that no input changes, by the names of the rules. A rule that fails fails in each question."""
    kept: dict[str, Value] = {}
    for name, rule in rules.items():
        with suppress(Exception):
            kept[name] = rule(kept, U, data)
    return kept


class CompiledPolicy:
    """A program that answers inputs of the gateway. `deadline` is in seconds of `thread_time`, as that of the embedded engine."""

    def __init__(self, program: Program, *, deadline: float, thread_time: Callable[[], float]) -> None:
        self._program = program
        self._deadline = deadline
        self._thread_time = thread_time

    def evaluate(self, entrypoint: str, document: JsonObject) -> object:
        """Return the answer to one input, `None` for undefined.

        Raises `PolicyInput`, `PolicyUnavailable`, `PolicyMalformed` or `PolicyLate`.
        """
        begun = self._thread_time()
        answer = self.answer(entrypoint, document)
        took = self._thread_time() - begun
        if took > self._deadline:
            raise PolicyLate.after(took, self._deadline)
        return answer

    def answer(self, entrypoint: str, document: JsonObject) -> object:
        """Return the same without a deadline."""
        entry = f"gateway/{entrypoint}/result"
        if entry not in self._program.entries:
            return None
        given = documents.plain(document)
        try:
            found = self._program.answer(entry, given)
        except EvaluationFailed as error:
            where = f"at {error} " if str(error) else ""
            raise PolicyUnavailable(
                f"the policy could not be evaluated {where}on this call", "mend the rule that failed"
            ) from None
        if found is not None and type(found) is not dict:
            raise PolicyMalformed(
                f"the value of `gateway.{entrypoint}.result` is not an object",
                "make `result` follow rego/schemas/result.json",
            )
        return cast("object", found)
