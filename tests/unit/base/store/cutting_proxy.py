"""A Unix socket between an engine and its server, which cuts or holds commits."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

_SOCKET: Final = ".s.PGSQL.5432"

Manner = Literal["pass", "cut the answer", "cut the commit", "hold the commit"]


class CuttingProxy:
    """A proxy of one server. `manner` says what it does with a commit, which is known by the bytes `marker`."""

    def __init__(self, server: Path) -> None:
        self._server = server / _SOCKET
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.manner: Manner = "pass"
        self.marker = b"commit\x00"
        self.held = asyncio.Event()
        self.released = asyncio.Event()
        self.finished = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> CuttingProxy:
        self._listener = await asyncio.start_unix_server(self._accept, self.folder / _SOCKET)
        return self

    async def stop(self) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        shutil.rmtree(self.folder)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        back = asyncio.create_task(_pass_on(server_reader, writer))
        try:
            await self._pass_requests(reader, server_reader, server_writer, back)
        finally:
            back.cancel()
            for each in (writer, server_writer):
                each.close()
            await asyncio.gather(back, return_exceptions=True)

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        while data := await reader.read(65536):
            if self.marker in data and self.manner != "pass":
                if self.manner == "cut the commit":
                    self.manner = "pass"
                    return
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
                await self._pass_commit(data, answers, server)
                return
            server.write(data)
            await server.drain()

    async def _pass_commit(self, data: bytes, answers: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Send a commit without its client, a held one when the test says so. The server ends the connection after it."""
        manner, self.manner = self.manner, "pass"
        if manner == "hold the commit":
            self.held.set()
            await self.released.wait()
        server.write(data)
        server.write_eof()
        await server.drain()
        while await answers.read(65536):
            pass
        self.finished.set()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
