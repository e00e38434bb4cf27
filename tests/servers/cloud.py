"""A stdio server that asks AWS who it is, with the SDK's own search for credentials. Run: `python -m tests.servers.cloud`.

`CLOUD_URL` is the endpoint of AWS, `CLOUD_NOTES` a folder where it notes the access key and the variables that it has, for the test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from boto3.session import Session
from mcp.server.mcpserver import MCPServer

from tests.servers.rooms import own_room


def build() -> MCPServer:
    """Return the server. It keeps one session of the SDK, as a real server does."""
    server = MCPServer("cloud", version="1", log_level="WARNING")
    session: Any = Session(region_name="eu-central-1")
    client: Any = session.client("sts", endpoint_url=os.environ["CLOUD_URL"])

    @server.tool()
    def whoami() -> str:  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        """Return the process and the identity that AWS sees."""
        arn = client.get_caller_identity()["Arn"]
        keys = session.get_credentials().get_frozen_credentials()
        noted = {
            "keys": [keys.access_key, keys.secret_key, keys.token],
            "variables": {name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        }
        with (Path(os.environ["CLOUD_NOTES"]) / str(own_room())).open("a") as notes:
            notes.write(json.dumps(noted) + "\n")
        return f"{own_room()} {arn}"

    server.tool(name="whoami_again")(whoami)
    return server


if __name__ == "__main__":
    build().run("stdio")
