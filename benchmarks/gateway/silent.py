"""`python -m benchmarks.gateway.silent PORT NETWORK COUNT`: sockets that connect and never send a byte.

They come from 200 addresses, `127.0.NETWORK.1` to `.200`, and stay until standard input ends. `opened` is printed when all are there.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Final

ADDRESSES: Final = 400
_NETWORKS: Final = (2, 3)
_PATIENCE: Final = 60.0
_OWN_FILES: Final = 50


@contextmanager
def silent_sockets(port: int, count: int) -> Generator[None]:
    """Open so many sockets in two other processes, since each may open few files. All are there when the block starts."""
    command = [sys.executable, "-m", "benchmarks.gateway.silent", str(port)]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        opening = [
            stack.enter_context(subprocess.Popen([*command, str(network), str(count // 2)], stdin=pipe, stdout=pipe))
            for network in _NETWORKS
        ]
        for each in opening:
            if each.stdout is None or each.stdout.readline() != b"opened\n":
                raise SystemExit(f"the gateway took fewer than {count:,} connections")
        yield


def main() -> None:
    """Open the sockets, and wait."""
    port, network, count = map(int, sys.argv[1:])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + _OWN_FILES), hard))
    addresses = ADDRESSES // len(_NETWORKS)
    kept = [
        socket.create_connection(("127.0.0.1", port), _PATIENCE, (f"127.0.{network}.{number % addresses + 1}", 0))
        for number in range(count)
    ]
    print("opened", flush=True)
    sys.stdin.read()
    for each in kept:
        each.close()


if __name__ == "__main__":
    main()
