"""uvicorn, run with what opagate needs of it: a clear sentence when the address is taken, the client's certificate and
whether it is still there in the scope, and a drain on SIGTERM in which no call is lost."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.config import Configuration, TlsSettings
from gateway.errors import ConfigurationError
from gateway.transport.exchange import Presence
from gateway.transport.gathering import Gathering


class _Protocol(HttpToolsProtocol):
    """Adds to the scope what uvicorn does not: whether the client is still there, and its verified certificate, DER."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Gathering(transport))
        tls = transport.get_extra_info("ssl_object")
        self._presence = Presence()
        self._extensions: dict[str, Any] = {
            "opagate.presence": self._presence,
            "opagate.certificate": tls.getpeercert(binary_form=True) if tls is not None else None,
        }

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._presence.leave()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope.update(self._extensions)  # type: ignore[typeddict-item] - extensions of ours


class Server(uvicorn.Server):
    """Runs the application until SIGTERM or SIGINT, then drains."""

    def __init__(
        self,
        app: Any,
        configuration: Configuration,
        *,
        tls: ssl.SSLContext | None,
        on_ready: Callable[[], None],
        on_drain: Callable[[], Awaitable[None]],
    ) -> None:
        options = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            # A header of the caller must not say where the caller is.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(configuration.limits.drain.total_seconds()) or 1,
            backlog=2048,
            ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        )
        super().__init__(options)
        self._on_ready = on_ready
        self._on_drain = on_drain
        self._listener = listen(configuration)

    async def run_until_stopped(self) -> None:
        await self.serve(sockets=[self._listener])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """A first signal drains; a second Ctrl-C does not wait. uvicorn's own would raise the signal again after serving,
        which ends the process before the journal is closed."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._on_drain()
        await super().shutdown(sockets=sockets)


def listen(configuration: Configuration) -> socket.socket:
    """The listening socket. Raises `ConfigurationError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    try:
        return socket.create_server((configuration.host, configuration.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {configuration.listen}: {error.strerror or error}",
            "stop what uses that address, or set listen to another one",
        ) from error


def tls_context(settings: TlsSettings, client_authorities: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer with the configured certificate. Client certificates are asked for, and verified when
    sent, if `client_ca` or `client_authorities` (PEM) name whom to trust. Raises `ConfigurationError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca is not None:
            context.load_verify_locations(cafile=settings.client_ca)
        if client_authorities:
            context.load_verify_locations(cadata=client_authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be used: {error}", "check tls.certificate, tls.key and tls.client_ca"
        ) from error
    if settings.client_ca is not None or client_authorities:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
