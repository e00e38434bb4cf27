"""The comparison of a compiled policy with regorus, before the compiled form decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from gateway.errors import PolicyBroken, PolicyError
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy import probes
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded, Entrypoint
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.probes import Probe

_PROBES: Final = 40
"""Probes of a policy's grants that are compared."""


async def require_agreement(compiled: CompiledPolicy, engine: Embedded, policy: Bundle) -> None:
    """Raise `PolicyBroken` if regorus answers a fixture or a probe differently. Calls go on between."""
    for probe in _questions(policy):
        await asyncio.sleep(0)
        if not _agree(_ask_evaluator(compiled.answer, probe), _ask_evaluator(_of(engine), probe)):
            raise PolicyBroken(
                f"the compiled policy and regorus differ on {probe.words}",
                "set policy.engine.evaluator: regorus, and report this",
            )


def _questions(policy: Bundle) -> Iterator[Probe]:
    yield from probes.of_fixtures()
    yield from islice(probes.probes(probes.grants_in(policy.decoded_data())), _PROBES)


def _of(engine: Embedded) -> Callable[[Entrypoint, JsonObject], object]:
    return lambda entrypoint, document: engine.answer(entrypoint, documents.encode(document))


def _ask_evaluator(answer: Callable[[Entrypoint, JsonObject], object], probe: Probe) -> Any:
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
