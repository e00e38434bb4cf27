"""`python -m benchmarks.first_day`: an honest developer's 60 calls over eight official servers, observed and then enforced.

The servers are the real packages by npx and uvx, behind the real `opagate up --from`. A client of the SDK makes the calls of calls.yaml at
`/mcp`, in one session, without a declared task. Nothing is edited by hand. Exit status 1 beyond a goal.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx2
import yaml
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from benchmarks.gateway.targets import ROOT
from tests.gateway_process import free_port
from tests.servers.serving import stop

CALLS: Final[Sequence[Mapping[str, Mapping[str, Any]]]] = yaml.safe_load(
    Path(__file__).with_name("calls.yaml").read_text("utf-8")
)
SERVERS: Final[Mapping[str, Sequence[str]]] = {
    "filesystem": ("npx", "-y", "@modelcontextprotocol/server-filesystem@2026.8.31", "PROJECT"),
    "memory": ("npx", "-y", "@modelcontextprotocol/server-memory@2026.8.31"),
    "everything": ("npx", "-y", "@modelcontextprotocol/server-everything@2026.8.31"),
    "thinking": ("npx", "-y", "@modelcontextprotocol/server-sequential-thinking@2026.8.31"),
    "time": ("uvx", "mcp-server-time==2026.10.19"),
    "git": ("uvx", "mcp-server-git==2026.10.19", "--repository", "PROJECT"),
    "fetch": ("uvx", "mcp-server-fetch==2026.10.24", "--allow-private-ips"),
    "sqlite": ("uvx", "--with", "mcp<2", "mcp-server-sqlite==2025.4.25", "--db-path", "releases.db"),
}
FILES: Final[Mapping[str, str]] = {
    "README.md": "# Shop\n\nA small shop. Times are in UTC.\n\nTODO: say how to run it.\n",
    "src/cart.py": "def total(prices):\n    return sum(prices)\n",
    "src/dates.py": "def week(day):\n    return day.isocalendar().week\n",
    "tests/test_cart.py": "from src.cart import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n",
}
PAGES: Final[Mapping[str, str]] = {
    "index.html": "<h1>Shop</h1><p>What is new is on <a href='release.html'>a page of its own</a>.</p>",
    "release.html": "<h1>Release 1.2</h1><p>Discounts are in per cent. Round down.</p>",
}
PROPOSED: Final = re.compile(r"(?m)^#   ((?:limits|directory): .*\n)")
"""The proposal's lines of gateway.yaml, in its heading."""
MAY_ASK: Final = 2
MINUTES: Final = 15
_PATIENCE: Final = 3.0
"""Seconds until the person looks for questions."""


@dataclass(frozen=True, slots=True)
class Day:
    """What became of the calls. `refused` and `asked` count by codes; observed calls count by what would have been."""

    passed: int
    errors: Sequence[str]
    refused: Counter[str]
    asked: Counter[str]

    def row(self, name: str) -> str:
        """Return the day as a row of a Markdown table."""
        return f"| {name} | {self.passed} | {_counted(self.refused)} | {_counted(self.asked)} | {len(self.errors)} |"


@dataclass(slots=True)
class Walk:
    """The folder of the gateway, and the seconds of each step so far."""

    folder: Path
    project: Path
    port: int
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def timed(self, step: str) -> Generator[None]:
        """Add the seconds of the block as a step."""
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began

    def opagate(self, *words: str) -> str:
        """Run a command in the gateway's folder, and return what it prints."""
        command = [sys.executable, "-m", "gateway", *words]
        done = subprocess.run(command, cwd=self.folder, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"opagate {' '.join(words)}: {done.stderr}")
        return done.stdout

    def approve(self) -> None:
        """Approve the open questions, as the person at a terminal whose account runs the gateway."""
        for found in json.loads(self._as_person("approvals", "list", "--json")):
            if found["state"] == "pending":
                self._as_person("approvals", "approve", found["id"], "--json")

    def _as_person(self, *words: str) -> str:
        """Run a command at a terminal of its own. A question may be over by the time of the answer."""
        command = shlex.join([sys.executable, "-m", "gateway", *words])
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{shlex.join(words)}: {done.stdout}", file=sys.stderr)
        return done.stdout

    @contextmanager
    def gateway(self, step: str, last: str) -> Generator[None]:
        """Run `opagate up --from` for the block, which begins when a printed line has `last`."""
        command = [sys.executable, "-m", "gateway", "up", "--from", "client.json"]
        if not (self.folder / "gateway.yaml").exists():
            command += ["--port", str(self.port)]
        began = time.monotonic()
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if last in line:
                    break
            self.seconds[step] = time.monotonic() - began
            Thread(target=process.stdout.read, daemon=True).start()
            try:
                if process.poll() is not None:
                    raise SystemExit("".join(lines))
                yield
            finally:
                stop(process)


