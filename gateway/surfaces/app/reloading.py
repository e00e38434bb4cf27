"""Looks at the files of a running gateway: TLS files and the configuration, and what the policy and the catalogue look at themselves.

SIGHUP asks all of them to look at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.base.concurrency.background import Job, Pause
from gateway.upstreams.http import HttpUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from gateway.calls.composition import Gateway
    from gateway.config import Configuration
    from gateway.model.wire import UpstreamTransport
    from gateway.policy.policy import Policy
    from gateway.surfaces.app.reconfiguring import Reconfiguration
    from gateway.wire.http.server import Server
    from gateway.wire.http.tls_files import TlsFiles, TlsWatch

log = structlog.get_logger("gateway")


class Reloading:
    """The job that looks for changed files of a gateway, once in each `policy.reload`."""

    def __init__(
        self, configuration: Configuration, gateway: Gateway, reconfiguration: Reconfiguration | None = None
    ) -> None:
        self._gateway = gateway
        self._reconfiguration = reconfiguration
        self._interval = configuration.policy.reload.total_seconds()
        self._pause = Pause()

    def start(self, stack: AsyncExitStack) -> None:
        """Start to look for changes, until the stack ends."""
        stack.push_async_callback(Job.begin_repeating(self._look, "looks at files").stop)

    def look_now(self) -> None:
        """Look at all files at once."""
        log.info("files.looked-at", reason="SIGHUP")
        self._pause.end()
        if self._reconfiguration is not None:
            self._reconfiguration.read_again()
        self._gateway.policy.look_now()
        self._gateway.catalogue.look_now()

    async def _look(self) -> None:
        await self._pause.rest(self._interval)
        await self._gateway.tls.look()
        if self._reconfiguration is not None:
            await self._reconfiguration.look()


def watch_upstreams(watch: TlsWatch, upstreams: Mapping[str, UpstreamTransport]) -> None:
    """Watch the certificate authorities for upstreams."""
    for transport in upstreams.values():
        if isinstance(transport, HttpUpstream) and transport.authorities is not None:
            watch.add(transport.authorities)


def watch_policy(watch: TlsWatch, policy: Policy) -> None:
    """Watch the certificate authorities for an OPA."""
    if policy.authorities is not None:
        watch.add(policy.authorities, needed=True)


def watch_server(watch: TlsWatch, files: TlsFiles | None, server: Server) -> None:
    """Watch the TLS files of the gateway's own server. New connections use the newest content."""
    if files is not None:
        watch.add(files, needed=True, adopt=partial(setattr, server.serving, "tls"))
