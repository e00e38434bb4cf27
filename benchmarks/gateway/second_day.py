"""What changes of a running gateway take: a flood of silent sockets, renewed certificates, a stop, and new keys.

Each gateway is `opagate up` in a process of its own, and the calls beside are calls of the echo tool, each on a new connection.
"""

from __future__ import annotations

import datetime as dt
import http.client
import os
import platform
import re
import resource
import signal
import socket
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

from benchmarks.authority.figures import Figure, table
from benchmarks.gateway import targets
from benchmarks.gateway.silent import ADDRESSES, silent_sockets
from gateway.config.keys import ROTATED
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e import certificates
from tests.e2e.test_leases import configured
from tests.e2e.test_renewal import shown
from tests.e2e.wire import JSON, Caller, call, token, until
from tests.gateway_process import GatewayProcess, with_operator
from tests.unit.identity.tokens import Authority

PAGE: Final = targets.ROOT / "docs/benchmarks/second-day.md"
INSTALL: Final = targets.ROOT / "docs/operations/install.md"
FILES: Final = 4_096
RENEWALS: Final = 4
HEAD: Final = """\
# The second day

    make bench ARGS=second-day                # prints the tables; exit status 1 beyond a goal
    make bench ARGS='second-day --write'      # writes this page too; some minutes, on a quiet machine
    make bench ARGS='second-day --quick'      # fewer sockets and runs

What changes of a running gateway take.
"""
NOTES: Final = f"""\
- Each gateway is `opagate up` with the shipped policy, tokens and the journal. It may open {FILES:,} files.
- Calls are calls of the echo tool. Each is on a new connection, and begins at its time, whether or not the one before has its answer.
- A call has failed without a connection, or without the text that it sent.
- The silent sockets come from two other processes. They send no byte, and the gateway may not time them out meanwhile.
- A renewed certificate is there half a second before its key.
- Clients at the stop never say goodbye: one has called, one has ended its handshake, and one is silent."""
_PAIR_APART: Final = 0.5
_AFTERWARDS: Final = 2.0
_NEVER: Final = "limits: {request_head: 1h}\n"


