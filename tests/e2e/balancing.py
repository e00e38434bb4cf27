"""HAProxy before gateways, which asks each whether it is ready."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.wire import until
from tests.servers.serving import stop

CHECK_SECONDS = 0.1
"""Between two questions for readiness. One refusal is enough to send callers elsewhere."""

_CONFIG = """
global
    stats socket {socket} mode 600
defaults
    mode http
    # A request goes to the other gateway only if it had no connection yet: nothing is sent twice.
    retries {retries}
    retry-on conn-failure
    option redispatch 1
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 5s
    default-server check inter {inter}ms fall 1 rise 1
listen gateways
    bind 127.0.0.1:{port}
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host {host}
    http-check expect status 200
{servers}
"""


@contextmanager
def running_haproxy(
    program: Path, folder: Path, port: int, gateways: Mapping[str, int], *, retries: int = 0
) -> Generator[str]:
    """Run a balancer for as long as the block lasts. The value is its origin. `gateways`: name → port.

    With `retries`, a request whose connection is refused goes to another gateway.
    """
    servers = "\n".join(f"    server {name} 127.0.0.1:{back}" for name, back in gateways.items())
    path = folder / "haproxy.cfg"
    filled = _CONFIG.format(
        socket=folder / "haproxy.sock",
        inter=int(CHECK_SECONDS * 1000),
        port=port,
        retries=retries,
        host=f"127.0.0.1:{port}",
        servers=servers,
    )
    path.write_text(filled, "utf-8")
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    origin = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(origin))
        yield origin
    finally:
        stop(process)


def _answers(origin: str) -> bool:
    try:
        with urllib.request.urlopen(f"{origin}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
