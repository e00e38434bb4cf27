"""An MCP server that repeats the credential of its caller in each result, as a careless server does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Repeating(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "id" not in message:
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        answer = {"jsonrpc": "2.0", "id": message["id"], **self._answer(message)}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-repeated", str(self.headers["authorization"]))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message["method"]:
            case "initialize":
                about = {"name": "repeating", "version": f"1 {self.headers['authorization']}"}
                return {"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": about}}
            case "tools/list":
                tools = [{"name": "repeat", "inputSchema": {"type": "object"}}]
                return {"result": {"tools": tools, "_meta": {"x": self.headers["authorization"]}}}
            case "tools/call":
                form = FORMS[message["params"].get("arguments", {}).get("form", "plain")]
                text = f"You sent {form(str(self.headers['authorization']))} to me"
                return {"result": {"content": [{"type": "text", "text": text}]}}
            case _:
                return {"error": {"code": -32601, "message": "no such method"}}

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of http.server
        pass


FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(f"x{text}".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
}
"""How the server writes what it repeats."""


@contextmanager
def repeating_server() -> Generator[str]:
    """Give the URL of the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Repeating)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()
