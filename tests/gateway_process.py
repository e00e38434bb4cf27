"""The gateway, and OPA beside it, as real processes, for tests that go through the command and the network."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from tests import forked_gateway
from tests.forked_gateway import Process
from tests.servers.serving import ROOT, stop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
    from pathlib import Path

_SPANS = "100"
"""Milliseconds until a gateway sends its spans; without a word of the environment it waits for five seconds."""
TRACEBACK = "Traceback (most recent call last)"
ANYONE_ANYTHING = """
upstreams:
  "*":
    - id: anyone-anything
      agents: ["*"]
      issuers: ["*"]
      tools: ["*"]
      resources: ["*"]
      prompts: ["*"]
      effects: [read, write, destructive, mint, exec]
      sensitivity: restricted
"""


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway that is ready. `origin` is `http://127.0.0.1:PORT`; `folder` holds its configuration and state,
    `log` all that it printed."""

    origin: str
    folder: Path
    log: Path
    process: Process

    def mcp(self, upstream: str) -> str:
        """The endpoint of one upstream."""
        return f"{self.origin}/mcp/{upstream}"

    def printed(self) -> str:
        return self.log.read_text("utf-8", "replace")


@asynccontextmanager
async def gateway_process(
    config: str,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    by_command: bool = False,
    port: int | None = None,
) -> AsyncGenerator[GatewayProcess]:
    """`running_gateway` for asynchronous tests: starting and stopping do not block the event loop."""
    with ExitStack() as stack:
        gateway = running_gateway(config, folder, environment=environment, by_command=by_command, port=port)
        running = await asyncio.to_thread(stack.enter_context, gateway)
        try:
            yield running
        finally:
            await asyncio.to_thread(stack.close)


def with_operator(config: str) -> str:
    """Name the account of the tests as an operator, if the configuration names none: tests ask without a terminal.

    Nobody is asked about calls, unless the configuration says so.
    """
    operators = "" if "operators" in config else f"operators: {{accounts: [{{uid: {os.getuid()}, id: tests}}]}}\n"
    return config + "\n" + operators + ("" if "approvals" in config else "approvals: null\n")


@contextmanager
def running_gateway(
    config: str,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    by_command: bool = False,
    port: int | None = None,
) -> Generator[GatewayProcess]:
    """Run `opagate up` on `config` (YAML without `listen`) for as long as the block lasts.

    The configuration is written to `folder`, so its relative paths are relative to that. The block starts when
    `/readyz` answers 200. Without `port` it is a free one. Afterwards the gateway must stop on SIGTERM, and must have printed no traceback.
    """
    port = port or free_port()
    path = folder / "gateway.yaml"
    path.write_text(f"listen: 127.0.0.1:{port}\n{with_operator(config)}", "utf-8")
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = started_gateway(path, output, environment or {}, by_command=by_command)
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", folder, log, process)
    try:
        _wait_until_ready(gateway, port)
        yield gateway
        assert process.poll() is None, f"the gateway ended early:\n{gateway.printed()}"
    finally:
        try:
            stop(process)
        except subprocess.TimeoutExpired as late:
            late.add_note(gateway.printed())
            raise
    assert TRACEBACK not in gateway.printed(), f"the gateway printed a traceback:\n{gateway.printed()}"


