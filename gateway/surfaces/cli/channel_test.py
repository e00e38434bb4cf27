"""Test messages through the channels of approvals."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

import typer

from gateway.authority.approvals.channels.building import build_channels
from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.notice import NoticeMessage
from gateway.authority.approvals.channels.sender import ATTEMPT_SECONDS

if TYPE_CHECKING:
    from gateway.authority.approvals.channels.channel import ApprovalChannel
    from gateway.config import Configuration


async def try_channels(settings: Configuration, name: str | None) -> list[dict[str, Any]]:
    """Send a message through each channel, or the named channel, and return the outcomes. Raises `ConfigurationError`,
    and `typer.BadParameter` for an unknown name.
    """
    channels = () if settings.approvals is None else build_channels(settings.approvals, time.time)
    chosen = [channel for channel in channels if name in {None, channel.name}]
    if name is not None and not chosen:
        known = ", ".join(channel.name for channel in channels) or "none"
        raise typer.BadParameter(f"no channel has the name {name!r}; there are: {known}", param_hint="--channel")
    return list(await asyncio.gather(*map(_try, chosen)))


async def _try(channel: ApprovalChannel) -> dict[str, Any]:
    problem = None
    try:
        await channel.send(NoticeMessage(f"msg_{secrets.token_hex(16)}", "test"), ATTEMPT_SECONDS)
    except UndeliveredError as error:
        problem = error.problem
    finally:
        await channel.aclose()
    return {"channel": channel.name, "place": channel.place, "delivered": problem is None, "problem": problem}
