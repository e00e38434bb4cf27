"""`python -m benchmarks.console.pages`: open pages of the console in a process of their own, as browsers hold them.

Standard input has a line of JSON: the address of the events, and the cookies, one a page. After `open` the process opens all pages
and prints `opened`. After `close` it closes them, and prints the events of all pages and their bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from urllib.parse import urlsplit


class Counted:
    """Counts of the events and bytes of all pages."""

    events = 0
    bytes = 0


async def read_page(url: str, cookie: str, counted: Counted, opened: asyncio.Event) -> None:
    """Read a stream of events until it is cancelled."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**22)
    try:
        head = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncookie: {cookie}\r\naccept: text/event-stream\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise SystemExit(f"a page was refused: {status!r}")
        opened.set()
        while chunk := await reader.read(2**16):
            counted.events += chunk.count(b"event: region") + chunk.count(b"event: changed")
            counted.bytes += len(chunk)
        raise SystemExit("a page was closed")
    finally:
        writer.close()


async def main() -> None:
    """Open and close the pages as standard input says."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    asked = json.loads(await lines.readline())
    pages: list[asyncio.Task[None]] = []
    counted = Counted()
    while command := (await lines.readline()).strip():
        if command == b"open":
            opened = [asyncio.Event() for _ in asked["cookies"]]
            pages = [
                asyncio.ensure_future(read_page(asked["url"], cookie, counted, one))
                for cookie, one in zip(asked["cookies"], opened, strict=True)
            ]
            await asyncio.gather(*(one.wait() for one in opened))
            sys.stdout.write("opened\n")
        else:
            for page in pages:
                page.cancel()
            for page in pages:
                with suppress(asyncio.CancelledError):
                    await page
            sys.stdout.write(json.dumps([counted.events, counted.bytes]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
