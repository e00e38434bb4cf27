"""Gateways that are meant to end in a test, and OPAs that are meant to fail."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import ssl
import subprocess
import tarfile
import threading
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from tests.e2e.wire import until
from tests.gateway_process import GatewayProcess, _is_healthy, free_port, started_gateway, with_operator


@contextmanager
def mortal_gateway(
    config: str,
    folder: Path,
    *,
    tls: ssl.SSLContext | None = None,
    port: int | None = None,
    by_command: bool = False,
    environment: Mapping[str, str] | None = None,
    awaited: str = "/readyz",
) -> Generator[GatewayProcess]:
    """A gateway that the test may end or kill. Its page `awaited` answers 200 when the block starts. It is dead when the
    block has ended. `by_command` starts it with an interpreter of its own, as users do.
    """
    port = port or free_port()
    path, log = folder / "gateway.yaml", folder / "gateway.log"
    path.write_text(f"listen: 127.0.0.1:{port}\n{with_operator(config)}", "utf-8")
    with log.open("ab") as output:
        process = started_gateway(path, output, environment or {}, by_command=by_command)
    gateway = GatewayProcess(f"{'https' if tls else 'http'}://127.0.0.1:{port}", folder, log, process)
    try:
        until(lambda: _answers(gateway, awaited, tls))
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


def _answers(gateway: GatewayProcess, page: str, tls: ssl.SSLContext | None) -> bool:
    assert gateway.process.poll() is None, f"the gateway ended:\n{gateway.printed()}"
    try:
        with urllib.request.urlopen(f"{gateway.origin}{page}", timeout=5, context=tls) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class BundleServer:
    """Serves a policy folder as a bundle, to an OPA that asks for it each second; `broken` ones cannot be fetched, or cannot
    be activated."""

    def __init__(self, policy: Path) -> None:
        self.policy = policy
        self.broken: Literal["", "gone", "unusable"] = ""
        self._bundle = {"": _bundle(policy, ""), "unusable": _bundle(policy, "package gateway.extra\n\nx := y\n")}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Bundles, self))
        threading.Thread(target=self._server.serve_forever).start()

    @property
    def configuration(self) -> str:
        """Of the OPA, which says how old its bundle is."""
        return f"""
services: {{policies: {{url: "http://127.0.0.1:{self._server.server_port}"}}}}
bundles: {{gateway: {{service: policies, polling: {{min_delay_seconds: 1, max_delay_seconds: 1}}}}}}
status: {{prometheus: true}}
"""

    def answer(self) -> tuple[int, bytes]:
        return (503, b"") if self.broken == "gone" else (200, self._bundle[self.broken])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Bundles(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, bundles: BundleServer, *connection: Any) -> None:
        self._bundles = bundles
        super().__init__(*connection)

    def do_GET(self) -> None:
        status, body = self._bundles.answer()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if status == 200 and self.headers["if-none-match"] == etag:
            status, body = 304, b""
        self.send_response(status)
        self.send_header("etag", etag)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


def _bundle(policy: Path, extra: str) -> bytes:
    """The folder as a bundle, with one module more."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(policy, "")
        if extra:
            item = tarfile.TarInfo("gateway/extra/extra.rego")
            item.size = len(extra)
            archive.addfile(item, io.BytesIO(extra.encode()))
    return packed.getvalue()


@dataclass
class Opa:
    """A real OPA on a Unix socket, which can be started again. It has its policy from the folder, or as it is configured."""

    program: Path
    policy: Path
    folder: Path
    configuration: str = ""
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "opa.sock"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [self.program, "run", "--server", f"--addr=unix://{self.socket}", "--disable-telemetry"]
        source: list[str | Path] = ["--bundle", self.policy]
        if self.configuration:
            (self.folder / "opa.yaml").write_text(self.configuration, "utf-8")
            source = ["--config-file", self.folder / "opa.yaml"]
        with (self.folder / "opa.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--log-level=error", "--optimize-store-for-read-speed", *self.options, *source],
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
