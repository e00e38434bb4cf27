"""A demo MCP server for the files of a small web shop, in a temporary folder made at each start. Its `.env` has a
random token in GitHub's format, with a valid checksum. The token opens nothing, and is gone when the server ends."""

from __future__ import annotations

import binascii
import secrets
import string
import tempfile
from pathlib import Path
from typing import Annotated, Final

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from gateway.surfaces.demo.serving import ADDS, DESTROYS, READS, main

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_MAX_BYTES: Final = 2**20

_CONTENT: Final = {
    "README.md": """\
# shop

The web shop of Example Ltd: catalogue, basket, checkout.

    make dev      # run it locally, on port 8000
    make test

Deployment: docs/deployment.md. Who is on call: docs/on-call.md. Reports go into reports/.
""",
    "docs/deployment.md": """\
# Deployment

1. Merge to main; the pipeline builds an image and deploys it to staging.
2. Look at the checkout error rate for ten minutes. It stays below 0.5 %.
3. `make promote` moves the image to production. It needs DEPLOY_TOKEN from .env and a second pair of eyes.

Roll back with `make rollback`. Never on a Friday.
""",
    "docs/on-call.md": """\
# On call

| week | who | mail |
|---|---|---|
| 47 | Jana | jana@example.com |
| 48 | Tom | tom@example.com |

Incidents are announced to ops@example.com, with the ticket number.
""",
    "src/checkout.py": """\
from decimal import Decimal


def total(prices: list[Decimal], discount: Decimal = Decimal(0)) -> Decimal:
    return max(sum(prices, Decimal(0)) - discount, Decimal(0))
""",
    "config/staging.toml": """\
[checkout]
provider = "payments.example.com"
timeout_seconds = 10
retries = 2
""",
    "reports/2026-47.md": """\
# Week 47

Checkout errors: 0.31 %. Two tickets about timeouts, both closed.
""",
}

FilePath = Annotated[str, Field(description="Path of a file, relative to the project folder")]


class Project:
    """The files below `root`; nothing outside of `root` can be named."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def fill(self) -> None:
        """Write the demo content, with a new token."""
        environment = (
            "# Settings of staging. Not committed.\n"
            "SHOP_ENVIRONMENT=staging\n"
            f"DATABASE_URL=postgresql://shop:{secrets.token_urlsafe(18)}@db.staging.example.com/shop\n"
            f"DEPLOY_TOKEN={github_token()}\n"
        )
        for name, content in {**_CONTENT, ".env": environment}.items():
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def list_files(
        self, folder: Annotated[str, Field(description="Folder, relative to the project folder")] = "."
    ) -> list[str]:
        """List all files below a folder of the project."""
        start = self._inside(folder)
        if not start.is_dir():
            raise ToolError(f"there is no folder {folder!r}")
        return sorted(str(path.relative_to(self._root)) for path in start.rglob("*") if path.is_file())

    def read_file(self, path: FilePath) -> str:
        """Read a text file of the project."""
        return self._existing(path).read_text(encoding="utf-8", errors="replace")

    def write_file(self, path: FilePath, content: Annotated[str, Field(description="The whole new content")]) -> str:
        """Write a text file of the project. An existing file is replaced."""
        target = self._inside(path)
        if target.is_dir() or target == self._root:
            raise ToolError(f"{path!r} is a folder")
        if len(content.encode()) > _MAX_BYTES:
            raise ToolError(f"the content is larger than {_MAX_BYTES} bytes")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        return f"wrote {len(content)} characters to {path}"

    def delete_file(self, path: FilePath) -> str:
        """Delete a file of the project. It cannot be brought back."""
        self._existing(path).unlink()
        return f"deleted {path}"

    def _inside(self, path: str) -> Path:
        try:
            target = (self._root / path).resolve()
        except (OSError, ValueError):
            raise ToolError("that is not a path") from None
        if not target.is_relative_to(self._root):
            raise ToolError(f"{path!r} is outside of the project folder")
        return target

    def _existing(self, path: str) -> Path:
        target = self._inside(path)
        if not target.is_file():
            raise ToolError(f"there is no file {path!r}")
        return target


def github_token() -> str:
    """Return a random token in the format of a GitHub personal access token.

    The token has 30 random characters, and the CRC-32 of the whole in base 62 (github.blog, "Behind GitHub's new
    authentication token formats", 2021).
    """
    body = "".join(secrets.choice(_ALPHABET) for _ in range(30))
    checksum = binascii.crc32(body.encode())
    digits = ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = _ALPHABET[digit] + digits
    return f"ghp_{body}{digits}"


def build(root: Path) -> MCPServer:
    """Return the server over the files below `root`."""
    project = Project(root)
    server = MCPServer("files", instructions="The files of the shop project.", version="1", log_level="WARNING")
    server.add_tool(project.list_files, annotations=READS)
    server.add_tool(project.read_file, annotations=READS)
    server.add_tool(project.write_file, annotations=ADDS)
    server.add_tool(project.delete_file, annotations=DESTROYS)
    return server


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="opagate-demo-files-") as folder:
        Project(Path(folder)).fill()
        main(build(Path(folder)))
