"""The grants beside a recorded decision, judged by the policy of today on the recorded input."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from gateway.surfaces.cli import loop

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.history.provenance import Explanation
    from gateway.model.wire import JsonObject
    from gateway.policy.grants.fits import Fit


def fits(settings: Configuration, decision: JsonObject, explanation: Explanation) -> tuple[Fit, ...] | None:
    """Return the holding or nearest grants; `None` if policy or record does not tell."""
    from gateway.model.errors import JournalError, PolicyError
    from gateway.surfaces.explain import grants
    from gateway.surfaces.replay.engine import inspector_of
    from gateway.surfaces.replay.rebuilt import rebuild_input

    try:
        asked = rebuild_input(decision, explanation, inspector_of(settings)).document
        found = loop.run(_ask_policy(settings, asked))
    except (JournalError, PolicyError):
        return None
    if found is None:
        return None
    entry = cast("Mapping[str, Any]", decision)
    pointers = {fact for reason in entry.get("reasons") or () for fact in reason.get("facts") or ()}
    return grants.choose_grants([grants.settle(fit, pointers, allowed=entry["effect"] == "allow") for fit in found])


async def _ask_policy(settings: Configuration, asked: JsonObject) -> tuple[Fit, ...] | None:
    from gateway.policy.policy import Policy

    policy = Policy.build(settings.policy, supported=frozenset(), clock=time.time, is_for_calls=False)
    await policy.start()
    try:
        return await policy.fits(asked)
    finally:
        await policy.stop()
