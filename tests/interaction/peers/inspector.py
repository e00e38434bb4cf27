"""The command line of the MCP Inspector."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.run import Node


@dataclass(frozen=True, slots=True)
class Inspector:
    """`home` is where it keeps what it keeps."""

    node: Node
    home: Path

    def __call__(self, url: str, method: str, *more: str) -> subprocess.CompletedProcess[str]:
        """One method at one server. What it prints is the result; a tool's own error gives status 5."""
        launcher = self.node.modules / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
        command = [
            str(self.node.program),
            str(launcher),
            "--cli",
            url,
            "--transport",
            "http",
            "--method",
            method,
            *more,
        ]
        environment = os.environ | {"MCP_CATALOG_PATH": str(self.home / "mcp.json")}
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
