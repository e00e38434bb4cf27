"""The problems that keep the gateway from serving, for probes and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.base.store.engine import Claim
    from gateway.identity.identities import Identities
    from gateway.policy.policy import Policy
    from gateway.record.journal.writer import Journal
    from gateway.upstreams.served import ServedUpstreams
    from gateway.wire.http.tls_files import TlsWatch


def list_problems(
    policy: Policy,
    journal: Journal,
    identities: Identities,
    tls: TlsWatch,
    served: ServedUpstreams,
    *,
    claim: Claim | None,
) -> dict[str, str]:
    """Return the problems that keep the gateway from serving: part → sentence for people."""
    problems: dict[str, str] = {}
    status = policy.status()
    if status.problem is not None:
        problems["policy"] = status.problem
    elif not status.ready:
        problems["policy"] = "no policy is in force"
    if served.problem is not None:
        problems["configuration"] = served.problem
    if (problem := journal.problem()) is not None:
        problems["journal"] = problem
    if claim is not None and (failure := claim.find_problem() or claim.find_end()) is not None:
        problems["store"] = failure.message
    for issuer in identities.status():
        if not issuer.ready:
            problems[f"identity {issuer.issuer}"] = issuer.problem or "its keys are not known"
    return problems | tls.problems()
