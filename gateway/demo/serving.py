"""Transports of the demo servers: stdio, a port of the loopback address, or a socket opened by the parent process."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

import uvicorn
from mcp.types import ToolAnnotations
from starlette.responses import PlainTextResponse

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
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    if given.stdio:
        server.run("stdio")
    elif given.fd is not None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _serve(server, socket.socket(fileno=given.fd))
    else:
        with socket.create_server((given.host, given.port)) as listening:
            _serve(server, listening, given.host)


def _serve(server: MCPServer, listening: socket.socket, host: str = _LOOPBACK) -> None:
    @server.custom_route(HEALTH, methods=["GET"])
    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    config = uvicorn.Config(
        server.streamable_http_app(host=host),
        log_level="warning",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[listening])


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """An ordinary exit, so that temporary files are removed."""
    sys.exit(0)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
