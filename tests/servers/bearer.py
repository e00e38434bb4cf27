"""A stdio server that has one token, in the variable `CRM_TOKEN`, and says who it is for. Run: `python -m tests.servers.bearer`.

`BEARER_NOTES` is a folder where it notes the token, for the test.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from mcp.server.mcpserver import MCPServer

from tests.servers.rooms import own_room


def build() -> MCPServer:
    """Return the server."""
    server = MCPServer("bearer", version="1", log_level="WARNING")

    @server.tool()
    def whoami() -> str:  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        """Return the process and the user of the token."""
        token = os.environ["CRM_TOKEN"]
        (Path(os.environ["BEARER_NOTES"]) / str(own_room())).write_text(token)
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return f"{own_room()} {claims['sub']} {claims['scope']}"

    return server


if __name__ == "__main__":
    build().run("stdio")