def main() -> None:
    """Walk from a client's file to enforced least privilege, and print what became of the calls."""
    with tempfile.TemporaryDirectory() as scratch, _pages(Path(scratch) / "pages") as port:
        root = Path(scratch)
        walk = Walk(root / "gateway", root / "project", free_port())
        walk.folder.mkdir()
        walk.project.mkdir()
        _write_project(walk.project)
        _write_client(walk)
        days, seconds = _walk(walk, port)
    print(_describe(days, seconds))
    enforced = days["enforced"]
    within = enforced.passed == len(CALLS) and not enforced.refused and not enforced.errors
    within = within and enforced.asked.total() <= MAY_ASK and sum(seconds.values()) <= MINUTES * 60
    raise SystemExit(not within)


def _walk(walk: Walk, pages: int) -> tuple[dict[str, Day], dict[str, float]]:
    """Observe a day, propose the grants, put them in place, and enforce the same day again.

    First with grants alone, then with the proposed lines of gateway.yaml, and then with one host that a person names.

    Returns the days, and the seconds of each step.
    """
    days: dict[str, Day] = {}
    begin = walk.gateway("`opagate up --from client.json`, until the tools are labelled", "wrote labels of")
    with begin, walk.timed("the calls, observed"):
        days["observed"] = _day(walk, pages)
    with walk.timed("`opagate policy grants propose --since 1d --unasked --write least.yaml`"):
        walk.opagate("policy", "grants", "propose", "--since", "1d", "--unasked", "--write", "least.yaml")
    with walk.timed("`mv least.yaml grants.yaml`, `enforce: true`, `opagate check`"):
        (walk.folder / "least.yaml").replace(walk.folder / "grants.yaml")
        print((walk.folder / "grants.yaml").read_text("utf-8").partition("upstreams:")[0])
        path = walk.folder / "gateway.yaml"
        path.write_text(re.sub(r"(?m)^(enforce: false|observe_until: .*)\n", "", path.read_text("utf-8")), "utf-8")
        walk.opagate("check")
    with walk.gateway("`opagate up` with grants alone", "grants propose"), walk.timed("the calls, enforced"):
        days["enforced, with the proposed grants alone"] = _day(walk, pages, "--user", "bob")
    with (walk.folder / "gateway.yaml").open("a", encoding="utf-8") as file:
        file.writelines(PROPOSED.findall((walk.folder / "grants.yaml").read_text("utf-8")))
    with walk.gateway("`opagate up` with the lines", "grants propose"), walk.timed("the calls, with the lines"):
        days["enforced, with the proposed lines too"] = _day(walk, pages, "--user", "ada")
    with (walk.folder / "gateway.yaml").open("a", encoding="utf-8") as file:
        file.write(f"directory: {{entries: ['{socket.gethostname()}:{pages}']}}\n")
    with walk.gateway("`opagate up` with the host", "grants propose"), walk.timed("the calls, with the host"):
        days["enforced"] = _day(walk, pages, "--user", "cem")
    return days, walk.seconds


def _day(walk: Walk, pages: int, *user: str) -> Day:
    """Make the calls in a project as it was in the morning. A user of its own has no earlier task."""
    _write_project(walk.project)
    since = dt.datetime.now(dt.UTC).isoformat()
    token = walk.opagate("credentials", "token", "--agent", "coding-agent", *user).strip()
    places = {
        "PROJECT": str(walk.project),
        "DOCS": f"http://{socket.gethostname()}:{pages}",
        "LOCAL": f"http://127.0.0.1:{pages}",
    }
    errors = asyncio.run(_call_all(walk, token, places))
    exported = walk.opagate("journal", "export", "--since", since, "--kind", "call").splitlines()
    return _judge([json.loads(line) for line in exported], errors)