def started_gateway(
    config: Path,
    output: BinaryIO,
    environment: Mapping[str, str],
    *,
    by_command: bool = False,
    options: tuple[str, ...] = (),
) -> Process:
    """Start `opagate up` in the folder of its configuration, forked if this machine can and `by_command` is unset."""
    arguments = ("up", "--config", str(config), *options)
    own = os.environ | {"PYTHONUNBUFFERED": "1", "OTEL_BSP_SCHEDULE_DELAY": _SPANS} | dict(environment)
    if forked_gateway.CAN_FORK and not by_command:
        return forked_gateway.start(arguments, config.parent, output, own)
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=config.parent,
        env=own | {"PYTHONFAULTHANDLER": "1"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


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


def _wait_until_ready(gateway: GatewayProcess, port: int, within: float = 90) -> None:
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


# --- policy ----------------------------------------------------------------------------------------


OPENED = {
    "follow_links: false": "follow_links: true",
    "  audiences: {soft: 5, hard: 50}": "  audiences: {soft: 3, hard: 5}",
    "  audiences_in_window: {soft: 5, hard: 50}": "  audiences_in_window: {soft: 4, hard: 6}",
    "  write_audiences: {soft: 4, hard: 40}": "  write_audiences: {soft: 3, hard: 4}",
    "  destinations: {soft: 7, hard: 70}": "  destinations: {soft: 5, hard: 8}",
    "  call_destinations: {soft: 7, hard: 70}": "  call_destinations: {soft: 5, hard: 20}",
    "  spread: {hard: 10}": "  spread: {soft: 1, hard: 2}",
    "  depth: {soft: 2, hard: 20}": "  depth: {soft: 2, hard: 3}",
    "  unnamed_systems: {soft: 0, hard: 40}": "  unnamed_systems: {soft: 39, hard: 40}",
    "  denials: {soft: 50, hard: 500}": "  denials: {soft: 50, hard: 200}",
}
"""Shipped settings, and settings under which each limit can be seen to ask and to refuse. Links are followed, and a first write to
a system that nobody named asks only where a contract says so."""


def open_policy(folder: Path) -> Path:
    """Return a copy of the project's policy with one grant, for all callers and targets, and with `OPENED`.

    The tests of the policy are left out: a gateway would run all of them at each start.
    """
    policy = folder / "policy"
    shutil.copytree(ROOT / "rego", policy, ignore=shutil.ignore_patterns("*_test.rego"))
    (policy / "gateway/grants/data.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    change_settings(policy, OPENED)
    return policy


def change_settings(policy: Path, changes: Mapping[str, str]) -> None:
    """Replace texts of the settings of a policy. Each has to stand there once."""
    settings = policy / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8")
    for before, after in changes.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    settings.write_text(text, "utf-8")


def open_config(policy: Path, upstreams: Mapping[str, str | Sequence[str]], *, opa: Path | None = None) -> str:
    """A configuration for anonymous callers. `upstreams`: name → URL, or command and arguments. Every tool is labelled
    harmless, so that whatever does not pass fails for a reason of the protocol. `opa` is the socket of an OPA."""
    engine = f"{{kind: opa, url: 'unix://{opa}', deadline: 5s}}" if opa else "{kind: embedded, deadline: 5s}"
    lines = ["identity: [{kind: anonymous}]", f"policy: {{engine: {engine}, path: '{policy}'}}", "upstreams:"]
    for name, reached in upstreams.items():
        where = f"url: '{reached}'" if isinstance(reached, str) else f"command: {json.dumps(list(reached))}"
        lines += [f"  {name}:", f"    {where}", f"    audience: {name}", "    environment: test"]
        lines += ["    tools: {'*': {effect: read, egress: false, sensitivity: internal}}"]
    return "\n".join(lines) + "\n"


@contextmanager
def running_opa(program: Path, policy: Path, folder: Path, within: float = 30) -> Generator[Path]:
    """A real OPA that serves `policy` on a Unix socket in `folder`, whose path is the value. The block starts when OPA
    says that its bundle is active."""
    path = folder / "opa.sock"
    log = folder / "opa.log"
    command = [program, "run", "--server", f"--addr=unix://{path}", "--disable-telemetry", "--log-level=error"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--optimize-store-for-read-speed", "--bundle", policy],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + within
        while not _is_healthy(path):
            ended = process.poll() is not None
            assert not ended, f"OPA ended:\n{log.read_text('utf-8')}"
            assert time.monotonic() < deadline, f"OPA was not ready within {within} s:\n{log.read_text('utf-8')}"
            time.sleep(0.02)
        yield path
    finally:
        stop(process)


def _is_healthy(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /health?bundles HTTP/1.0\r\nHost: opa\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False
