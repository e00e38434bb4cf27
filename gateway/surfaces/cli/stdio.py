"""`opagate connect stdio`: the gateway for a client that starts programs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.surfaces.cli.caller import issue_development_token
from gateway.surfaces.cli.options import ConfigOption, configuration, configuration_path
from gateway.upstreams.stdio.wire import LineSplitter, LineTooLong

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.surfaces.cli.bridge import Bridge
    from gateway.wire.http.dial import Address

_TOKEN_SECONDS: Final = 3600.0
_EARLY: Final = 300.0
"""Seconds before its end at which a token is replaced."""
_READ: Final = 64 * 2**10


def stdio(
    upstream: Annotated[
        str | None, typer.Argument(metavar="UPSTREAM", help="The upstream; without it, all that the gateway serves.")
    ] = None,
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="The agent that calls.")] = "stdio",
    config: ConfigOption = None,
) -> None:
    """Serve MCP on standard input and output: a bridge to the running gateway, for clients that start programs.

    The bridge makes its own development tokens. No client's file needs one.
    """
    from gateway.model.errors import ConfigurationError
    from gateway.wire.http.dial import address_of_url

    settings = configuration(config)
    if upstream is not None and upstream not in settings.upstreams:
        known = ", ".join(settings.upstreams) or "none"
        raise ConfigurationError(f"there is no upstream {upstream}", f"name one of these: {known}")
    tokens = DevelopmentTokens(settings, str(configuration_path(config)), agent, clock=time.time)
    tokens.find()
    asyncio.run(_run(address_of_url(_find_url(settings, upstream)), tokens))


def _find_url(settings: Configuration, upstream: str | None) -> str:
    return f"{settings.base_url}/mcp" if upstream is None else f"{settings.base_url}/mcp/{upstream}"


class DevelopmentTokens:
    """The development tokens of a bridge: made when one is asked for, and made anew before they end."""

    def __init__(self, settings: Configuration, name: str, agent: str, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._name = name
        self._agent = agent
        self._clock = clock
        self._current = ""
        self._until = 0.0

    def find(self, *, anew: bool = False) -> str:
        """Return a valid token; another one than before with `anew`. Raises `ConfigurationError`."""
        if anew or self._clock() >= self._until:
            self._current = issue_development_token(
                self._settings, self._name, agent=self._agent, ttl=_TOKEN_SECONDS, clock=self._clock
            )
            self._until = self._clock() + _TOKEN_SECONDS - _EARLY
        return self._current


async def _run(address: Address, tokens: DevelopmentTokens) -> None:
    """Carry messages until the client closes its output, or the program is told to end."""
    from gateway.surfaces.cli.bridge import Bridge

    output = _Output()
    bridge = Bridge(address, lambda anew: tokens.find(anew=anew), output.write, output.complain)
    carrying = asyncio.ensure_future(_carry(bridge, output))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, carrying.cancel)
    await asyncio.wait([carrying])
    await bridge.aclose()
    if not carrying.cancelled():
        carrying.result()


async def _carry(bridge: Bridge, output: _Output) -> None:
    chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
    threading.Thread(target=_read_input, args=(asyncio.get_running_loop(), chunks), daemon=True).start()
    splitter = LineSplitter()
    while chunk := await chunks.get():
        try:
            lines = splitter.feed(chunk)
        except LineTooLong:
            output.complain("the client sent a message of more than 64 MiB")
            return
        for line in lines:
            await bridge.take(line)


def _read_input(loop: asyncio.AbstractEventLoop, chunks: asyncio.Queue[bytes]) -> None:
    """Read standard input of any kind, a pipe, a file or a terminal. An empty chunk is its end."""
    while True:
        chunk = os.read(sys.stdin.fileno(), _READ)
        try:
            asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
        except RuntimeError:
            return  # the loop has ended
        if not chunk:
            return


class _Output:
    """Standard output, a whole message at a time, and standard error."""

    def __init__(self) -> None:
        self._writing = asyncio.Lock()
        self._complained = ""

    async def write(self, line: bytes) -> None:
        """Write a message. A client that reads slowly slows down the bridge."""
        async with self._writing:
            await asyncio.to_thread(_write_whole, line + b"\n")

    def complain(self, text: str) -> None:
        """Tell the person at the client's log of a fault, once in a row."""
        if text != self._complained:
            self._complained = text
            sys.stderr.write(f"opagate: {text}\n")
            sys.stderr.flush()


def _write_whole(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
