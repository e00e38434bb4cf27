"""A compiled plan, and the questions to it. Pure: the caller makes the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType, TracebackType
from typing import Any, Final, cast

from gateway.policy.plan.values import EvaluationFailed, Value, to_json

FILE: Final = "<the plan of the policy>"
"""The name of the written Python in tracebacks."""


class Program:
    """A policy compiled, with its data."""

    def __init__(self, code: CodeType, data: Value) -> None:
        names: dict[str, Any] = {"__name__": "opagate_policy"}
        exec(code, names)  # noqa: S102 - the code is written by `generator`, and `store` holds its digest
        self._entries = cast("Mapping[str, Callable[..., list[Any]]]", names["ENTRIES"])
        self._places = cast("Mapping[str, str]", names["PLACES"])
        self._data = data

    def has(self, entry: str) -> bool:
        return entry in self._entries

    def answer(self, entry: str, document: Value) -> Any:
        """Return the answer to an input as JSON has it, `None` for no answer. Raise `EvaluationFailed`, with the place."""
        try:
            results = self._entries[entry]({}, document, self._data)
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
