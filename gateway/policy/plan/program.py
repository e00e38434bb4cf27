"""A policy compiled from its plan, and the questions to it. Pure: the caller makes the code and gives the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from types import CodeType, TracebackType
from typing import Any, Final, cast

from gateway.model.errors import PolicyBroken, PolicyLate, PolicyMalformed, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy import verdict
from gateway.policy.folder.data_files import DataFile
from gateway.policy.grants import with_grant_index
from gateway.policy.plan.values import EvaluationFailed, U, Value, to_json

_CONDITIONS: Final = ("gateway", "lib", "conditions", "holds")
FILE: Final = "<the plan of the policy>"
"""The name of the written Python in tracebacks."""


class Program:
    """The rules of a policy with their data. `entries` are the names of its questions.

    `rules` are its rules and functions by their paths below `data`, and `reads` are the data that they read by name, with a place.
    """

    def __init__(self, code: CodeType, data: Value) -> None:
        names: dict[str, Any] = {"__name__": "opagate_policy"}
        exec(code, names)  # noqa: S102 - the code is written by `generator`, and `store` holds its digest
        self.entries = cast("Mapping[str, Callable[..., list[Any]]]", names["ENTRIES"])
        self.rules: Mapping[tuple[str, ...], Callable[..., Value]] = {
            path[1:]: rule for path, rule in cast("dict[tuple[str, ...], Any]", names["BY_PATH"]).items()
        }
        self.reads = cast("Mapping[tuple[str, ...], str]", names["READS"])
        self._places = cast("Mapping[str, str]", names["PLACES"])
        self._data = with_grant_index(data)
        self._rules_of_data = cast("Mapping[str, Callable[..., Value]]", names["LASTING"])

    @cached_property
    def _lasting(self) -> dict[str, Value]:
        """The values of the rules that no input changes, by the names of the rules.

        The first question evaluates them: a trial, with its bounds, comes before the first question at the gateway.
        """
        return _evaluate_lasting(self._rules_of_data, self._data)

    def answer(self, entry: str, document: Value) -> Any:
        """Return the answer to an input as JSON has it, `None` for no answer. Raise `EvaluationFailed`, with the place."""
        try:
            results = self.entries[entry](self._lasting.copy(), document, self._data)
            return to_json(results[0]["result"]) if results else None
        except MemoryError:
            raise  # a trial ends by it
        except Exception as error:
            raise EvaluationFailed(self._place_of(error.__traceback__)) from error

    def holds(self, condition: Mapping[str, Any], arguments: Mapping[str, Any], pointer: str) -> bool:
        """Return whether a condition holds, by the rules that judge the conditions of grants."""
        judge = self.rules.get(_CONDITIONS)
        if judge is None:
            return False
        with suppress(Exception):  # arguments that no engine takes are refused by the question to the policy
            given = documents.plain({"condition": condition, "arguments": arguments})
            found = judge(self._lasting.copy(), {}, self._data, given["condition"], given["arguments"], pointer)
            return found is True
        return False

    def values(self, places: tuple[str, ...], names: tuple[str, ...], document: Value) -> Iterator[tuple[str, Any]]:
        """Yield the rules of these names below these packages, and their values as JSON has them."""
        for path, rule in sorted(self.rules.items(), key=lambda item: item[0]):
            full = ".".join(("data", *path))
            if path[-1:] and path[-1] in names and full.startswith(tuple(f"{place}." for place in places)):
                with suppress(Exception):  # a rule that fails here is no rule without a code
                    value = rule(self._lasting.copy(), document, self._data)
                    yield full, None if value is U else to_json(value)

    def place(self, name: str) -> str:
        """Return the file and line of a rule by the name of its function."""
        return self._places.get(name, "")

    def _place_of(self, trace: TracebackType | None) -> str:
        """Return the file and line of the rule that failed."""
        place = ""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == FILE:
                place = self._places.get(trace.tb_frame.f_code.co_name, place)
            trace = trace.tb_next
        return place


def _evaluate_lasting(rules: Mapping[str, Callable[..., Value]], data: Value) -> dict[str, Value]:
    """Return the values of these rules. A rule that fails fails in each question. Raise `MemoryError`: a trial ends by it."""
    kept: dict[str, Value] = {}
    for name, rule in rules.items():
        try:
            kept[name] = rule(kept, U, data)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - the rule fails again, with its place, in each question that needs it
            continue
    return kept


class CompiledPolicy:
    """A program that answers inputs of the gateway. `deadline` is in seconds of `thread_time`."""

    def __init__(self, program: Program, *, deadline: float, thread_time: Callable[[], float]) -> None:
        self.program = program
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
        if entry not in self.program.entries:
            return None
        given = documents.plain(document)
        try:
            found = self.program.answer(entry, given)
        except EvaluationFailed as error:
            where = f"at {error} " if str(error) else ""
            raise PolicyUnavailable(
                f"the policy could not be evaluated {where}on this call", "mend the rule that failed"
            ) from None
        if found is not None and type(found) is not dict:
            raise PolicyMalformed(
                f"the value of `gateway.{entrypoint}.result` is not an object",
                "make `result` follow rego/schemas/decision/result.json",
            )
        return cast("object", found)

    def problems(self, file: DataFile) -> list[str]:
        """Return the policy's complaints about a data file, each as a sentence. Raise a `PolicyError`."""
        entry = file.rule.removeprefix("data.").replace(".", "/")
        if entry not in self.program.entries:
            return []
        try:
            return file.sentences(self.program.answer(entry, {}))
        except EvaluationFailed as error:
            raise PolicyBroken(f"{file.path} could not be judged: the rule at {error} fails", "mend the rule") from None

    def malformed_rule(self, document: JsonObject) -> str | None:
        """Return the rule of a family that gives a finding without a code on this input."""
        values = self.program.values(verdict.PLACES, verdict.SETS, documents.plain(document))
        return verdict.find_malformed(values)
