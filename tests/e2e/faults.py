"""What the tests of faults ask of a gateway whose parts are broken."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

from tests import tiny_policy
from tests.e2e.wire import JSON, Answer, Caller, Sent, page
from tests.gateway_process import GatewayProcess, open_config
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess


def config(echo: ServerProcess, tree: Path, more: str = "", engine: str = "{kind: embedded, deadline: 5s}") -> str:
    """Anonymous callers before the echo server; the policy is looked at often."""
    base = open_config(tree, {"echo": echo.mcp})
    return (
        base.replace("policy: {engine: {kind: embedded, deadline: 5s},", f"policy: {{reload: 50ms, engine: {engine},")
        + more
    )


SLOW = """package overlay.slow

# METADATA
# title: Slow
# custom: {code: acme/slow, message: Slow., remedy: None., controls: []}
denials contains {"code": "acme/slow", "facts": []} if {
	CONDITION
	_takes_half_a_second
}

hides(_) if {
	CONDITION
	_takes_half_a_second
}

_takes_half_a_second if count({[i, j, k, input.version] | some i, _ in _many; some j, _ in _many; some k, _ in _many}) == 0

_many := split("LETTERS", "")
""".replace("LETTERS", "x" * 60)


def slow_overlay(folder: Path, condition: str) -> Path:
    """Write an overlay that is slow where this condition holds, which no trial can know, and return its folder."""
    return tiny_policy.write(folder / "slow", {"slow/slow.rego": SLOW.replace("CONDITION", condition)})


def refused(answer: Answer, code: str, recorder: Recorder) -> None:
    """The call was refused for that reason, and nothing of it reached the server."""
    assert answer.codes == [code], answer.body
    assert [r for r in recorder.requests() if "tools/call" in r["body"]] == []


def problems(gateway: GatewayProcess) -> dict[str, str]:
    """What `/readyz` names; nothing when it is ready."""
    status, text = page(gateway, "/readyz")
    assert status == (503 if json.loads(text)["problems"] else 200)
    return json.loads(text)["problems"]


def vanishing(caller: Caller, sent: Sent) -> socket.socket:
    """A client that has sent a message, and vanishes without a word when it is closed."""
    host, port = caller.gateway.origin.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=300)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    fields = {"host": f"{host}:{port}", **JSON, **sent.headers, "content-length": str(len(sent.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    client.sendall(f"POST /mcp/{caller.upstream} HTTP/1.1\r\n{head}\r\n".encode() + sent.body)
    return client
