"""The console, made from the configuration."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from gateway.base.concurrency.background import Job
from gateway.base.steady_clock import SteadyClock
from gateway.identity.claim_maps import map_of
from gateway.identity.login import LoginClient, LoginProvider, LoginSeal
from gateway.surfaces.app.control import find_accounts
from gateway.surfaces.console.application import Console, find_navigation
from gateway.surfaces.console.feed import Feed, render_region
from gateway.surfaces.console.journals import ConsoleJournals
from gateway.surfaces.console.rendering import Templates
from gateway.surfaces.console.sessions import LinkRegister, SessionRegister, add_operations
from gateway.surfaces.console.visits import ConsoleParts
from gateway.surfaces.stored.workers import find_peer, name_own

if TYPE_CHECKING:
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration
    from gateway.config.console import ConsoleSettings


_LOOK_SECONDS: Final = 1.0


async def open_console(
    stack: AsyncExitStack, configuration: Configuration, settings: ConsoleSettings, gateway: Gateway
) -> Console:
    """Open the console until the stack ends. A restart of a gateway alone ends all logins.

    Raises `ConfigurationError` and `StoreError`.
    """
    provider = _provider(configuration, settings, gateway)
    if provider is not None:
        stack.push_async_callback(provider.aclose)
    steady = SteadyClock(gateway.clock, gateway.monotonic)
    terms = _digest_terms(configuration, settings)
    sessions = SessionRegister(
        gateway.store,
        lifetime=settings.lifetime.total_seconds(),
        idle=settings.idle.total_seconds(),
        limit=settings.sessions,
        now=steady.now,
        terms=terms,
    )
    links = LinkRegister(gateway.store, now=steady.now, terms=terms)
    if gateway.claim is None:
        await sessions.close_all()
        await links.close_all()
    feed = Feed(lambda view: render_region(parts, view))
    if gateway.people is not None:
        stack.callback(gateway.people.desk.watch(lambda _approval: feed.tell("approvals")))
    stack.push_async_callback(_watch_journal(gateway, feed).stop)
    parts = ConsoleParts(
        settings=settings,
        gateway=gateway,
        sessions=sessions,
        links=links,
        templates=Templates(),
        seal=LoginSeal(gateway.store.derive_key("logins at the console")),
        provider=provider,
        navigation=find_navigation(gateway),
        feed=feed,
        journals=ConsoleJournals(
            name_own(configuration, gateway.journal.keys), find_peer(configuration), configuration.journal.peers
        ),
    )
    stack.callback(parts.journals.close)
    accounts = find_accounts(configuration)
    if provider is None:
        add_operations(gateway.control, parts, accounts)
    return Console(parts, accounts)


def _digest_terms(configuration: Configuration, settings: ConsoleSettings) -> str:
    """Return the digest of the settings that give people their roles. After a change of these, each session ends."""
    approvals = configuration.approvals
    parts = [
        None if settings.login is None else settings.login.model_dump(mode="json", exclude={"client_secret"}),
        None if approvals is None else approvals.model_dump(mode="json", include={"peers", "people"}),
        configuration.operators.model_dump(mode="json", include={"accounts"}),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _watch_journal(gateway: Gateway, feed: Feed) -> Job:
    """Tell the open pages of decisions about new entries, at most once a second. Calls do not know of these pages."""
    told = [gateway.journal.entries]

    async def look() -> None:
        await asyncio.sleep(_LOOK_SECONDS)
        if told != [entries := gateway.journal.entries]:
            told[:] = [entries]
            feed.tell("decisions", "tasks")

    return Job.begin_repeating(look, "console")


def _provider(configuration: Configuration, settings: ConsoleSettings, gateway: Gateway) -> LoginProvider | None:
    login = settings.login
    if login is None:
        return None
    client = LoginClient(
        issuer=login.issuer,
        client_id=login.client_id,
        secret=None if login.client_secret is None else login.client_secret.get_secret_value(),
        redirect_uri=f"{configuration.base_url}/console/login/callback",
        scopes=login.scopes,
        claims=map_of(login.claims),
        max_age=settings.lifetime.total_seconds(),
    )
    return LoginProvider(client, clock=gateway.clock)
