"""All figures of `make bench ARGS=console`, and the page that has them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.sync_api import sync_playwright

from benchmarks.authority.figures import Figure, quantile, table
from benchmarks.console.journals import RARE, build_index, put_back, read_entries, replace_journal, set_aside
from benchmarks.console.paced import run_paced
from benchmarks.gateway import targets
from benchmarks.gateway.load import Request
from gateway.surfaces.cli.control_client import connect_to_gateway

PAGE: Final = targets.ROOT / "docs/benchmarks/console.md"
HEAD: Final = """\
# What the console costs

    make bench ARGS=console                # prints the tables; exit status 1 beyond a goal
    make bench ARGS='console --write'      # writes this page too; some minutes, on a quiet machine
    make bench ARGS='console --quick'      # a smaller journal, and short rounds
"""
NOTES: Final = """\
- The gateway is a process of its own, with the console and the shipped policy. Pages are requests over HTTP with a login.
- "In Chromium": from the navigation to the end of the event `load` (Navigation Timing), headless, with a warm cache of the styles.
- The journals have copies of real entries under other ids: 20 agents, tasks of 40 calls, every tenth call refused.
- The large journal is put beside the running gateway, which would otherwise read all of it for its history first.
- The index is made once. A page after a start of the gateway also indexes the last file of the journal, of up to 64 MiB.
- Open pages are connections for server-sent events, held by a third process. All show the list of decisions.
- The CPU of the gateway is measured over all rounds, and counts its pages too.
- Rounds without and with open pages alternate. "Without, again" is the noise of the machine: rounds without, in the place of those with."""
PAGES: Final = 100
RATE: Final = 100.0
_PER_LOGIN: Final = 15
_CHROMIUM: Final = "/usr/bin/chromium"
_START: Final = 300.0


@dataclass(frozen=True, slots=True)
class Calls:
    """The latencies of calls without open pages, with them, and without them again. `cpu` has the gateway's seconds of CPU for each."""

    without: tuple[float, ...]
    with_pages: tuple[float, ...]
    again: tuple[float, ...]
    cpu: tuple[float, float, float]
    events: int
    bytes: int

    @property
    def ratio(self) -> float:
        """Return the p99 with open pages over the p99 of all rounds without."""
        return quantile(self.with_pages, 0.99) / quantile((*self.without, *self.again), 0.99)

    @property
    def noise(self) -> float:
        """Return the same between two halves of the rounds without."""
        return quantile(self.again, 0.99) / quantile(self.without, 0.99)

    def is_within_goal(self) -> bool:
        """Return whether open pages cost at most a tenth of the p99."""
        return self.ratio <= 1.1

    def table(self) -> str:
        """Return the Markdown table."""
        rows = [
            f"| {name} | {len(found)} | {quantile(found, 0.5) * 1e3:.2f} ms | {quantile(found, 0.99) * 1e3:.2f} ms | {max(found) * 1e3:.1f} ms | {cpu / len(found) * 1e6:.0f} µs |"
            for name, found, cpu in (
                ("without open pages", self.without, self.cpu[0]),
                (f"with {PAGES} open pages", self.with_pages, self.cpu[1]),
                ("without, again", self.again, self.cpu[2]),
            )
        ]
        head = "| 100 calls a second | calls | median | p99 | longest | CPU for each call |\n|---|---|---|---|---|---|"
        told = f"p99 with open pages over without: {self.ratio:.2f} (goal ≤ 1.10; the same of two runs without: {self.noise:.2f})."
        return "\n".join(
            [head, *rows, "", told, f"The pages heard {self.events} events, {self.bytes / 2**20:.1f} MiB."]
        )


@dataclass(frozen=True, slots=True)
class Found:
    """All figures of the console."""

    figures: tuple[Figure, ...]
    calls: Calls

    def is_within_goals(self) -> bool:
        """Return whether each figure reaches its goal."""
        return self.calls.is_within_goal() and all(figure.is_within_goal() for figure in self.figures)


def console(folder: Path, *, quick: bool) -> Found:
    """Measure everything in `folder`."""
    os.sched_setaffinity(0, {targets.LOAD_CORE})
    runs, rounds, seconds = (10, 2, 3.0) if quick else (50, 10, 12.0)
    size = 128 * 2**20 if quick else 2**30
    with targets.direct(folder / "direct") as base:
        figures = list(_measure_small(folder / "small", base.request.url, runs))
        figures += _measure_large(folder / "large", base.request.url, size, runs)
        calls = _measure_calls(folder / "calls", base.request.url, rounds, seconds)
    return Found(tuple(figures), calls)


def describe(found: Found, *, quick: bool) -> str:
    """Return the tables with the date and the machine."""
    how = "a smaller journal and short rounds" if quick else "all runs"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}"
    load = f"load of the machine at the end {os.getloadavg()[1]:.1f}"
    head = f"Measured on {dt.datetime.now(dt.UTC).date()}: {machine}, {how}, {load}."
    return f"{head}\n\n{table(found.figures)}\n\n{found.calls.table()}"


