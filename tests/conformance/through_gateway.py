"""`tests.conformance.client` with a gateway in between, which the test starts before the server that the suite names.

Run: `python -m tests.conformance.through_gateway SOCKET URL`. The gateway runs until this program closes the socket.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.client import run
from tests.gateway_process import open_config, open_policy, running_gateway

_SECONDS = 300


def main(path: str, url: str) -> None:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(path)
        asked.sendall(f"{url}\n".encode())
        with asked.makefile() as answers:
            asyncio.run(run(answers.readline().strip()))


@contextmanager
def gateway_on_request(folder: Path) -> Generator[Path]:
    """Give the socket on which the program above names its server, and start a gateway before that server."""
    path = folder / "asked"
    with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor(1) as thread:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(_SECONDS)
        served = thread.submit(_serve_one, listening, folder)
        yield path
        served.result(_SECONDS)


def _serve_one(listening: socket.socket, folder: Path) -> None:
    connection, _ = listening.accept()
    with connection, connection.makefile() as asked:
        config = open_config(open_policy(folder), {"server": asked.readline().strip()})
        with running_gateway(config, folder) as gateway:
            connection.sendall(f"{gateway.mcp('server')}\n".encode())
            asked.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
