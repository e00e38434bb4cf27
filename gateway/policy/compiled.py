"""A compiled policy in force: its answers within their deadline, and their comparison with those of regorus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, cast

from gateway.errors import PolicyBroken, PolicyError, PolicyLate, PolicyMalformed, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy import probes
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded, Entrypoint
from gateway.policy.plan.program import Program
from gateway.policy.plan.values import EvaluationFailed
from gateway.policy.probes import Probe

_PROBES: Final = 40
"""Probes of a policy's grants that are compared."""


class Compiled:
    """A compiled policy. `deadline` is in seconds of `thread_time`, as that of the embedded engine."""

    def __init__(self, program: Program, *, deadline: float, thread_time: Callable[[], float]) -> None:
        self._program = program
        self._deadline = deadline
        self._thread_time = thread_time

    def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        """Return the answer to one input, `None` for undefined.

        Raises `PolicyInput`, `PolicyUnavailable`, `PolicyMalformed` or `PolicyLate`.
        """
        begun = self._thread_time()
        answer = self.answer(entrypoint, document)
        took = self._thread_time() - begun
        if took > self._deadline:
            raise PolicyLate(
                f"the policy took {took * 1000:.0f} ms of processor time, longer than its {self._deadline * 1000:.0f} ms",
                "simplify the rules, send smaller arguments, or raise policy.engine.deadline",
            )
        return answer

    def answer(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        """Return the same without a deadline."""
        entry = f"gateway/{entrypoint}/result"
        if not self._program.has(entry):
            return None
        given = documents.plain(document)
        try:
            found = self._program.answer(entry, given)
        except EvaluationFailed as error:
            where = f"at {error} " if str(error) else ""
            raise PolicyUnavailable(
                f"the policy could not be evaluated {where}on this call", "mend the rule that failed"
            ) from None
        if found is not None and not isinstance(found, dict):
            raise PolicyMalformed(
                f"the value of `gateway.{entrypoint}.result` is not an object",
                "make `result` follow rego/schemas/result.json",
            )
        return cast("object", found)

    async def require_agreement(self, engine: Embedded, policy: Bundle) -> None:
        """Raise `PolicyBroken` if regorus answers a fixture or a probe differently. Calls go on between."""
        for probe in _questions(policy):
            await asyncio.sleep(0)
            if not _agree(_told(self.answer, probe), _told(_of(engine), probe)):
                raise PolicyBroken(
                    f"the compiled policy and regorus differ on {probe.words}",
                    "set policy.engine.evaluator: regorus, and report this",
                )


def _questions(policy: Bundle) -> Iterator[Probe]:
    yield from probes.of_fixtures()
    yield from islice(probes.probes(probes.grants_in(policy.decoded_data())), _PROBES)


def _of(engine: Embedded) -> Callable[[Entrypoint, JsonObject], object]:
    return lambda entrypoint, document: engine.answer(entrypoint, documents.encode(document))


def _told(answer: Callable[[Entrypoint, JsonObject], object], probe: Probe) -> Any:
    """Return an answer, `False` for a failure."""
    try:
        return answer(probe.entrypoint, probe.input)
    except PolicyError:
        return False


def _agree(one: Any, other: Any) -> bool:
    """Return whether two answers are the same, or refusals. A failure refuses, and an engine may fail where another refuses."""
    return one == other or (_refuses(one) and _refuses(other) and (one is False or other is False))


def _refuses(answer: Any) -> bool:
    return answer is False or answer is None or answer.get("effect") == "deny" or answer.get("visible") == []
