"""The demo servers as child processes, on sockets that are opened here: no port is guessed and nothing is polled.

A socket accepts connections from the moment it is opened, so the first health request simply waits until the server
behind it serves.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.demo.serving import HEALTH
from gateway.demo.upstreams import NAMES
from gateway.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_LAST_WORDS_SECONDS: Final = 2.0


@asynccontextmanager
async def running(logs: Path) -> AsyncGenerator[dict[str, str]]:
    """Run the demo servers for as long as the block lasts. Gives name → MCP endpoint, all of them answering.

    `logs` is an existing folder for what they print. Raises `UpstreamUnreachable` if one does not come up within 30 s.
    """
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(_child(name, logs / f"demo-{name}.log")) for name in NAMES]
        await asyncio.gather(*(_answering(name, port, child, logs) for name, port, child in started))
        yield {name: f"http://127.0.0.1:{port}/mcp" for name, port, _ in started}


@asynccontextmanager
async def _child(name: str, log: Path) -> AsyncGenerator[tuple[str, int, asyncio.subprocess.Process]]:
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"gateway.demo.{name}",
            "--fd",
            str(listening.fileno()),
            pass_fds=[listening.fileno()],
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        port: int = listening.getsockname()[1]
    try:
        yield name, port, child
    finally:
        await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
    if child.stdin is not None:
        child.stdin.close()


async def _answering(name: str, port: int, child: asyncio.subprocess.Process, logs: Path) -> None:
    ended = asyncio.create_task(child.wait())
    healthy = asyncio.create_task(_health(port))
    try:
        await asyncio.wait({ended, healthy}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if healthy.done() and healthy.exception() is None:
            return
        # A server that dies drops the connection a moment before its status can be read.
        await asyncio.wait({ended}, timeout=_LAST_WORDS_SECONDS)
        what = f"ended with status {ended.result()}" if ended.done() else f"does not answer on port {port}"
        raise UpstreamUnreachable(f"the demo server {name} {what}", f"see {logs / f'demo-{name}.log'}")
    finally:
        for task in (ended, healthy):
            task.cancel()
        await asyncio.gather(ended, healthy, return_exceptions=True)


async def _health(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {HEALTH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise ConnectionError(f"the health check answered {status!r}")
    finally:
        writer.close()
