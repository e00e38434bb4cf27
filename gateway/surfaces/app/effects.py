"""The register of effects that happen once, with its clockwork."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gateway.authority.effects import EffectRegister
from gateway.base.concurrency.background import Job
from gateway.base.keys.key_ring import subkey
from gateway.calls.pipeline.effects import EffectStage, add_operations
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.record.telemetry.metrics import Metrics
    from gateway.surfaces.app.people import DeskParts

log = structlog.get_logger("gateway.effects")

_SWEEP_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 2.0
"""Between two looks for gateways that have ended."""


async def open_effects(stack: AsyncExitStack, parts: DeskParts, metrics: Metrics) -> EffectStage:
    """Take over the effects of the gateway before this one, and keep them until the stack ends. Raises `StoreError`."""
    register = EffectRegister(parts.store, subkey(parts.keys.fingerprints, "effects"), parts.clock, parts.claim)
    await register.begin()
    stack.push_async_callback(register.close)

    async def sweep() -> None:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            await register.sweep()
        except GatewayError as error:
            log.warning("effects.unswept", problem=error.message)

    async def look() -> None:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            await register.look()
        except GatewayError as error:
            log.warning("effects.unfollowed", problem=error.message)

    stack.push_async_callback(Job.begin_repeating(sweep, "effects").stop)
    if parts.claim is not None:
        stack.push_async_callback(Job.begin_repeating(look, "effects of other gateways").stop)
    stage = EffectStage(register, parts.history.ledger, parts.journal, metrics)
    add_operations(parts.control, stage)
    return stage
