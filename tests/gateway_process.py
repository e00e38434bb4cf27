"""The gateway as a real process, for tests that go through the command and the network."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers.serving import ROOT, stop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping
    from pathlib import Path

TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway that is ready. `origin` is `http://127.0.0.1:PORT`; `folder` holds its configuration and state,
    `log` all that it printed."""

    origin: str
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    def mcp(self, upstream: str) -> str:
        """The endpoint of one upstream."""
        return f"{self.origin}/mcp/{upstream}"

    def printed(self) -> str:
        return self.log.read_text("utf-8", "replace")


@asynccontextmanager
async def gateway_process(
    config: str, folder: Path, *, environment: Mapping[str, str] | None = None, ready_within: float = 30
) -> AsyncGenerator[GatewayProcess]:
    """`running_gateway` for asynchronous tests: starting and stopping do not block the event loop."""
    with ExitStack() as stack:
        gateway = running_gateway(config, folder, environment=environment, ready_within=ready_within)
        running = await asyncio.to_thread(stack.enter_context, gateway)
        try:
            yield running
        finally:
            await asyncio.to_thread(stack.close)


@contextmanager
def running_gateway(
    config: str, folder: Path, *, environment: Mapping[str, str] | None = None, ready_within: float = 30
) -> Generator[GatewayProcess]:
    """Run `opagate serve` on `config` (YAML without `listen`) for as long as the block lasts.

    The configuration is written to `folder`, so its relative paths are relative to that. The block starts when
    `/readyz` answers 200. Afterwards the gateway must stop on SIGTERM, and must have printed no traceback.
    """
    port = free_port()
    path = folder / "gateway.yaml"
    path.write_text(f"listen: 127.0.0.1:{port}\n{config}", "utf-8")
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(path)],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", folder, log, process)
    try:
        _wait_until_ready(gateway, port, ready_within)
        yield gateway
        assert process.poll() is None, f"the gateway ended early:\n{gateway.printed()}"
    finally:
        stop(process)
    assert TRACEBACK not in gateway.printed(), f"the gateway printed a traceback:\n{gateway.printed()}"


def free_port() -> int:
    """A port that nothing listens on, below the range from which the kernel takes the ports of connections."""
    while True:
        port = random.randint(15_000, 29_999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _wait_until_ready(gateway: GatewayProcess, port: int, within: float) -> None:
    """Ask `/readyz` until it says 200. The answer before that names what is not ready, and goes into the failure."""
    deadline = time.monotonic() + within
    last = "nothing listens"
    while time.monotonic() < deadline:
        if gateway.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {gateway.process.returncode}:\n{gateway.printed()}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            last = f"{answer.status} {answer.read().decode('utf-8', 'replace')}"
            if answer.status == 200:
                return
        except OSError as error:
            last = str(error)
        finally:
            connection.close()
        time.sleep(0.02)
    raise AssertionError(f"the gateway was not ready within {within} s ({last}):\n{gateway.printed()}")
