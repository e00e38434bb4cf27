"""An MCP server over standard input and output that tells passwords.

Run: `python tests/servers/talkative.py FILE`. Its tool `say` writes the file to standard error, calls a notification by the first
line of the file, and shows the value of the variable `SHOWN` as a password.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def put(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(message: dict[str, Any], told: str) -> None:
    method, identifier = message.get("method"), message.get("id")
    if method == "initialize":
        capabilities: dict[str, Any] = {"tools": {}}
        about = {"name": "talkative", "version": "1"}
        result: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": about}
        put({"id": identifier, "result": result})
    elif method == "tools/list":
        put({"id": identifier, "result": {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}})
    elif method == "tools/call":
        sys.stderr.write(told)
        sys.stderr.flush()
        put({"method": told.splitlines()[0], "params": {}})
        shown = [{"type": "text", "text": f"The password is {os.environ['SHOWN']} as of today."}]
        put({"id": identifier, "result": {"content": shown}})
    elif identifier is not None:
        put({"id": identifier, "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    words = Path(sys.argv[1]).read_text("utf-8")
    for line in sys.stdin:
        answer(json.loads(line), words)
