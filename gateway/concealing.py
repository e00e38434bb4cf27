"""Credentials kept from agents: which answers have handles in their place."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from gateway.binding.vault import Vault
from gateway.inspection.concealment import Concealment, Recalling
from gateway.inspection.credentials.finding import Finding
from gateway.model.content import Sighting
from gateway.model.decision import Decision
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.visit import Gateway

OBLIGATION: Final = "conceal_credentials"


def demanded(decision: Decision) -> bool:
    """Whether policy wants the credentials of the answer concealed."""
    return any(item.id == OBLIGATION for item in decision.obligations)


def concealment(gateway: Gateway, task: Task, target: Target, now: float, values: tuple[str, ...] = ()) -> Concealment:
    """What rewrites one answer to a call of `task`. `values` were put back in the call: they do not come back, whether
    or not they look like credentials there."""
    detector = gateway.inspector.detector
    looking = Recalling(detector, values) if values else detector
    quiet, seen = gateway.inspector.suppressions.of(target, now), gateway.history.seen(task)
    kept = gateway.history.kept(task.id)
    keep = partial(_keep, gateway.vault, "" if kept is None else kept.owner, task.id, target.audience)
    return Concealment(looking, keep, none=lambda finding: quiet.covers(finding, seen))


def sightings(concealed: Concealment) -> tuple[Sighting, ...]:
    """The credentials that it has concealed since this was last asked, as history takes them in."""
    return tuple(map(_sighting, concealed.found()))


def _keep(  # noqa: PLR0917 - all but the last two are given beforehand
    vault: Vault, owner: str, task_id: str, audience: str, findings: tuple[Finding, ...], text: str | None
) -> str | None:
    seen = tuple(replace(_sighting(finding), shingles=frozenset()) for finding in findings)
    return vault.keep(owner, task_id, audience, seen, text)


def _sighting(finding: Finding) -> Sighting:
    return Sighting(
        finding.fingerprint, finding.detector, form=finding.form, shingles=finding.shingles, ordinary=finding.ordinary
    )
