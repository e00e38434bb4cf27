"""Gateways that are meant to end in a test, and OPAs that are meant to fail."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.wire import until
from tests.gateway_process import GatewayProcess, _is_healthy, free_port


@contextmanager
def mortal_gateway(
    config: str, folder: Path, *, tls: ssl.SSLContext | None = None, port: int | None = None
) -> Generator[GatewayProcess]:
    """A gateway that the test may end or kill. Ready when the block starts, and dead when it has ended."""
    port = port or free_port()
    path, log = folder / "gateway.yaml", folder / "gateway.log"
    path.write_text(f"listen: 127.0.0.1:{port}\n{config}", "utf-8")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(path)],
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    gateway = GatewayProcess(f"{'https' if tls else 'http'}://127.0.0.1:{port}", folder, log, process)
    try:
        until(lambda: _is_ready(gateway, tls))
        yield gateway
    finally:
        process.kill()
        process.wait()


def leave(folder: Path, config: str, port: int, *, snapshots: bool) -> None:
    """Let the next gateway find its history in snapshots, or in the journal alone."""
    if snapshots:
        with mortal_gateway(config, folder, port=port):
            pass
    else:
        shutil.rmtree(folder / "state/history", ignore_errors=True)


def _is_ready(gateway: GatewayProcess, tls: ssl.SSLContext | None) -> bool:
    assert gateway.process.poll() is None, f"the gateway ended:\n{gateway.printed()}"
    try:
        with urllib.request.urlopen(f"{gateway.origin}/readyz", timeout=5, context=tls) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Opa:
    """A real OPA on a Unix socket, which can be started again."""

    program: Path
    policy: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "opa.sock"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [self.program, "run", "--server", f"--addr=unix://{self.socket}", "--disable-telemetry"]
        with (self.folder / "opa.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--log-level=error", "--optimize-store-for-read-speed", "--bundle", self.policy],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until(lambda: _is_healthy(self.socket))

    def signal(self, number: int) -> None:
        """A process that is to stop has stopped when this returns, with all of its threads."""
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitpid(self.process.pid, os.WUNTRACED)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
