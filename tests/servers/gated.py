"""A stdio server that starts as slowly as a test wants. Run: `python -m tests.servers.gated FOLDER`.

It waits until FOLDER has a file `open`. Its tools are the lines `name: description` of the file `tools`. Each start adds a
line to the file `starts`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer


def build(folder: Path) -> MCPServer:
    """Return the server."""
    server = MCPServer("gated", version="1", log_level="WARNING")
    for line in (folder / "tools").read_text("utf-8").splitlines():
        name, _, description = line.partition(": ")
        server.add_tool(lambda: "done", name=name, description=description)
    return server


if __name__ == "__main__":
    place = Path(sys.argv[1])
    with (place / "starts").open("a", encoding="utf-8") as starts:
        starts.write("started\n")
    while not (place / "open").exists():
        time.sleep(0.02)
    build(place).run("stdio")
