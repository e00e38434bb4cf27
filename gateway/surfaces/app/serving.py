"""Serving, from the first signal handler to the last line of the log."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gateway import config
from gateway.base import own_process
from gateway.base.service_manager import ServiceManager
from gateway.calls.composition import Gateway
from gateway.calls.endpoint.endpoint import Endpoint
from gateway.config import Configuration, ToolSearchSettings
from gateway.inspection.words import native
from gateway.inspection.words.native import REMEDY, choose
from gateway.surfaces.app.assembly import open_gateway
from gateway.surfaces.app.reconfiguring import Reconfiguration
from gateway.surfaces.app.reloading import Reloading, watch_server
from gateway.surfaces.app.stopping import Stopping
from gateway.surfaces.pages import PROBES, build_pages
from gateway.surfaces.stored.opening import describe_settings
from gateway.wire.http.capacity import find_room
from gateway.wire.http.edge import Edge, Handlers
from gateway.wire.http.server import Server
from gateway.wire.http.tls_files import serve_tls

if TYPE_CHECKING:
    from gateway.base.store.engine import Claim
    from gateway.surfaces.console.application import Console

log = structlog.get_logger("gateway")

_YOUNG_OBJECTS: Final = 10_000
"""Container objects that are made before the collector looks for cycles among them: some twenty calls' worth."""
_TURN_SECONDS: Final = 0.0005
"""How long another thread may run while the event loop waits for its turn, some three times a turn. Ten times as long by
default."""
_CUT_OFF_SECONDS: Final = 5.0
"""How long the calls that the end of the drain cut off may take to be settled."""
_CLOSING: Final = timedelta(seconds=15)
"""The time of a stop after the drain: for calls that were cut off, and for the ends of leases."""


