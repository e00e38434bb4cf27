"""A registry of npm and one of PyPI on this machine, with one server in each, in the versions that a test publishes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_ANSWERING: Final = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked: continue
    found = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "VERSION"}}
    if asked["method"] == "tools/list":
        found = {"tools": [{"name": "say", "description": "VERSION NEEDED", "inputSchema": {"type": "object"}}]}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": found}), flush=True)
"""
_NODE: Final = """#!/usr/bin/env node
const needed = require("needed");
require("readline").createInterface({input: process.stdin}).on("line", line => {
  const asked = JSON.parse(line);
  if (asked.id === undefined) return;
  const result = asked.method === "tools/list"
    ? {tools: [{name: "say", description: "VERSION " + needed, inputSchema: {type: "object"}}]}
    : {protocolVersion: "2025-06-18", capabilities: {tools: {}}, serverInfo: {name: "s", version: "VERSION"}};
  console.log(JSON.stringify({jsonrpc: "2.0", id: asked.id, result}));
});
"""


class Registry:
    """Both registries. `published` has each file by its path. The install script of the npm server makes `script_trace`."""

    def __init__(self, script_trace: Path) -> None:
        self.script_trace = script_trace
        self.published: dict[str, bytes] = {}
        self.address = ""
        self._npm: dict[str, dict[str, Any]] = {}

    def publish_npm(self, name: str, version: str, files: dict[str, str], **more: Any) -> None:
        """Publish a version of a package, and make it the latest."""
        manifest = {"name": name, "version": version, **more}
        data = _tarball({"package.json": json.dumps(manifest), **files})
        path = f"/npm/-/{name}-{version}.tgz"
        self.published[path] = data
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        dist = {"tarball": self.address + path, "integrity": integrity}
        self._npm.setdefault(name, {})[version] = {**manifest, "dist": dist}
        listed = {"name": name, "dist-tags": {"latest": version}, "versions": self._npm[name]}
        self.published[f"/npm/{name}"] = json.dumps(listed).encode()

    def publish_pypi(self, name: str, version: str, module: str, needs: str = "") -> None:
        """Publish a wheel. Its program has its name."""
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        data = _wheel(name, version, module, needs)
        self.published[f"/files/{file}"] = data
        link = f'<a href="/files/{file}#sha256={hashlib.sha256(data).hexdigest()}">{file}</a>\n'
        self.published[f"/simple/{name}/"] = self.published.get(f"/simple/{name}/", b"") + link.encode()

    def publish_servers(self, version: str, needed: str) -> None:
        """Publish a server in both registries that needs another package, and says so in its one tool."""
        self.publish_npm("needed", needed, {"index.js": f'module.exports = "{needed}";'})
        run = {
            "bin": {"opagate-served": "index.js"},
            "dependencies": {"needed": "*"},
            "scripts": {"install": f"touch '{self.script_trace}'"},
        }
        self.publish_npm("opagate-served", version, {"index.js": _NODE.replace("VERSION", version)}, **run)
        self.publish_pypi("needed", needed, f"said = {needed!r}")
        text = _ANSWERING.replace("VERSION", version).replace("NEEDED", needed)
        self.publish_pypi("opagate-served", version, f"def main():\n{_indent(text)}", "needed")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _tarball(files: dict[str, str]) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    return found.getvalue()


def _wheel(name: str, version: str, module: str, needs: str) -> bytes:
    written = name.replace("-", "_")
    about = f"{written}-{version}.dist-info"
    required = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{written}.py": module,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {written}:main\n",
        f"{about}/RECORD": "",
    }
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return found.getvalue()


@contextmanager
def running_registry(script_trace: Path) -> Generator[Registry]:
    """Run both registries until the end of the block."""
    registry = Registry(script_trace)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = registry.published.get(self.path)
            self.send_response(404 if found is None else 200)
            kind = "text/html" if self.path.startswith("/simple/") else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found or b"")

        do_HEAD = do_GET  # noqa: N815 - as the standard library calls it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of the standard library
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        registry.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()
