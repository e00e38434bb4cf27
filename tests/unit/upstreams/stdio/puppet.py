"""A stdio MCP server that does what each message tells it, run as a real child process.

`params.script` (or `params.arguments.script`) is a list of steps: {"say": JSON}, {"raw": text}, {"big": bytes, "id"},
{"stderr": text}, {"close": fd}, {"sleep": seconds}, {"exit": status}. Without one, a request is answered with what the
server got: `result.got` is the line. The first argument is a list of steps for before the first message; `RECORD`
names a file that gets every line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def perform(step: dict[str, Any]) -> None:
    match step:
        case {"say": message}:
            put(json.dumps(message).encode())
        case {"raw": text}:
            put(text.encode("utf-8", "surrogateescape"))
        case {"big": size, "id": request}:
            put(b'{"jsonrpc":"2.0","id":%d,"result":{"text":"%s"}}' % (request, b"x" * size))
        case {"stderr": text}:
            sys.stderr.write(text)
            sys.stderr.flush()
        case {"close": fd}:
            os.close(fd)
        case {"sleep": seconds}:
            time.sleep(seconds)
        case _:
            os._exit(step["exit"])


def put(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def answer(message: dict[str, Any], line: bytes) -> None:
    params: dict[str, Any] = message.get("params") or {}
    script: list[dict[str, Any]] | None = params.get("script", params.get("arguments", {}).get("script"))
    if script is not None:
        for step in script:
            perform(step)
    elif "id" in message and "method" in message:
        put(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"got": line.decode()}}).encode())


prologue: list[dict[str, Any]] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else []
for first in prologue:
    perform(first)
for received in sys.stdin.buffer:
    if record := os.environ.get("RECORD"):
        with Path(record).open("ab") as file:
            file.write(received)
    answer(json.loads(received), received.rstrip(b"\n"))
