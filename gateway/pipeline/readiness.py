"""The problems that keep the gateway from serving, for probes and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.pipeline.context import Gateway


def list_problems(gateway: Gateway) -> dict[str, str]:
    """Return the problems that keep the gateway from serving: part → sentence for people."""
    problems: dict[str, str] = {}
    policy = gateway.policy.status()
    if policy.problem is not None:
        problems["policy"] = policy.problem
    elif not policy.ready:
        problems["policy"] = "no policy is in force"
    if (problem := gateway.journal.problem()) is not None:
        problems["journal"] = problem
    for issuer in gateway.identities.status():
        if not issuer.ready:
            problems[f"identity {issuer.issuer}"] = issuer.problem or "its keys are not known"
    return problems
