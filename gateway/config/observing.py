"""The settings `enforce` and `observe_until`, of the gateway and of each upstream. Pure."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.settings import Configuration


def find_ends(settings: Configuration) -> dict[str, float]:
    """Return the end of observe mode for each upstream that has it: in seconds since the epoch, or infinite."""
    found: dict[str, float] = {}
    for name, upstream in settings.upstreams.items():
        if not (settings.enforce if upstream.enforce is None else upstream.enforce):
            until = upstream.observe_until or settings.observe_until
            found[name] = inf if until is None else until.timestamp()
    return found


def find_problem_of_ends(settings: Configuration) -> str | None:
    """Return what is wrong with the ends of observe mode, if anything."""
    observed = find_ends(settings)
    endless = [name for name, until in observed.items() if until == inf]
    if endless and not settings.is_local:
        return (
            f"other machines reach this gateway, and policy is never enforced for {', '.join(endless)};"
            " give observe_until a date"
        )
    if settings.enforce and settings.observe_until is not None and not observed:
        return "observe_until is the end of observe mode; add enforce: false, or remove it"
    for name, upstream in settings.upstreams.items():
        if upstream.observe_until is not None and name not in observed:
            return f"upstreams.{name}.observe_until: the upstream is enforced; add enforce: false, or remove it"
    return None
