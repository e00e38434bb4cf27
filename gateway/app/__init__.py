"""The composition root: `assembly` makes every part from the configuration and owns their lifetimes, with the parts that
look at `content`, the `memory` of tasks, and what is told of `events` beside requests. `serving` listens, and stops in the
reverse order, after the calls in flight have ended."""

from gateway.app.assembly import assembled, upstream_transports
from gateway.app.serving import run

__all__ = ["assembled", "run", "upstream_transports"]