@dataclass(frozen=True, slots=True)
class Count:
    """How many of something went wrong under load. `beside` tells what else was seen."""

    what: str
    failed: int
    of: int
    beside: str

    def row(self) -> str:
        """Return the count as a row of a Markdown table."""
        return f"| {self.what} | 0 | {self.failed:,} of {self.of:,} | {self.beside} |"

    def is_within_goal(self) -> bool:
        """Return whether there were calls, and none failed."""
        return self.of > 0 and self.failed == 0


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured."""

    counts: tuple[Count, ...]
    figures: tuple[Figure, ...]

    def is_within_goals(self) -> bool:
        """Return whether each figure reaches its goal."""
        return all(each.is_within_goal() for each in (*self.counts, *self.figures))


def second_day(folder: Path, *, quick: bool) -> Found:
    """Measure everything in `folder`."""
    sockets, runs, rounds = (6_000, 2, 1) if quick else (20_000, 10, 5)
    with targets.direct(folder / "direct") as base:
        echo = base.request.url
        floods = [_flood(folder / f"flood-{tls}", echo, sockets, tls=tls) for tls in (False, True)]
        renewed, renewals = _renew(folder / "renewal", echo, pause=0.5 if quick else 4.0)
        stops = tuple(_stop(folder / f"stop-{number}", echo) for number in range(runs))
        rotated, rotations = _rotate(folder / "rotation", echo, rounds)
    stop = Figure("SIGTERM → exit, with three idle TLS clients", stops, "s", 2.0)
    return Found((*floods, renewed, rotated), (renewals, stop, *rotations))


def describe(found: Found, *, quick: bool) -> str:
    """Return the tables with the date and the machine."""
    how = "with `--quick`" if quick else "all runs"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}"
    load = f"load of the machine at the end {os.getloadavg()[1]:.1f}"
    counts = "\n".join(each.row() for each in found.counts)
    return (
        f"Measured on {dt.datetime.now(dt.UTC).date()}: {machine}, {how}, {load}.\n\n"
        f"| calls beside | goal | failed | seen |\n|---|---|---|---|\n{counts}\n\n{table(found.figures)}\n\n{_elsewhere()}"
    )


def write(text: str) -> None:
    """Write the page."""
    PAGE.write_text(f"{HEAD}\n{text}\n\n{NOTES}\n", "utf-8")


def _elsewhere() -> str:
    """Return the rows whose figures have another source."""
    size = re.search(r"The image adds some (\d+ MB)", INSTALL.read_text("utf-8"))
    return (
        "| shown elsewhere | figure | where |\n|---|---|---|\n"
        f"| size that the image adds to its base | {size[1] if size else ''} | [install](../operations/install.md) |\n"
        "| start on the state of each earlier release | a test | [the test](../../tests/unit/surfaces/stored/test_earlier_states.py) |"
    )


# --- the gateway and its callers -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Served:
    """A gateway that is ready, and the certificates of its TLS."""

    gateway: GatewayProcess
    port: int
    authority: Authority
    pair: certificates.Pair
    trusting: ssl.SSLContext | None

    def caller(self, upstream: str) -> Caller:
        bearer = token(self.gateway, f"agent-of-{upstream}", ttl=3600)
        return Caller(self.gateway, upstream, {"authorization": f"Bearer {bearer}"}, self.trusting)


@contextmanager
def _serve(folder: Path, echo: str, *, tls: bool = True, more: str = "") -> Generator[_Served]:
    """Run a gateway that may open `FILES` files, on the core of the targets."""
    folder.mkdir(parents=True)
    port, authority = targets.free_port(), Authority(now=time.time())
    pair = certificates.server(authority, folder)
    trusting = certificates.client_context(certificates.written(authority, folder, "ca")) if tls else None
    setup = f"listen: 127.0.0.1:{port}\n{with_operator(configured(folder, echo))}{more}"
    setup += f"tls: {{certificate: '{pair.certificate}', key: '{pair.key}'}}\n" if tls else ""
    (folder / "gateway.yaml").write_text(setup, "utf-8")
    command = [sys.executable, "-m", "gateway", "up", "--config", str(folder / "gateway.yaml")]
    limited = ["sh", "-c", f'ulimit -Sn 1024 && ulimit -Hn {FILES} && exec "$@"', "sh", *command]
    with targets.process(limited, core=targets.TARGET_CORE, folder=folder) as running:
        origin = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        targets.until_ready(origin, trusting=trusting)
        gateway = GatewayProcess(origin, folder, folder / "output.log", running)
        yield _Served(gateway, port, authority, pair, trusting)


class _Calls:
    """Calls of two agents at a rate, until the block ends. `took` has the seconds of those that succeeded."""

    def __init__(self, served: _Served, rate: float) -> None:
        self.took, self._begun, self._failures = list[float](), 0, list[str]()
        self._callers = [served.caller("call"), served.caller("task")]
        self._rate, self._over = rate, Event()

    @contextmanager
    def going_on(self) -> Generator[None]:
        thread = Thread(target=self._begin_all)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def count(self, what: str, beside: str) -> Count:
        """Return how many calls failed: all that have not succeeded. The first failures are printed."""
        for failure in self._failures[:3]:
            print(f"{what}: {failure}")
        slowest = f"the slowest {max(self.took, default=0.0):.2f} s"
        return Count(what, self._begun - len(self.took), self._begun, f"{slowest}; {beside}")

    def _begin_all(self) -> None:
        begun = time.monotonic()
        with ThreadPoolExecutor(64) as threads:
            while not self._over.wait(max(0.0, begun + self._begun / self._rate - time.monotonic())):
                threads.submit(self._call, self._begun, time.monotonic())
                self._begun += 1

    def _call(self, number: int, begun: float) -> None:
        text = f"call {number}"
        try:
            answer = self._callers[number % 2].call("echo", text=text)
        except (OSError, http.client.HTTPException) as error:
            self._failures.append(repr(error))
            return
        if answer.status == 200 and text.encode() in answer.body:
            self.took.append(time.monotonic() - begun)
        else:
            self._failures.append(f"{answer.status} {answer.body!r}")


# --- what is done to it ----------------------------------------------------------------------------


def _flood(folder: Path, echo: str, sockets: int, *, tls: bool) -> Count:
    """Open silent sockets beside calls."""
    with _serve(folder, echo, tls=tls, more=_NEVER) as served:
        calls = _Calls(served, 10)
        with calls.going_on(), silent_sockets(served.port, sockets):
            time.sleep(_AFTERWARDS)
            files, mib = _held(served.gateway.process.pid)
    kind = "sockets, silent in their TLS handshakes," if tls else "silent sockets"
    what = f"{sockets:,} {kind} from {ADDRESSES} addresses, 10 calls a second"
    return calls.count(what, f"{files:,} open files and {mib:.0f} MiB of memory at the end")


def _held(pid: int) -> tuple[int, float]:
    """Return how many files a process has open, and its MiB of memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return files, pages * resource.getpagesize() / 2**20


