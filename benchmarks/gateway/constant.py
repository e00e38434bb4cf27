"""`python -m benchmarks.gateway.constant serve …`: the gateway with a constant in the place of its policy's decisions.

The difference to the real gateway is the cost of a decision in its place, with the caches of the processor as they are there.
"""

from __future__ import annotations

from gateway.model.decision import Decision, PolicyRevision
from gateway.model.wire import JsonObject
from gateway.policy.policy import Policy
from gateway.surfaces.cli import main

ALLOWED = Decision("allow", (), (), PolicyRevision("constant", "1"))


async def decide(self: Policy, document: JsonObject) -> Decision:  # noqa: ARG001 - the signature of the real one
    """Allow the call."""
    return ALLOWED


if __name__ == "__main__":
    Policy.decide = decide
    raise SystemExit(main())
