"""The findings about a compiled policy: whether one beside a folder counts at this gateway, and the problems of its data."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.folder.problems import DATA_FILES, DataFile
from gateway.policy.plan import loading, store
from gateway.policy.plan.loading import Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.plan.signatures import PlanTrust
from gateway.surfaces.cli.approval_checks import ApprovalFinding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration, PolicySettings


async def find_data_problems(section: PolicySettings) -> dict[DataFile, list[str]]:
    """Return the problems of each data file of the configured policy. Raise `GatewayError`."""
    places = PolicyFolders.configured(section)
    loaded = await Plans(trust=PlanTrust(section.plan_keys)).load(folders.read_policy(places), places.planned)
    policy = CompiledPolicy(loaded.program, deadline=math.inf, thread_time=time.thread_time)
    return {file: policy.problems(file) for file in DATA_FILES}


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield a finding if there is a plan beside a folder. Raise `GatewayError`."""
    section = settings.policy
    places = PolicyFolders.configured(section)
    plans = [place for place in map(store.beside, places.planned) if place.exists()]
    if section.engine.kind != "embedded" or not plans:
        return
    found, reason = loading.find_plan(folders.read_policy(places), places.planned, PlanTrust(section.plan_keys))
    if found is None:
        yield ApprovalFinding(reason, "", is_warning=True)
    else:
        yield ApprovalFinding(f"{plans[0]} counts: plan {store.digest_of(bytes(found.plan))}")
