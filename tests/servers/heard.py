"""A process with a `LineSocket`, in the place of a gateway. It starts programs as a gateway starts servers.

Run: `python -m tests.servers.heard SOCKET`. A line of standard input is a command in JSON: a list of words to run, or `null` to
print the number of open descriptors. The socket answers with the account that it saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from gateway.base import own_process
from gateway.base.control.line_socket import Account, LineSocket, Peer, SocketName


async def _answer(line: bytes, peer: Peer, account: Account) -> bool:
    await peer.send({"ok": {"uid": account.uid, "has_terminal": account.has_terminal, "line": line.decode()}})
    return True


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(path: Path) -> None:
    """Listen, and run programs, until the end of standard input."""
    own_process.adopt_orphans()
    async with AsyncExitStack() as stack:
        await LineSocket(path, SocketName("tests", "none"), _answer).start(stack)
        _say("listening")
        started = list[asyncio.subprocess.Process]()
        while line := await asyncio.to_thread(sys.stdin.readline):
            words = json.loads(line)
            if words is None:
                _say(str(len(os.listdir("/proc/self/fd"))))  # noqa: PTH208 - names of descriptors
            else:
                started.append(await asyncio.create_subprocess_exec(*words))
        for process in started:
            if process.returncode is None:
                process.kill()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