async def _call_all(walk: Walk, token: str, places: Mapping[str, str]) -> list[str]:
    """Make the calls in one session, and return the calls that the servers or the gateway answered with an error."""
    pattern, errors, url = re.compile("|".join(places)), list[str](), f"http://127.0.0.1:{walk.port}/mcp"
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=120) as http,
        Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
    ):
        await client.list_tools()
        for call in CALLS:
            ((tool, given),) = call.items()
            arguments = json.loads(pattern.sub(lambda found: places[found[0]], json.dumps(given)))
            calling = asyncio.ensure_future(client.call_tool(tool, arguments))
            while not (await asyncio.wait({calling}, timeout=_PATIENCE))[0]:
                await asyncio.to_thread(walk.approve)
            answer = await calling
            if answer.is_error:
                errors.append(f"{tool}: {answer.content}")
    return errors


def _judge(entries: Sequence[Mapping[str, Any]], errors: Sequence[str]) -> Day:
    """Count the decisions by codes: what was refused or asked, or would have been."""
    counted = {"deny": Counter[str](), "ask": Counter[str]()}
    for entry in entries:
        effect = "deny" if "would_refuse" in entry else "ask" if "would_ask" in entry else entry["effect"]
        if effect in counted:
            counted[effect][", ".join(reason["code"] for reason in entry["reasons"])] += 1
    passed = sum(entry["effect"] == "allow" for entry in entries)
    return Day(passed, errors, counted["deny"], counted["ask"])


def _counted(found: Counter[str]) -> str:
    return ", ".join([str(found.total()), *(f"{number} {code}" for code, number in found.items())])


def _describe(days: Mapping[str, Day], seconds: Mapping[str, float]) -> str:
    """Return the tables."""
    rows = [day.row(name) for name, day in days.items()]
    steps = [f"| {step} | {took:.1f} |" for step, took in seconds.items()]
    errors = [f"{name}: {error}" for name, day in days.items() for error in day.errors]
    return "\n".join(
        (
            "| day | passed | refused | asked | errors |\n|---|---|---|---|---|",
            *rows,
            "\n| step | seconds |\n|---|---|",
            *steps,
            f"| together | {sum(seconds.values()):.1f} |",
            f"\nload of the machine at the end {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores",
            *errors,
        )
    )


def _write_client(walk: Walk) -> None:
    """Write the file of a client with the eight servers."""
    servers: dict[str, Any] = {}
    for name, (program, *words) in SERVERS.items():
        servers[name] = {"command": program, "args": [word.replace("PROJECT", str(walk.project)) for word in words]}
    (walk.folder / "client.json").write_text(json.dumps({"mcpServers": servers}), "utf-8")


def _write_project(project: Path) -> None:
    """Write the project as a repository with one commit. The folder stays, for servers have it open."""
    for left in project.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    for name, text in FILES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text, "utf-8")
    for words in (
        ("init", "-q", "-b", "main"),
        ("config", "user.name", "Ada"),
        ("config", "user.email", "ada@corp.example"),
        ("add", "."),
        ("commit", "-q", "-m", "Begin"),
    ):
        subprocess.run(("git", *words), cwd=project, check=True)


def _environment() -> dict[str, str]:
    """Return the environment of the gateway: uvx may stand beside this Python."""
    beside = str(Path(sys.executable).parent)
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PATH": f"{os.environ['PATH']}:{beside}"}


class _Pages(SimpleHTTPRequestHandler):
    """A handler that prints no requests."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Print nothing."""


@contextmanager
def _pages(folder: Path) -> Generator[int]:
    """Serve the pages of documentation on all addresses of this machine, and give the port."""
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text, "utf-8")
    with ThreadingHTTPServer(("", 0), partial(_Pages, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


if __name__ == "__main__":
    main()
