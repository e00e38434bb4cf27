"""Overlapping label patterns in the log: each pair once, whatever tools an upstream lists later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.upstream.overlaps import Overlap

log = structlog.get_logger("gateway.upstream")


class OverlapLog:
    """The pairs of patterns that were logged since the gateway started."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def tell(self, upstream: str, overlaps: Iterable[Overlap]) -> None:
        """Log the overlaps of an upstream that are new."""
        for overlap in overlaps:
            pair = (overlap.place, overlap.earlier, overlap.later)
            if pair not in self._told:
                self._told.add(pair)
                log.warning("catalogue.labels-overlap", upstream=upstream, problem=overlap.sentence)
