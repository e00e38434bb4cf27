"""What a service manager hears of a gateway: that it serves, and that it stops (sd_notify)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.gateway_process import running_gateway

CONFIG = """
identity: [{kind: anonymous}]
limits: {drain_delay: 0s, drain: 7s}
"""


@pytest.fixture
def manager(tmp_path: Path) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(60)
        yield heard


def test_a_manager_hears_that_the_gateway_serves_and_how_long_its_stop_may_take(manager: socket.socket, tmp_path: Path):
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with running_gateway(CONFIG, tmp_path, environment=environment, by_command=True) as gateway:
        ready = manager.recv(4096).decode().splitlines()

    stopping = manager.recv(4096).decode().splitlines()
    assert ready == ["READY=1", f"STATUS=serving {gateway.origin}"]
    assert stopping == ["STOPPING=1", "STATUS=waiting for open calls", "EXTEND_TIMEOUT_USEC=22000000"]


def test_an_abstract_socket_is_one_too(tmp_path: Path):
    name = f"opagate-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(60)
        with running_gateway(CONFIG, tmp_path, environment={"NOTIFY_SOCKET": f"@{name}"}, by_command=True):
            assert manager.recv(4096).startswith(b"READY=1\n")


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "relative"])
def test_a_manager_that_is_not_there_changes_nothing(address: str, tmp_path: Path):
    with running_gateway(CONFIG, tmp_path, environment={"NOTIFY_SOCKET": address}, by_command=True) as gateway:
        assert "listening" in gateway.printed()


def test_a_gateway_that_cannot_start_is_never_ready(manager: socket.socket, tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text("lisen: x\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "up", "--config", str(tmp_path / "gateway.yaml")],
        env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
        capture_output=True,
        timeout=300,
        check=False,
    )
    manager.settimeout(0)

    assert done.returncode == 2
    with pytest.raises(BlockingIOError):
        manager.recv(4096)
