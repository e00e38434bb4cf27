"""The finding about a compiled policy beside a folder: whether it counts at this gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import keys
from gateway.cli.approval_checks import ApprovalFinding
from gateway.policy import folders
from gateway.policy.folders import PolicyFolders
from gateway.policy.plan import loading, store
from gateway.policy.plan.signatures import PlanTrust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield a finding if there is a plan beside a folder. Raise `GatewayError`."""
    section = settings.policy
    places = PolicyFolders.configured(section)
    plans = [place for place in map(store.beside, places.planned) if place.exists()]
    if section.engine.kind != "embedded" or section.engine.evaluator == "regorus" or not plans:
        return
    trust = PlanTrust(keys.read_plans(settings), section.plan_keys)
    found, reason = loading.find_plan(folders.read_policy(places), places.planned, trust)
    if found is None:
        yield ApprovalFinding(reason, "", is_warning=True)
    else:
        yield ApprovalFinding(f"{plans[0]} counts: plan {store.digest_of(bytes(found.plan))}")
