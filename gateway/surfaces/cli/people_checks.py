"""Findings about people and their identity providers: approvers, channels, operators and signals. No message is sent.

A transmitter of signals is asked for its keys alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.authority.approvals.channels.building import build_channels
from gateway.authority.approvals.model import Person
from gateway.authority.approvals.rules import Admission
from gateway.base.control.line_socket import own_uid
from gateway.config.identities import JwtIdentity
from gateway.identity.assembly import transmitter_keys
from gateway.identity.claim_maps import GENERIC, map_of
from gateway.model.decision import Reason
from gateway.model.target import Effect
from gateway.surfaces.cli.terminal import describe_count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.config import Configuration
    from gateway.config.approvals import ApprovalSettings
    from gateway.config.signals import SsfSignals


class ApprovalFinding(NamedTuple):
    """A finding in words. `is_warning`: an operator should follow `remedy`."""

    found: str
    remedy: str = ""
    is_warning: bool = False


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield the configured approvers and channels. Raises `GatewayError` for an unusable channel."""
    approvals = settings.approvals
    if approvals is None:
        return
    yield _find_approvers(approvals, is_development=settings.is_development)
    yield from _find_outsiders(approvals)
    yield from _find_other_ids(settings, approvals)
    yield from _find_unanswered(settings, approvals)
    if settings.console is not None and settings.console.login is not None and approvals.people is None:
        yield ApprovalFinding(
            "nobody answers a question at the console",
            "name the groups of approvers in approvals.people",
            is_warning=True,
        )
    yield from _channels(approvals)


def look_at_operators(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield the configured operators, and each account that is listed for nothing."""
    accounts = settings.operators.accounts
    if accounts:
        named = ", ".join(f"{account.id} ({account.uid})" for account in accounts)
        yield ApprovalFinding(f"over the socket: {named}, and root")
    people = settings.operators.people
    if people is not None:
        yield ApprovalFinding(f"people of {people.issuer} in the groups {', '.join(people.groups)} over /api")
    if not accounts and settings.console is not None and settings.console.login is None and not settings.is_development:
        yield ApprovalFinding(
            "root alone operates the gateway over the socket", "list accounts in operators.accounts", is_warning=True
        )
    if not settings.is_development and own_uid() in {account.uid for account in accounts}:
        yield ApprovalFinding(
            f"the account {own_uid()} runs this command; if it also runs the gateway, it operates nothing in production",
            "list another account: servers of agents may run under the gateway's",
            is_warning=True,
        )


def _find_approvers(approvals: ApprovalSettings, *, is_development: bool) -> ApprovalFinding:
    ways = [f"{describe_count(len(approvals.peers), 'account')} over the socket"] if approvals.peers else []
    if approvals.people is not None:
        groups = ", ".join(approvals.people.groups)
        ways.append(f"people of {approvals.people.issuer} in the groups {groups} over /api/approvals")
    if is_development:
        ways.append("the gateway's own account (development)")
    if not ways:
        return ApprovalFinding(
            "nobody can answer a question", "list people under approvals.peers or approvals.people", is_warning=True
        )
    return ApprovalFinding(f"answers come from {', '.join(ways)}")


def _find_outsiders(approvals: ApprovalSettings) -> Iterator[ApprovalFinding]:
    """Yield listed accounts that are in no group of approvers, and so answer nothing."""
    if approvals.people is None:
        return
    admission = Admission(approvals.people.groups)
    for peer in approvals.peers:
        if isinstance(admission.admit(Person(peer.id, peer.issuer, peer.groups)), Reason):
            yield ApprovalFinding(
                f"the account {peer.uid} ({peer.id}) of approvals.peers answers no question: it is in no group of"
                " approvals.people.groups",
                "give it one of these groups, or remove it",
                is_warning=True,
            )


_HARMLESS: Final = frozenset({"demo", "development", "test", "staging"})
_LASTING: Final = frozenset({Effect.DESTRUCTIVE, Effect.MINT, Effect.EXEC})
"""Environments and effects as in the shipped settings of the policy (`harmless_environments`, `unbound_effects`)."""


def _find_unanswered(settings: Configuration, approvals: ApprovalSettings) -> Iterator[ApprovalFinding]:
    """Yield the upstreams whose lasting effects ask for two persons with a login (`identity/unbound`), where nobody has a login."""
    is_bound = all(each.kind == "jwt" and each.require_bound for each in settings.identity)
    if approvals.people is not None or is_bound:
        return
    named = [
        name
        for name, upstream in settings.upstreams.items()
        if upstream.environment not in _HARMLESS and any(one.effect in _LASTING for one in upstream.tools.values())
    ]
    if named:
        yield ApprovalFinding(
            f"nobody can approve a lasting effect in {', '.join(named)} with a bearer token (identity/unbound): nobody has a login",
            "name the people in approvals.people, or declare the environment of a harmless upstream",
            is_warning=True,
        )


_PROVIDERS: Final = {"login.microsoftonline.com": "entra-v2", "sts.windows.net": "entra-v1", "okta.com": "okta"}
"""Hosts of providers whose `sub` differs between the tokens of agents and those of people, with the preset for `claims`."""


def _find_other_ids(settings: Configuration, approvals: ApprovalSettings) -> Iterator[ApprovalFinding]:
    """Yield each issuer with different ids of a person as user and as approver. Such a person could approve a call of its own."""
    identities = {each.issuer: each for each in settings.identity if isinstance(each, JwtIdentity)}
    login = None if settings.console is None else settings.console.login
    for place, people in (("approvals.people", approvals.people), ("console.login", login)):
        identity = None if people is None else identities.get(people.issuer)
        if people is None or identity is None:
            continue
        ids, named = map_of(people.claims).user, map_of(identity.claims).user
        host = urlsplit(people.issuer).hostname or ""
        preset = next((name for end, name in _PROVIDERS.items() if host == end or host.endswith(f".{end}")), None)
        if ids != named:
            yield ApprovalFinding(
                f"{place} names people by {ids[0]}, and the identity of {people.issuer} by {named[0]}: a person could"
                " approve a call of their own",
                f"write the same `claims` in {place} and in identity",
                is_warning=True,
            )
        elif preset is not None and ids == GENERIC.user:
            yield ApprovalFinding(
                f"people of {people.issuer} have another `sub` at {place} than as users: they could approve their own calls",
                f"write claims: {{preset: {preset}}} in {place} and in identity",
                is_warning=True,
            )


def _channels(approvals: ApprovalSettings) -> Iterator[ApprovalFinding]:
    for settings, channel in zip(approvals.sending, build_channels(approvals, time.time), strict=True):
        end = ", and the end of a question too" if channel.tells_end else ""
        yield ApprovalFinding(f"channel {channel.name} ({settings.kind}) sends to {channel.place}{end}")
    if not approvals.sending:
        yield ApprovalFinding("no channel sends messages: people look with `opagate approvals`, or over /api/approvals")
    elif not approvals.has_watchers:
        yield ApprovalFinding(
            "a question that no channel delivers ends as approval/unreachable; try `opagate approvals test`"
        )


async def look_at_signals(settings: Configuration) -> AsyncIterator[ApprovalFinding]:
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
