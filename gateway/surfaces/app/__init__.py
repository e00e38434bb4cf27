"""The composition root of the gateway. `assembly` makes every part from the configuration and owns its lifetime.
`content` makes the inspectors, `memory` restores tasks, and `events` records events beside requests. `serving` listens,
and stops the parts in reverse order once the calls in flight have ended."""

from gateway.surfaces.app.assembly import open_gateway, upstream_transports
from gateway.surfaces.app.serving import run

__all__ = ["open_gateway", "run", "upstream_transports"]
