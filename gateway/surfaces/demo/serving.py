"""Transports of the demo servers: stdio, a port of the loopback address, or a socket opened by the parent process.

With `--issuer`, a server accepts only requests of that gateway, and verifies the token of each (`opagate.verify`). With
`--secret` too, a server takes tokens of a task for calls, and asks the gateway whether the tokens are still active.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import uvicorn
from mcp.types import ToolAnnotations
from starlette.responses import PlainTextResponse

from opagate.verify import GatewayOnly, Introspection, Verifier

if TYPE_CHECKING:
    from types import FrameType

    from mcp.server.mcpserver import MCPServer
    from starlette.requests import Request
    from starlette.responses import Response

HEALTH: Final = "/healthz"
"""Answers `ok` as soon as the server serves."""

_LOOPBACK: Final = "127.0.0.1"
READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False)
DESTROYS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True)


def main(server: MCPServer, arguments: list[str] | None = None) -> None:
    """Serve until told to stop. Command line: `--port N` with an optional `--host`, `--stdio`, or `--fd N`.

    `--fd` is a listening socket; the server then ends with its standard input, and does not outlive the parent.
    """
    parser = argparse.ArgumentParser(description=f"The demo MCP server {server.name!r} of opagate.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--port", type=int, help="serve streamable HTTP on this port, at /mcp")
    choice.add_argument("--stdio", action="store_true", help="serve on standard input and output")
    choice.add_argument("--fd", type=int, help="serve streamable HTTP on this inherited listening socket")
    parser.add_argument("--host", default=_LOOPBACK, help="the address for --port, in a container 0.0.0.0")
    parser.add_argument("--issuer", help="accept only requests of the gateway with this URL")
    parser.add_argument("--audience", default=server.name, help="with --issuer: the audience of this server")
    parser.add_argument("--jwks", help="with --issuer: a file with the keys of the gateway, or their URL")
    parser.add_argument(
        "--secret", type=Path, help="with --issuer: a file with the secret to ask the gateway about tokens"
    )
    given = parser.parse_args(arguments)
    verifier = _verifier(server.name, given)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    if given.stdio:
        server.run("stdio")
    elif given.fd is not None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _serve(server, verifier, socket.socket(fileno=given.fd))
    else:
        with socket.create_server((given.host, given.port)) as listening:
            _serve(server, verifier, listening, given.host)


def _verifier(name: str, given: argparse.Namespace) -> Verifier | None:
    if given.issuer is None:
        return None
    if given.jwks is not None and given.jwks.startswith(("http://", "https://")):
        # A container reaches the gateway by another name than callers do, on a network of the two alone.
        return Verifier(given.issuer, given.audience, jwks=given.jwks, insecure=True)
    keys = None if given.jwks is None else json.loads(Path(given.jwks).read_text("utf-8"))
    if given.secret is None:
        return Verifier(given.issuer, given.audience, jwks=keys)
    asking = Introspection(name, given.secret.read_text("utf-8"))
    return Verifier(given.issuer, given.audience, jwks=keys, bind="task", introspect=asking)


def _serve(server: MCPServer, verifier: Verifier | None, listening: socket.socket, host: str = _LOOPBACK) -> None:
    @server.custom_route(HEALTH, methods=["GET"])
    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    app = server.streamable_http_app(host=host)
    config = uvicorn.Config(
        app if verifier is None else GatewayOnly(app, verifier, exempt={HEALTH}),
        log_level="warning",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    serving = uvicorn.Server(config)
    # uvicorn hears signals once its loop runs, and uvloop loses an exit that is raised before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, serving.handle_exit)
    serving.run(sockets=[listening])


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """Exit in the ordinary way, to remove temporary files."""
    sys.exit(0)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