def write(text: str) -> None:
    """Write the page."""
    PAGE.write_text(f"{HEAD}\n{text}\n\n{NOTES}\n", "utf-8")


# --- a gateway with a console -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway in a process of its own."""

    folder: Path
    origin: str
    request: Request
    target: targets.Target

    def log_in(self) -> str:
        """Return the cookie of a new login by a one-time link."""
        with connect_to_gateway(self.folder / "state/control.sock") as socket:
            link = socket.ask("logins/link")["url"]
        token = link.partition("token=")[2]
        answer = httpx2.post(
            f"{self.origin}/console/login/link", data={"token": token}, headers={"origin": self.origin}, trust_env=False
        )
        cookie = answer.headers["set-cookie"].partition(";")[0]
        if answer.status_code != 303 or not cookie:
            raise SystemExit(f"the login failed: {answer.status_code} {answer.text}")
        return cookie


def configure(folder: Path, url: str) -> Path:
    """Write the configuration of a gateway with a console, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grants.yaml").write_text(targets.GRANTS)
    (folder / "gateway.yaml").write_text(
        f"listen: 127.0.0.1:{targets.free_port()}\nidentity: [{{kind: development}}]\npolicy: {{grants: grants.yaml}}\n"
        "telemetry: {level: error}\nconsole: {}\n"
        f"operators: {{accounts: [{{uid: {os.getuid()}, id: bench}}]}}\nupstreams:\n  echo:\n"
        f"    url: {url}\n    audience: echo\n    environment: bench\n    tenant: bench\n"
        "    tools: {'*': {effect: read, egress: false}}\n"
    )
    return folder / "gateway.yaml"


@contextmanager
def running(path: Path) -> Generator[Running]:
    """Run a gateway until the block ends."""
    folder = path.parent
    origin = f"http://{re.search(r'listen: (.*)', path.read_text())[1]}"  # type: ignore[index]
    command = [sys.executable, "-m", "gateway", "up", "--config", str(path)]
    with targets.process(command, core=targets.TARGET_CORE, folder=folder) as process:
        targets.until_ready(origin, _START)
        request = targets.stateless_call(f"{origin}/mcp/echo", targets.token(folder, origin))
        yield Running(folder, origin, request, targets.Target("console", request, (process.pid,)))


def make_journal(path: Path, **bounds: int) -> int:
    """Give a gateway a journal of so many calls or bytes, of entries like its own. Return the number of calls."""
    with running(path) as gateway:
        headers = dict(gateway.request.headers)
        for name in ("echo", "unknown"):
            body = gateway.request.body.replace(b'"name": "echo"', b'"name": "%b"' % name.encode())
            sent = {**headers, "mcp-name": name}
            httpx2.post(gateway.request.url, content=body, headers=sent, trust_env=False)
    effects = {entry.get("effect") for entry in read_entries(path.parent / "state/journal")}
    if not {"allow", "deny"} <= effects:
        raise SystemExit(f"the calls for the journal were not allowed and refused: {effects}")
    return replace_journal(path, **bounds)


# --- pages --------------------------------------------------------------------------------------------


class Visitor:
    """A person with a login, whose pages are timed."""

    def __init__(self, gateway: Running) -> None:
        self.cookie = gateway.log_in()
        self._client = httpx2.Client(base_url=gateway.origin, headers={"cookie": self.cookie}, trust_env=False)
        self._client.timeout = httpx2.Timeout(300)

    def time(self, path: str) -> tuple[float, str]:
        """Return the seconds of a page, and its text."""
        begun = time.perf_counter()
        answer = self._client.get(path)
        seconds = time.perf_counter() - begun
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text[:500]}")
        return seconds, answer.text

    def times(self, path: str, runs: int) -> tuple[float, ...]:
        """Return the seconds of a page, again and again."""
        return tuple(self.time(path)[0] for _ in range(runs))

    def follow(self, path: str, pages: int) -> str:
        """Return the address of a later page, by the links to the earlier entries."""
        for _ in range(pages - 1):
            older = re.search(r'href="([^"]*\?[^"]*before=[^"]*)"', self.time(path)[1])
            if older is None:
                raise SystemExit(f"{path} leads to no further page")
            path = older[1].replace("&amp;", "&")
        return path


def _measure_small(folder: Path, echo: str, runs: int) -> Generator[Figure]:
    path = configure(folder, echo)
    make_journal(path, calls=10_000)
    with running(path) as gateway:
        visitor = Visitor(gateway)
        goal = 0.3
        first = "/console/decisions"
        yield Figure("decisions, 10,000 in the journal: first page", visitor.times(first, runs), "ms", goal)
        yield Figure("the same in Chromium", load_in_chromium(gateway, visitor, first, runs), "ms", goal)
        last = visitor.follow(first, 200)
        yield Figure("page 200, the last one", visitor.times(last, runs), "ms", goal)
        visitor.time(f"{first}?agent={RARE}")
        yield Figure("with a filter by effect", visitor.times(f"{first}?effect=deny", runs), "ms", goal)
        yield Figure("with a filter that nothing fits", visitor.times(f"{first}?agent=nobody", runs), "ms", goal)
        yield Figure("tasks", visitor.times("/console/tasks", runs), "ms", goal)
        yield Figure("tasks in Chromium", load_in_chromium(gateway, visitor, "/console/tasks", runs), "ms", goal)


def load_in_chromium(gateway: Running, visitor: Visitor, path: str, runs: int) -> tuple[float, ...]:
    """Return the seconds from the navigation to the end of the loading of a page."""
    name, _, value = visitor.cookie.partition("=")
    found: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.add_cookies([{"name": name, "value": value, "url": f"{gateway.origin}/console"}])
        page = context.new_page()
        for _ in range(runs + 1):
            page.goto(f"{gateway.origin}{path}", wait_until="load")
            page.wait_for_function("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            found.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1e3)
        browser.close()
    return tuple(found[1:])


def _measure_large(folder: Path, echo: str, size: int, runs: int) -> Generator[Figure]:
    path = configure(folder, echo)
    calls = make_journal(path, size=size)
    written = sum(one.stat().st_size for one in (folder / "state/journal").glob("*.jsonl"))
    name = f"{written / 2**30:.2f} GiB, {calls:,} calls"
    yield Figure(f"index of a journal of {name}, once", (build_index(path),), "s")
    set_aside(path, folder / "archive")
    with running(path) as gateway:
        put_back(path, folder / "archive")
        visitor = Visitor(gateway)
        first = "/console/decisions"
        yield Figure("decisions: first page", visitor.times(first, runs), "ms")
        yield Figure("page 100", visitor.times(visitor.follow(first, 100), runs), "ms")
        cold, _ = visitor.time(f"{first}?agent={RARE}")
        yield Figure("filter by a rare agent, first after a start", (cold,), "ms")
        text = visitor.time(f"{first}?agent={RARE}")[1]
        yield Figure("filter by a rare agent", visitor.times(f"{first}?agent={RARE}", runs), "ms")
        yield Figure("filter by code", visitor.times(f"{first}?code=tool/not-granted", runs), "ms")
        yield Figure("filter that nothing fits", visitor.times(f"{first}?agent=nobody", runs), "ms")
        decision = re.findall(r'href="(/console/decisions/[^?"]+)\?at=', text)[-1]
        yield Figure("one decision by its id, the oldest of the rare agent", visitor.times(decision, runs), "ms")
        yield Figure("tasks: first page", visitor.times("/console/tasks", runs), "ms")
        pages = min(100, calls // 2_500)
        later = visitor.follow("/console/tasks", pages)
        yield Figure(f"tasks: page {pages}", visitor.times(later, runs), "ms")
        task = re.search(r'href="(/console/tasks/[^"]+)"', visitor.time(later)[1])
        if task is None:
            raise SystemExit("the list has no task")
        yield Figure("the graph of one task of 40 calls", visitor.times(task[1], runs), "ms")


# --- open pages ---------------------------------------------------------------------------------------


class OpenPages:
    """Open pages in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, line: str) -> Any:
        """Send a line, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise SystemExit("the process with the open pages has ended")
        return answer


@contextmanager
def open_pages(gateway: Running) -> Generator[OpenPages]:
    """Start the process of the pages, which are still closed."""
    logins = [gateway.log_in() for _ in range(-(-PAGES // _PER_LOGIN))]
    cookies = [logins[number // _PER_LOGIN] for number in range(PAGES)]
    command = [sys.executable, "-m", "benchmarks.console.pages"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=targets.ROOT)
    try:
        assert process.stdin is not None
        process.stdin.write(
            json.dumps({"url": f"{gateway.origin}/console/events/decisions", "cookies": cookies}) + "\n"
        )
        process.stdin.flush()
        yield OpenPages(process)
    finally:
        process.kill()
        process.wait()


def _measure_calls(folder: Path, echo: str, rounds: int, seconds: float) -> Calls:
    path = configure(folder, echo)
    samples: dict[str, list[float]] = {"without": [], "with": [], "again": []}
    cpu = dict.fromkeys(samples, 0.0)
    heard = [0, 0]
    with running(path) as gateway, open_pages(gateway) as pages:
        asyncio.run(run_paced(gateway.request, rate=RATE, seconds=2.0))
        for number in range(rounds):
            # The order changes, so that a drift of the machine hits all alike.
            order = ["without", "with", "again"] if number % 2 else ["again", "with", "without"]
            for name in order:
                if name == "with":
                    pages.tell("open")
                    time.sleep(1.0)
                before = gateway.target.cpu_seconds()
                samples[name] += asyncio.run(run_paced(gateway.request, rate=RATE, seconds=seconds))
                cpu[name] += gateway.target.cpu_seconds() - before
                if name == "with":
                    heard = json.loads(pages.tell("close"))
    return Calls(
        tuple(samples["without"]),
        tuple(samples["with"]),
        tuple(samples["again"]),
        (cpu["without"], cpu["with"], cpu["again"]),
        events=heard[0],
        bytes=heard[1],
    )
