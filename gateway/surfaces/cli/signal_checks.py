"""Findings about signals of identity providers. The transmitter is asked for its keys alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.config.identities import JwtIdentity
from gateway.identity.assembly import transmitter_keys
from gateway.surfaces.cli.approval_checks import ApprovalFinding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.config import Configuration
    from gateway.config.signals import SsfSignals


async def look(settings: Configuration) -> AsyncIterator[ApprovalFinding]:
    """Yield findings about the configured signals. Raises `GatewayError` for unusable keys."""
    known = {identity.issuer for identity in settings.identity if isinstance(identity, JwtIdentity)}
    for signals in settings.signals:
        for told in _describe(signals, known, settings.base_url):
            yield told
        keys = transmitter_keys(signals.transmitter, signals.jwks, clock=time.time)
        await keys.refresh()
        status = keys.status()
        await keys.stop()
        if not status.ready:
            problem = status.problem or "its keys are not known"
            yield ApprovalFinding(
                f"{signals.label}: {problem}", "see that its metadata can be reached from here", is_warning=True
            )
    for issuer in (
        () if not settings.signals else sorted(known - {named for each in settings.signals for named in _issuers(each)})
    ):
        remedy = "add its transmitter under signals, if it has one: docs/signals.md"
        yield ApprovalFinding(
            f"{issuer} sends no signals: a token stays good until it expires, also after a logout", remedy
        )


def _describe(signals: SsfSignals, known: set[str], base_url: str) -> Iterator[ApprovalFinding]:
    name = signals.label
    place = f"POST {base_url}/ssf/{name}" if signals.delivery == "push" else "polls"
    yield ApprovalFinding(f"{name}: events of {signals.transmitter} come by {signals.delivery} ({place})")
    if not known.intersection(_issuers(signals)):
        remedy = "name the issuers of your callers in signals.issuers"
        yield ApprovalFinding(f"{name}: no identity is of an issuer that it may speak about", remedy, is_warning=True)
    if signals.verify_every is None:
        remedy = "set verify_every, and stream with the gateway's access to it"
        yield ApprovalFinding(f"{name}: nobody notices if it falls silent", remedy, is_warning=True)
    if signals.delivery == "push" and base_url.startswith("http:"):
        remedy = "set public_url to an https address; most transmitters push to no other"
        yield ApprovalFinding(f"{name}: events would be pushed over plain HTTP", remedy, is_warning=True)


def _issuers(signals: SsfSignals) -> tuple[str, ...]:
    return signals.issuers or (signals.transmitter,)