async def run(
    configuration: Configuration,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_link: Callable[[str], None] = lambda _link: None,
    read: Callable[[Path], Configuration] = config.load,
    shares_port: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises `GatewayError` when the gateway cannot start. `read` reads a changed file.
    `shares_port`: other workers listen on the same port.

    `on_link` is called before `on_ready` with a one-time link to the console, if people log in by links.
    """
    sys.setswitchinterval(_TURN_SECONDS)
    find_room(configuration)
    _bind_core(configuration)
    stopping, manager = Stopping(), ServiceManager.of_environment()
    with stopping.hear_signals():
        try:
            async with open_gateway(configuration) as gateway, AsyncExitStack() as stack:
                reloading = Reloading(
                    configuration, gateway, _open_reconfiguration(stack, configuration, gateway, read)
                )

                def ready() -> None:
                    stopping.note_start(reloading.look_now)
                    reloading.start(stack)
                    on_ready()

                console = await _open_console(stack, configuration, gateway)
                own_process.give_back()
                await serve(
                    configuration, gateway, console, manager, on_ready=ready, on_link=on_link, shares_port=shares_port
                )
        except asyncio.CancelledError:
            if not stopping.told:
                raise
            log.info("stopped", problem="it was told to stop before it listened")


def _open_reconfiguration(
    stack: AsyncExitStack, configuration: Configuration, gateway: Gateway, read: Callable[[Path], Configuration]
) -> Reconfiguration | None:
    """Return the look at the configuration file, until the stack ends; `None` for a configuration without a file."""
    if configuration.source is None:
        return None
    found = Reconfiguration(configuration.source, gateway, read)
    stack.push_async_callback(found.stop)
    return found


def _bind_core(configuration: Configuration) -> None:
    """Use the native core or Python, as configured, before any part is made. Raises `ConfigurationError`."""
    choice = choose(configuration.core)
    native.bind(choice)
    log.info("core.chosen", core=choice.name)
    if choice.unfit is not None:
        log.warning("core.unfit", problem=choice.unfit, remedy=REMEDY)


async def _open_console(stack: AsyncExitStack, configuration: Configuration, gateway: Gateway) -> Console | None:
    """Open the console until the stack ends; `None` if the configuration has none. Raises `ConfigurationError`."""
    if configuration.console is None:
        return None
    from gateway.surfaces.app.console import open_console  # noqa: PLC0415 - Jinja2 takes memory, for gateways with a console

    return await open_console(stack, configuration, configuration.console, gateway)


async def serve(
    configuration: Configuration,
    gateway: Gateway,
    console: Console | None,
    manager: ServiceManager,
    *,
    on_ready: Callable[[], None],
    on_link: Callable[[str], None],
    shares_port: bool = False,
) -> None:
    """Listen, until told to stop; then let the calls in flight end. Raises `StoreError` after another gateway took over."""
    draining = asyncio.Event()
    edge = build_edge(configuration, gateway, draining.is_set, console)
    _observe_edge(gateway, edge)

    def stop() -> None:
        draining.set()
        manager.tell_stopping(configuration.drain_delay + configuration.limits.drain + _CLOSING)
        log.info(
            "draining",
            in_flight=edge.in_flight,
            streams=edge.streams,
            delay=configuration.drain_delay.total_seconds(),
        )

    link = None if console is None else await console.link()

    def drain() -> None:
        log.info("closed", in_flight=edge.in_flight, streams=edge.streams)
        edge.drain()
        _end_waits(gateway, console)

    def ready() -> None:
        _settle_memory()
        log.info("listening", listen=configuration.listen, url=configuration.base_url)
        gateway.catalogue.retry()
        if link is not None:
            on_link(link)
        on_ready()
        manager.tell_ready(configuration.base_url)

    files = None if configuration.tls is None else serve_tls(configuration.tls)
    tls = None if files is None else files.context
    server = Server(edge, configuration, tls=tls, on_ready=ready, on_stop=stop, on_drain=drain, shares_port=shares_port)
    watch_server(gateway.tls, files, server)
    gateway.served.on_change(lambda served: server.adopt_limits(served.configuration))
    if gateway.claim is not None:
        gateway.claim.on_lost(partial(signal.raise_signal, signal.SIGTERM))
        _announce(gateway, gateway.claim)
    await server.run_until_stopped()
    await edge.ended(_CUT_OFF_SECONDS)
    log.info("stopped", journal_head=gateway.journal.head)
    if gateway.claim is not None and (lost := gateway.claim.find_end()) is not None:
        raise lost


def _announce(gateway: Gateway, claim: Claim) -> None:
    """Tell the gateways on the same database of the policy and the settings in force here, now and after each change."""

    def tell() -> None:
        revision = gateway.policy.status().revision or ""
        claim.announce({**describe_settings(gateway.served.current.configuration), "policy": revision})

    tell()
    gateway.policy.on_change(tell)
    gateway.served.on_change(lambda _served: tell())


def _observe_edge(gateway: Gateway, edge: Edge) -> None:
    """Measure the edge, and have the edge announce lists that a new policy or pin changes."""
    gateway.metrics.observe_in_flight(lambda: edge.in_flight)
    gateway.metrics.observe_streams(lambda: edge.streams)
    gateway.policy.on_change(edge.announce_changed_lists)
    gateway.catalogue.on_pinned(edge.announce_changed_lists)
    gateway.served.on_change(lambda served: edge.adopt_limits(served.configuration.limits))
    gateway.served.on_change(lambda _served: edge.announce_changed_lists())


def _end_waits(gateway: Gateway, console: Console | None) -> None:
    """End what waits for people: open pages of the console, held calls, and calls that wait for a connection."""
    if console is not None:
        console.parts.feed.close()
    if gateway.people is not None:
        gateway.people.desk.end_waits()
    if gateway.user_connections is not None:
        gateway.user_connections.office.end_waits()


def build_edge(
    configuration: Configuration, gateway: Gateway, is_draining: Callable[[], bool], console: Console | None = None
) -> Edge:
    """Return the HTTP edge, with MCP and all pages behind it."""
    routes = () if console is None else console.routes

    def search() -> ToolSearchSettings | None:
        return gateway.served.current.configuration.tool_search

    handlers = Handlers(
        mcp=Endpoint(gateway.pipeline, version("opagate"), search).handle,
        pages=build_pages(configuration, gateway, is_draining=is_draining, more=routes),
        probes=PROBES,
        refuse=gateway.pipeline.refuser.refuse_early,
    )
    return Edge(configuration, handlers)


def _settle_memory() -> None:
    """Take the objects made at start-up out of the garbage collector's sight. Code, configuration and policy live as
    long as the process; collecting over these again and again took a tenth of every call. Memory freed by start-up goes
    back to the system: glibc would keep the memory (malloc_trim(3)), others have no such call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
