"""The server: a clear sentence when the address is taken, and a drain on SIGTERM in which no call is lost.

`connection` has the bounds of a connection.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, Final

from gateway.config import Configuration, TlsSettings
from gateway.model.errors import ConfigurationError
from gateway.wire.http.delivery import Channel
from gateway.wire.http.limits import ConcurrencyLimit
from gateway.wire.http.server_connection import BACKLOG, QUIET, Connection, Serving, accept_waiting

ACCEPTED: Final = 16
"""Connections that are accepted in a turn of the event loop."""

_LOOK_SECONDS: Final = 0.05
"""Between two looks at what is left while the server stops."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Server:
    """A server of HTTP/1.1 that runs until SIGTERM or SIGINT, then drains."""

    def __init__(
        self,
        handler: Callable[[Channel], Coroutine[Any, Any, None]],
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
        self.serving = Serving(handler, ConcurrencyLimit(limits.connections), limits.request_head.total_seconds())
        self.is_told = False
        """The first signal has come."""
        self.is_hurried = False
        """A second interrupt has come: calls are not waited for."""
        self._tls = tls
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._on_drain = on_drain
        self._delay = limits.drain_delay.total_seconds()
        self._drain = limits.drain.total_seconds()
        self._listener = listen(configuration)
        self._accepting: list[asyncio.Server] = []
        self._handshakes: set[asyncio.Future[None]] = set()
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run_until_stopped(self) -> None:
        # libuv accepts one connection of each socket in a turn, and a busy turn is long: those who connect would wait for
        # seconds. So the socket is there several times.
        with self._listener, self._hear_signals():
            for _ in range(ACCEPTED):
                accepting = await self._loop.create_server(
                    partial(Connection, self.serving), sock=self._listener.dup(), ssl=self._tls, backlog=BACKLOG
                )
                self._accepting.append(accepting)
            self._on_ready()
            await self._told.wait()
            await self._shut_down()

    def stop(self) -> None:
        """Begin to drain."""
        self.is_told = True
        # Also from the handler of a signal, which may run between any two steps.
        self._loop.call_soon_threadsafe(self._told.set)

    def hear_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Stop at the first signal, SIGINT without delay. A second SIGINT does not wait for calls."""
        if number == signal.SIGINT:
            self._delay = 0.0
            self.is_hurried = self.is_told
        self.stop()

    @contextmanager
    def _hear_signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            # Signals are not for other threads.
            yield
            return
        before = {number: signal.signal(number, self.hear_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _shut_down(self) -> None:
        """Stop without losing a request that has arrived.

        1. For `limits.drain_delay` all goes on, but each answer closes its connection, and readiness is refused.
        2. Connections that wait to be accepted are accepted, and the gateway listens no more.
        3. Quiet connections are closed. Requests that are read or answered go on, for at most `limits.drain`.
        4. The rest is cut off.
        """
        self.serving.is_stopping = True
        self._on_stop()
        await self._wait(self._delay, lambda: self._delay == 0.0)
        await self._stop_listening()
        self._on_drain()
        # A connection that is not there yet is in its TLS handshake.
        begun, handshake = self._loop.time(), QUIET if self._tls else 0.0
        await self._wait(self._drain, lambda: self._is_done() and self._loop.time() - begun >= handshake)
        for task in (*self.serving.tasks, *self._handshakes):
            task.cancel("the drain is over")

    async def _stop_listening(self) -> None:
        for accepting in self._accepting:
            accepting.close()
        # The event loop closes its sockets in its next turn, and the system the last one here.
        await asyncio.sleep(0)
        waiting = accept_waiting(self._listener)
        self._listener.close()
        for connection in waiting:
            serving = asyncio.ensure_future(self._serve_accepted(connection))
            self._handshakes.add(serving)
            serving.add_done_callback(self._handshakes.discard)

    async def _serve_accepted(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the client left meanwhile, or failed in the handshake
            await self._loop.connect_accepted_socket(partial(Connection, self.serving), connection, ssl=self._tls)

    def _is_done(self) -> bool:
        """Close what is quiet, and return whether nothing is left."""
        for connection in tuple(self.serving.connections):
            connection.close_if_quiet()
        return not self.serving.connections and not self.serving.tasks and not self._handshakes

    async def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait until it is over, for at most so many seconds, and not at all after a second SIGINT."""
        until = self._loop.time() + seconds
        # A signal comes between any two steps, and connections end in many places: neither sets an event.
        while not is_over() and self._loop.time() < until and not self.is_hurried:  # noqa: ASYNC110 - several conditions end the wait
            await asyncio.sleep(_LOOK_SECONDS)


def listen(configuration: Configuration) -> socket.socket:
    """Return the listening socket. Raises `ConfigurationError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    try:
        return socket.create_server((configuration.host, configuration.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {configuration.listen}: {error.strerror or error}",
            "stop what uses that address, or set listen to another one",
        ) from error


def tls_context(settings: TlsSettings, client_authorities: str | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer with the configured certificate. Client certificates are asked for, and
    verified when sent, if `client_ca` or `client_authorities` (PEM) name whom to trust. Raises `ConfigurationError`."""
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
