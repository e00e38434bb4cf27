"""Stdio servers that misbehave. The first argument says how; each answers `initialize` properly first, if it can."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any


def put(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def respond(request: dict[str, Any], **result: Any) -> None:
    put({"jsonrpc": "2.0", "id": request["id"], "result": result})


def floods_stderr(request: dict[str, Any]) -> None:
    for _ in range(2000):
        os.write(2, b"\x1b[2J fake log line\n" * 50 + b"y" * 1000)
    respond(request)


def never_answers(_: dict[str, Any]) -> None:
    """Reads on."""


def wrong_ids(request: dict[str, Any]) -> None:
    wrong_ids: list[Any] = [request["id"] + 1000, str(request["id"]), None, 1.5, [], True]
    for wrong in wrong_ids:
        put({"jsonrpc": "2.0", "id": wrong, "result": {"stolen": True}})
    respond(request, right=True)


def junk(request: dict[str, Any]) -> None:
    os.write(1, b"Traceback (most recent call last):\n\n\r\n\xff\xfe\x00\n[[[[\n{}\nnull\n" + b"[" * 200_000 + b"\n")
    os.write(1, b'{"jsonrpc":"2.0","id":1,"result":')
    os.write(1, b"\n")
    respond(request)


def huge_line(request: dict[str, Any]) -> None:
    respond(request, text="é" * 5_000_000)


def floods_notifications(request: dict[str, Any]) -> None:
    for number in range(20_000):
        put({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": number}})
    respond(request)


def asks_and_never_reads(_: dict[str, Any]) -> None:
    """Has the gateway answer, without end, what nobody takes."""
    line = json.dumps({"jsonrpc": "2.0", "id": "x" * 100_000, "method": "ping"}).encode() + b"\n"
    while True:
        os.write(1, line)


def floods_without_end(request: dict[str, Any]) -> None:
    if os.fork() == 0:
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}).encode() + b"\n"
        while True:
            os.write(1, line * 500)
            os.write(2, b"\n" * 500)
    respond(request)


def dies_in_the_middle(_: dict[str, Any]) -> None:
    os.write(1, b'{"jsonrpc":"2.0","id":1,"resu')
    os._exit(3)


def forks(request: dict[str, Any]) -> None:
    helper = os.fork()
    if helper == 0:
        while True:
            time.sleep(60)
    respond(request, helper=helper, room=os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - a link of /proc


def main() -> None:
    mode = sys.argv[1]
    if mode == "exits_at_once":
        os._exit(1)
    if mode == "ignores_everything":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        put({"jsonrpc": "2.0", "id": 0, "result": {}})
        while True:
            time.sleep(60)
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "initialize":
            respond(message)
        elif message.get("method") == "tools/call":
            globals()[mode](message)


main()
