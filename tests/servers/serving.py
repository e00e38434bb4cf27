"""Fixture servers as real processes: a listening socket is made first and handed down to the server.

The port is known and connections are accepted (by the kernel) before the program has started, so nothing polls, sleeps
or races for a free port.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from starlette.types import ASGIApp

    from tests.forked_gateway import Process

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running fixture server. `origin` is `http://127.0.0.1:PORT`; `log` holds all that it printed."""

    origin: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def mcp(self) -> str:
        """The URL of its MCP endpoint."""
        return f"{self.origin}/mcp"


@contextmanager
def running(module: str, log: Path, arguments: Sequence[str] = (), *, port: int = 0) -> Generator[ServerProcess]:
    """Run `python -m module` on a loopback port, a free one unless given, for as long as the block lasts.

    The program must have stopped within 10 s of SIGTERM; it is killed after that, and the test fails.
    """
    with socket.create_server(("127.0.0.1", port), backlog=512) as listening, log.open("wb") as output:
        command = [sys.executable, "-m", module, "--fd", str(listening.fileno()), *arguments]
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield ServerProcess(origin, log, process)
        assert process.poll() is None, f"{module} ended early:\n{log.read_text('utf-8')}"
    finally:
        stop(process)


def stop(process: Process, within: float = 10) -> None:
    """SIGTERM, and SIGABRT for what has not ended `within` seconds (which is an error): under PYTHONFAULTHANDLER its log
    then says where it is."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait()
        raise


def serve(app: ASGIApp, *, http: Literal["h11", "httptools"] = "h11") -> None:
    """What a fixture server's `__main__` calls: serve the application on the socket given by `--fd`.

    h11 follows RFC 9110 section 5.5 in removing blanks around header values; httptools leaves the trailing ones, and is
    several times as fast.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    listening = socket.socket(fileno=parser.parse_args().fd)
    config = uvicorn.Config(app, http=http, log_level="warning", timeout_graceful_shutdown=1, ws="none")
    uvicorn.Server(config).run(sockets=[listening])
