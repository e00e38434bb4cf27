"""Overlapping label patterns in the log: each pair once, for any later tools of an upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.upstreams.catalogue.overlaps import Overlap

log = structlog.get_logger("gateway.upstream")


class OverlapLog:
    """The pairs of patterns logged since the gateway's start."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def tell(self, upstream: str, overlaps: Iterable[Overlap]) -> None:
        """Log the new overlaps of an upstream."""
        for overlap in overlaps:
            pair = (overlap.place, overlap.earlier, overlap.later)
            if pair not in self._told:
                self._told.add(pair)
                log.warning("catalogue.labels-overlap", upstream=upstream, problem=overlap.sentence)