def _renew(folder: Path, echo: str, *, pause: float) -> tuple[Count, Figure]:
    """Renew certificates under calls, and measure until each is in force."""
    took = list[float]()
    with _serve(folder, echo) as served:
        calls, coming = _Calls(served, 50), folder / "coming"
        coming.mkdir()
        with calls.going_on():
            for _ in range(RENEWALS):
                time.sleep(pause)
                made = certificates.server(served.authority, coming)
                made.certificate.replace(served.pair.certificate)
                time.sleep(_PAIR_APART)
                begun = time.monotonic()
                made.key.replace(served.pair.key)
                until(lambda: shown(served.gateway).strip() == served.pair.certificate.read_bytes().strip(), within=60)
                took.append(time.monotonic() - begun)
            time.sleep(pause)
    count = calls.count("renewed certificates, 50 calls a second", f"{RENEWALS} renewals")
    return count, Figure("key of a renewed certificate → new connections have it", tuple(took), "s")


def _stop(folder: Path, echo: str) -> float:
    """Return the seconds from SIGTERM to the exit, with three clients that do nothing."""
    with _serve(folder, echo) as served, ExitStack() as clients:
        trusting, place = served.trusting, ("127.0.0.1", served.port)
        used = http.client.HTTPSConnection(*place, context=trusting)
        clients.callback(used.close)
        sent, agent = call("echo", text="used"), served.caller("call")
        used.request("POST", "/mcp/call", sent.body, {**JSON, **agent.headers, **sent.headers})
        if b"used" not in used.getresponse().read():
            raise SystemExit("the call before the stop failed")
        shaken, _silent = (clients.enter_context(socket.create_connection(place)) for _ in range(2))
        if trusting is not None:
            clients.enter_context(trusting.wrap_socket(shaken, server_hostname=place[0]))
        begun = time.monotonic()
        served.gateway.process.send_signal(signal.SIGTERM)
        if status := served.gateway.process.wait(60):
            raise SystemExit(f"the gateway ended with status {status}")
        return time.monotonic() - begun


def _rotate(folder: Path, echo: str, rounds: int) -> tuple[Count, list[Figure]]:
    """Replace each key under calls."""
    took = defaultdict[str, list[float]](list)
    with _serve(folder, echo) as served:
        calls = _Calls(served, 50)
        with calls.going_on(), connect_to_gateway(folder / "state/control.sock") as operator:
            for name in ROTATED * rounds:
                begun = time.monotonic()
                operator.ask("keys/rotate", key=name)
                took[name].append(time.monotonic() - begun)
                time.sleep(0.5)
    count = calls.count("replaced keys, 50 calls a second", f"{rounds * len(ROTATED)} rotations")
    return count, [Figure(f"rotation of the key `{name}`", tuple(each), "ms") for name, each in took.items()]
