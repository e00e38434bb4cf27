"""uvicorn, with a clear sentence when the address is taken, and a drain on SIGTERM in which no call is lost.

`protocol` has the bounds of a connection.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Final, cast

import uvicorn

from gateway.config import Configuration, TlsSettings
from gateway.errors import ConfigurationError
from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.draining import BACKLOG, QUIET, accept_waiting
from gateway.transport.protocol import Protocol, Stop

ACCEPTED: Final = 16
"""Connections that are accepted in a turn of the event loop."""

_LOOK_SECONDS: Final = 0.05
"""Between two looks at what is left while the server stops."""


class Server(uvicorn.Server):
    """Runs the application until SIGTERM or SIGINT, then drains."""

    def __init__(
        self,
        app: Any,
        configuration: Configuration,
        *,
        tls: ssl.SSLContext | None,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        on_drain: Callable[[], None],
    ) -> None:
        """Listen. The server calls `on_ready` when it accepts, `on_stop` at the first signal, and `on_drain` when its socket is
        closed. Raises `ConfigurationError` for an address in use."""
        limits = configuration.limits
        self._stop = Stop()
        connections = ConcurrencyLimit(limits.connections)
        protocol = partial(Protocol, connections, limits.request_head.total_seconds(), self._stop)
        options = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", protocol),
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
            backlog=BACKLOG,
            ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        )
        super().__init__(options)
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._on_drain = on_drain
        self._delay = limits.drain_delay.total_seconds()
        self._drain = limits.drain.total_seconds()
        self._listener = listen(configuration)
        self._handshakes: set[asyncio.Future[None]] = set()

    async def run_until_stopped(self) -> None:
        # libuv accepts one connection of each socket in a turn, and a busy turn is long: those who connect would wait for
        # seconds. So the socket is there several times.
        with self._listener:
            await self.serve(sockets=[self._listener.dup() for _ in range(ACCEPTED)])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop at the first signal, SIGINT without delay. A second SIGINT does not wait for calls. The handler of uvicorn
        would raise the signal again, and end the process before the journal is closed."""
        if sig == signal.SIGINT:
            self._delay = 0.0
            self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop without losing a request that has arrived.

        1. For `limits.drain_delay` all goes on, but each answer closes its connection, and readiness is refused.
        2. Connections that wait to be accepted are accepted, and the gateway listens no more.
        3. Quiet connections are closed. Requests that are read or answered go on, for at most `limits.drain`.
        4. The rest is cut off.
        """
        self._stop.begun = True
        self._on_stop()
        for connection in self._open():
            connection.close_after_answer()
        await self._wait(self._delay, lambda: self._delay == 0.0)
        await self._stop_listening()
        self._on_drain()
        # A connection that is not there yet is in its TLS handshake.
        begun, handshake = self._now(), QUIET if self.config.ssl else 0.0
        await self._wait(self._drain, lambda: self._is_done() and self._now() - begun >= handshake)
        for task in (*self.server_state.tasks, *self._handshakes):
            task.cancel("the drain is over")

    async def _stop_listening(self) -> None:
        for server in self.servers:
            server.close()
        # The event loop closes its sockets in its next turn, and the system the last one here.
        await asyncio.sleep(0)
        waiting = accept_waiting(self._listener)
        self._listener.close()
        for connection in waiting:
            serving = asyncio.ensure_future(self._serve_accepted(connection))
            self._handshakes.add(serving)
            serving.add_done_callback(self._handshakes.discard)

    async def _serve_accepted(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        protocol = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        serve = partial(protocol, config=self.config, server_state=self.server_state, app_state={}, _loop=loop)
        with suppress(OSError):  # the client left meanwhile, or failed in the handshake
            await loop.connect_accepted_socket(serve, connection, ssl=self.config.ssl)

    def _open(self) -> tuple[Protocol, ...]:
        return cast("tuple[Protocol, ...]", tuple(self.server_state.connections))

    def _is_done(self) -> bool:
        """Close what is quiet, and return whether nothing is left."""
        for connection in self._open():
            connection.close_if_quiet()
        return not self.server_state.connections and not self.server_state.tasks and not self._handshakes

    async def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait until it is over, for at most so many seconds, and not at all after a second SIGINT."""
        until = self._now() + seconds
        # A signal comes between any two steps, and connections end in many places: neither sets an event.
        while not is_over() and self._now() < until and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def listen(configuration: Configuration) -> socket.socket:
    """The listening socket. Raises `ConfigurationError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    try:
        return socket.create_server((configuration.host, configuration.port), family=family, backlog=BACKLOG)
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
        # A session that is taken up again knows the client's own certificate only, and not what vouches for it.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context
