"""Tells a caller and its operator that policy shows the caller no tool of an upstream: default deny looks like a fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Pin, Target

log = structlog.get_logger("gateway.visibility")

TOLD_OF_GRANTS: Final = frozenset({AuthMethod.DEVELOPMENT, AuthMethod.ANONYMOUS})
"""Callers that are told about grants, since they are on the operator's machine. Others learn nothing of hidden tools."""
_MOST_TOLD: Final = 4_096


def keep_usable(tools: Iterable[Target]) -> tuple[Target, ...]:
    """Return the tools whose definitions may be used: the catalogue itself hides all others."""
    return tuple(tool for tool in tools if tool.pin in {Pin.MATCH, Pin.UNPINNED})


class HiddenTools:
    """A log of the callers that see no tool of an upstream, with one line for each caller and upstream."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}

    def note(self, principal: Principal, upstream: str, tools: int) -> None:
        """Log that policy hides all `tools` of an upstream from a caller, the first time only."""
        key = principal.key, upstream
        if key in self._told:
            return
        if len(self._told) >= _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[key] = None
        log.warning(
            "list.empty",
            agent=principal.id,
            issuer=principal.issuer,
            upstream=upstream,
            problem=f"policy shows this caller none of {tools} tools",
            remedy="add a grant, or see `opagate can`",
        )


def explain_hidden_tools(principal: Principal, upstream: str, tools: Sequence[Target]) -> str:
    """Return instructions for a caller from which policy hides all `tools` of an upstream."""
    return (
        f"opagate shows {principal.id!r} none of the {len(tools)} tools of {upstream!r}: no grant covers this caller."
        f" The operator can add one to the grants file. `opagate can {principal.id} {tools[0].id}` says what is missing."
    )
