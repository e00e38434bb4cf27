"""The demo's child processes: they come up, and they go away, whatever happens."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.model.errors import UpstreamUnreachable
from gateway.surfaces.demo.processes import run_servers
from tests.gateway_process import free_port
from tests.servers.serving import ROOT


def printed(logs: Path) -> str:
    return "".join(path.read_text("utf-8") for path in sorted(logs.glob("demo-*.log")))


async def test_the_servers_end_with_the_block_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    async with run_servers(tmp_path) as urls:
        assert urls.keys() == {"files", "tickets", "mail"}
        assert [*temporary.glob("opagate-demo-*")]

    assert [*temporary.iterdir()] == []
    for url in urls.values():
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
    assert printed(tmp_path) == ""


async def test_the_servers_end_when_the_block_fails(tmp_path: Path):
    urls: dict[str, str] = {}
    with suppress(ZeroDivisionError):
        async with run_servers(tmp_path) as found:
            urls |= found
            raise ZeroDivisionError

    for url in urls.values():
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
    assert urls


async def test_a_server_ends_when_its_parent_is_killed():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.surfaces.demo.mail",
            "--fd",
            str(listening.fileno()),
            pass_fds=[listening.fileno()],
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
    assert child.stdin is not None
    child.stdin.close()

    async with asyncio.timeout(300):
        assert await child.wait() == 0


SIGNALLED = """
import os, signal, uvicorn
from gateway.surfaces.demo import mail, serving
choose = uvicorn.Config.get_loop_factory
def signalled(config):
    os.kill(os.getpid(), signal.SIGTERM)
    return choose(config)
uvicorn.Config.get_loop_factory = signalled
serving.main(mail.build(), ["--port", "PORT"])
"""
"""A server that is told to stop when its loop is about to be made."""


async def test_a_signal_that_meets_the_start_of_the_loop_ends_the_server():
    program = SIGNALLED.replace("PORT", str(free_port()))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, printed_last = await child.communicate()

    assert (child.returncode, printed_last) == (0, b"")


async def test_a_server_that_does_not_come_up_is_named_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.surfaces.demo.processes.NAMES", ("mail", "nonsense"))

    with pytest.raises(UpstreamUnreachable, match="nonsense ended with status 1") as caught:
        async with run_servers(tmp_path):
            pass

    assert "demo-nonsense.log" in caught.value.remedy
    assert "No module named" in printed(tmp_path)


async def test_a_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.surfaces.demo.processes._START_SECONDS", 0.01)

    with pytest.raises(UpstreamUnreachable, match="does not answer"):
        async with run_servers(tmp_path):
            pass


async def test_a_server_can_be_started_by_hand_on_a_port(tmp_path: Path):
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.surfaces.demo.tickets",
        "--port",
        str(port),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        assert b" 200 " in await health(port)
    finally:
        child.terminate()
    assert await child.wait() == 0


async def health(port: int) -> bytes:
    """The first line of the answer to a health request, once something listens."""
    async with asyncio.timeout(300):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return line
