"""A stdio server that reads a database with the login that it was given, as libpq finds it. Run: `python -m tests.servers.reports`.

It speaks both eras. `REPORTS_PORT` is the database's port, `REPORTS_NOTES` a folder where it notes what it was given, for the test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer

from tests.servers.rooms import own_room

_GIVEN = ("PGSERVICEFILE", "PGPASSFILE")


def build() -> MCPServer:
    """The server."""
    server = MCPServer("reports", version="1", log_level="WARNING")

    @server.tool()
    async def query(sql: str) -> str:
        """Ask the database, and tell the process that asked."""
        note()
        address = f"host=127.0.0.1 port={os.environ['REPORTS_PORT']} dbname=postgres connect_timeout=5"
        program = await asyncio.create_subprocess_exec(
            "psql", "-AtXw", "-d", address, "-c", sql, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await program.communicate()
        return f"{own_room()} {said.decode().strip()}"

    server.tool(name="query_again")(query)

    @server.tool()
    async def leave() -> str:
        """Leave a helper behind, as a daemon does, and tell its process."""
        return str(_daemon())

    return server


def note() -> None:
    """Note what the process was given."""
    found = [path.read_text() for name in _GIVEN if (path := Path(os.environ.get(name, ""))).is_file()]
    with (Path(os.environ["REPORTS_NOTES"]) / str(own_room())).open("a") as notes:
        notes.write("\n".join([*found, *(os.environ.get(name, "") for name in _GIVEN)]) + "\n")


def _daemon() -> int:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for descriptor in (0, 1, 2):
                os.close(descriptor)
            os.write(writing, str(os.getpid()).encode())
            time.sleep(600)
        os._exit(0)
    return int(os.read(reading, 20))


if __name__ == "__main__":
    build().run("stdio")
