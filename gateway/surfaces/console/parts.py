"""The parts that all pages of the console share. Built by `app`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.base.concurrency.background import in_thread

if TYPE_CHECKING:
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration
    from gateway.config.console import ConsoleSettings
    from gateway.identity.login import LoginProvider, LoginSeal
    from gateway.record.journal.chain import ChainKeys
    from gateway.record.journal.entry_index import EntryIndex
    from gateway.surfaces.console.feed import Feed
    from gateway.surfaces.console.rendering import Templates
    from gateway.surfaces.console.sessions import LinkRegister, Role, SessionRegister


Result = TypeVar("Result")

_READERS: Final = 2


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A page of the console in the navigation, for people with a role; `None`: for all."""

    path: str
    title: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """The console of one gateway. Without a `provider`, people log in by links."""

    configuration: Configuration
    settings: ConsoleSettings
    gateway: Gateway
    sessions: SessionRegister
    links: LinkRegister
    templates: Templates
    seal: LoginSeal
    provider: LoginProvider | None
    navigation: tuple[NavigationEntry, ...]
    feed: Feed
    journal_key: ChainKeys
    index: EntryIndex
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READERS))

    async def read_journal(self, work: Callable[[], Result]) -> Result:
        """Do work that reads the journal in a thread. Few do so at once: a large journal takes time from the calls."""
        async with self.readers:
            return await in_thread(work)

    @property
    def is_https(self) -> bool:
        """Return whether browsers reach the console over TLS."""
        return self.configuration.base_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Return the name of the session's cookie. The prefix binds it to this host and to https (RFC 6265bis).

        Browsers send a cookie to all ports of a host, so the name without https has the port.
        """
        return f"__Host-{_COOKIE}" if self.is_https else f"{_COOKIE}-{self.configuration.port}"

    @property
    def cookie_path(self) -> str:
        """Return the paths that get the cookies. The prefix `__Host-` demands all."""
        return "/" if self.is_https else "/console"

    @property
    def login_cookie(self) -> str:
        """Return the name of the cookie for a login on its way."""
        return f"{self.cookie}-login"

    def link(self, token: str) -> str:
        """Return the address of a one-time link."""
        return f"{self.configuration.base_url}/console/login/link?token={token}"


_COOKIE: Final = "opagate-console"
