"""Silent sockets of strangers beside an agent's calls, at a process that may open few files."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.e2e import certificates
from tests.e2e.conftest import policy
from tests.e2e.faults import config
from tests.e2e.wire import Caller, call, page, until
from tests.gateway_process import GatewayProcess, free_port
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess
from tests.unit.identity.tokens import Authority

FILES = 700
"""Open files of the gateway: its soft limit is lower, and the limits below just fit."""
LIMITS = "limits: {in_flight: 100, streams: 100, connections: 300, request_head: 1h}\n"
SILENT = 2_000
"""Three times as many sockets as the gateway may open files."""


@contextmanager
def cramped(setup: str, folder: Path, *, scheme: str = "http") -> Generator[GatewayProcess]:
    """A gateway that may open `FILES` files."""
    port = free_port()
    path, log = folder / "gateway.yaml", folder / "gateway.log"
    path.write_text(f"listen: 127.0.0.1:{port}\n{setup}", "utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "up", "--config", str(path)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, FILES)),  # noqa: PLW1509 - one thread
        )
    gateway = GatewayProcess(f"{scheme}://127.0.0.1:{port}", folder, log, process)
    try:
        until(lambda: '"listening"' in gateway.printed() or process.poll() is not None)
        yield gateway
    finally:
        process.kill()
        process.wait()


class Strangers:
    """Silent sockets from many addresses of this machine."""

    def __init__(self, gateway: GatewayProcess) -> None:
        host, _, port = gateway.origin.partition("://")[2].partition(":")
        self._place = host, int(port)
        self.sockets: list[socket.socket] = []

    def open(self, count: int) -> None:
        for number in range(count):
            source = (f"127.0.1.{number % 200 + 1}", 0)
            self.sockets.append(socket.create_connection(self._place, timeout=60, source_address=source))

    def left(self) -> int:
        """Count the sockets that the gateway has not closed."""
        return sum(_is_open(each) for each in self.sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.sockets:
            each.close()


def _is_open(found: socket.socket) -> bool:
    found.settimeout(0)
    try:
        return found.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@requirement("strangers/reserve")
def test_an_agent_is_served_beside_more_silent_sockets_than_open_files(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path, *, tls: bool
):
    """With TLS the sockets are silent in their handshakes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * SILENT)), hard))
    setup, trusting = config(echo_server, policy(tmp_path), LIMITS), None
    if tls:
        authority = Authority(now=time.time())
        pair = certificates.server(authority, tmp_path)
        trusting = certificates.client_context(certificates.written(authority, tmp_path, "ca"))
        setup += f"tls: {{certificate: '{pair.certificate}', key: '{pair.key}'}}\n"
    with cramped(setup, tmp_path, scheme="https" if tls else "http") as gateway:
        agent = Caller(gateway, tls=trusting)
        with Strangers(gateway) as strangers, agent.open("POST", call("hold", key="beside")) as held:
            assert held.readline()
            for _ in range(4):
                strangers.open(SILENT // 4)
                assert agent.call("echo", text="still").text == "still"
            until(lambda: strangers.left() < FILES, within=30)
            # Those that came last are still there: the longest silent gave way.
            assert _is_open(strangers.sockets[-1])
            assert not _is_open(strangers.sockets[0])
            recorder.release("beside")
            assert b"released" in held.read()
        assert agent.call("echo", text="after").text == "after"
        if not tls:
            assert page(gateway, "/readyz")[0] == 200


@requirement("strangers/reserve")
def test_limits_that_do_not_fit_end_the_start_with_the_number_that_they_need(
    echo_server: ServerProcess, tmp_path: Path
):
    with cramped(config(echo_server, policy(tmp_path), "limits: {in_flight: 1000}\n"), tmp_path) as gateway:
        assert gateway.process.wait(60) == 2
        assert "need 4096 open files" in " ".join(gateway.printed().split())
