"""A payment service with a ledger of its own, as a real process whose answers are lost in many ways.

It tells its ledger of each payment before it answers. `--seed` chooses which fault comes when. A service that dies is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import struct
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

FAULTS = ("none", "error", "reset-before", "reset", "cut", "silent", "gateway-error", "fault", "die")
WEIGHTS = (12, 6, 10, 20, 14, 6, 12, 6, 1)
TOOLS = [
    {
        "name": "pay",
        "inputSchema": {
            "type": "object",
            "properties": {"order": {"type": "string"}, "amount": {"type": "number"}},
            "required": ["order", "amount"],
        },
    }
]
_KILLED = 9


class LedgerServer:
    """The service. One payment is one line of its ledger, with the fault of its answer."""

    def __init__(self, ledger: Path, seed: int) -> None:
        self._ledger = ledger
        self._random = Random(seed)

    async def serve(self, fd: int) -> None:
        """Serve on an inherited socket until the process ends."""
        server = await asyncio.start_server(self._connection, sock=socket.socket(fileno=fd))
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and await self._exchange(head, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Return whether the connection goes on."""
        lines = [line.lower() for line in head.split(b"\r\n")]
        sizes = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        body = await reader.readexactly(sizes[0]) if sizes else b""
        if not body:
            writer.write(b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n")
            return True
        message: dict[str, Any] = json.loads(body)
        if message.get("method") == "tools/call":
            return await self._pay(message, reader, writer)
        writer.write(
            _document(200, _answer(message)) if "id" in message else b"HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n"
        )
        await writer.drain()
        return True

    async def _pay(self, message: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        (fault,) = self._random.choices(FAULTS, WEIGHTS)
        arguments = message["params"]["arguments"]
        acts = fault not in {"error", "reset-before"}
        line = {"order": arguments["order"], "amount": arguments["amount"], "fault": fault, "acts": acts}
        with self._ledger.open("ab") as ledger:
            ledger.write(json.dumps(line).encode() + b"\n")
        if fault == "die":
            os._exit(_KILLED)
        if fault.startswith("reset"):
            _reset(writer)
            return False
        if fault == "silent":
            await reader.read(1)
            return False
        result = {"content": [{"type": "text", "text": fault}], "isError": fault == "error"}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        if fault == "fault":
            answer = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32603, "message": "internal"}}
        whole = _document(200, answer)
        if fault == "gateway-error":
            whole = b"HTTP/1.1 502 Bad\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nbad"
        if fault == "cut":
            writer.write(whole[:-7])
            await writer.drain()
            _reset(writer)
            return False
        writer.write(whole)
        await writer.drain()
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _document(status: int, document: Any) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    server = {"name": "ledger", "version": "1"}
    result: dict[str, Any] = {}
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
        case "server/discover":
            result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "serverInfo": server}
        case "tools/list":
            result = {"tools": TOOLS}
        case _:
            pass
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _stop(child: int, *_: object) -> None:
    """End with the process that serves."""
    os.kill(child, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    """Serve, and begin anew after each death."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    seed = given.seed
    while True:
        child = os.fork()
        if child == 0:
            asyncio.run(LedgerServer(given.ledger, seed).serve(given.fd))
            os._exit(0)
        signal.signal(signal.SIGTERM, partial(_stop, child))
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != _KILLED:
            return
        seed += 1


if __name__ == "__main__":
    main()
