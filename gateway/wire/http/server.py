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
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import structlog

from gateway.config import Configuration
from gateway.model.errors import ConfigurationError
from gateway.wire.http.capacity import find_room
from gateway.wire.http.delivery import Channel
from gateway.wire.http.limits import ConnectionPlaces
from gateway.wire.http.server_connection import BACKLOG, Connection, Serving, accept_waiting

log = structlog.get_logger("gateway.transport")

ACCEPTED: Final = 16
"""Connections that are accepted in a turn of the event loop."""

_REST_SECONDS: Final = 0.05
"""Until the gateway accepts again, after no file was left for a connection."""

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
        shares_port: bool = False,
    ) -> None:
        """Listen. The server calls `on_ready` when it accepts, `on_stop` at the first signal, and `on_drain` when its socket is
        closed. Raises `ConfigurationError` for an address in use, or limits beyond the open files of the process."""
        limits = configuration.limits
        places = ConnectionPlaces(limits.connections, find_room(configuration))
        self.serving = Serving(handler, places, limits.request_head.total_seconds(), tls)
        self.is_told = False
        """The first signal has come."""
        self.is_hurried = False
        """A second interrupt has come: calls are not waited for."""
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._on_drain = on_drain
        self._delay = configuration.drain_delay.total_seconds()
        self._drain = limits.drain.total_seconds()
        self._listener = listen(configuration, shares_port=shares_port)
        self.is_closed = False
        """The gateway listens no more."""
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def adopt_limits(self, configuration: Configuration) -> None:
        """Take the limits of a changed configuration for connections to come, and for the stop."""
        limits, places = configuration.limits, self.serving.places
        places.of_address.limit, places.in_all = limits.connections, find_room(configuration)
        self.serving.head_seconds = limits.request_head.total_seconds()
        self._delay = configuration.drain_delay.total_seconds()
        self._drain = limits.drain.total_seconds()

    async def run_until_stopped(self) -> None:
        with self._listener, self._hear_signals():
            self._listener.settimeout(0)
            self._begin_accepting()
            self._on_ready()
            await self._told.wait()
            await self._shut_down()

    def _begin_accepting(self) -> None:
        if not self.is_closed:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Accept several waiting connections in one turn. A busy turn is long, and clients would wait for many turns."""
        for _ in range(ACCEPTED):
            try:
                accepted, place = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                # No file is left, also for the gateway itself. It would be asked again in each turn.
                log.warning("transport.not-accepted", problem=error.strerror)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_REST_SECONDS, self._begin_accepting)
                return
            self._take(accepted, place)

    def _take(self, accepted: socket.socket, place: tuple[str, int]) -> None:
        accepted.settimeout(0)
        Connection(self.serving).arrive(accepted, place[0])

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
        self._stop_listening()
        self._on_drain()
        await self._wait(self._drain, self._is_done)
        for task in tuple(self.serving.tasks):
            task.cancel("the drain is over")

    def _stop_listening(self) -> None:
        self.is_closed = True
        self._loop.remove_reader(self._listener)
        waiting = accept_waiting(self._listener)
        self._listener.close()
        for accepted, place in waiting:
            self._take(accepted, place)

    def _is_done(self) -> bool:
        """Close what is quiet, and return whether nothing is left."""
        for connection in tuple(self.serving.connections):
            connection.close_if_quiet()
        return not self.serving.connections and not self.serving.tasks

    async def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait until it is over, for at most so many seconds, and not at all after a second SIGINT."""
        until = self._loop.time() + seconds
        # A signal comes between any two steps, and connections end in many places: neither sets an event.
        while not is_over() and self._loop.time() < until and not self.is_hurried:  # noqa: ASYNC110 - several conditions end the wait
            await asyncio.sleep(_LOOK_SECONDS)


def listen(configuration: Configuration, *, shares_port: bool = False) -> socket.socket:
    """Return the listening socket. Raises `ConfigurationError` when the address cannot be had.

    `shares_port`: other processes of this account may listen there too, and the system gives each connection to one of them.
    """
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    try:
        place = (configuration.host, configuration.port)
        return socket.create_server(place, family=family, backlog=BACKLOG, reuse_port=shares_port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {configuration.listen}: {error.strerror or error}",
            "stop what uses that address, or set listen to another one",
        ) from error
