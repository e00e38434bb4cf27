"""Dynamic secrets of a real OpenBao in the processes of a real stdio server, which reads a real PostgreSQL with them."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, call, caller, entries, stateless, token, until, verified
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port
from tests.machine import is_inhabited, needs_proc
from tests.servers.openbao import PATH, OpenBao, running_openbao
from tests.servers.serving import ROOT
from tests.unit.authority.brokers.asking import values_shown

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = needs_proc
COUNT = "SELECT count(*) FROM seen"
SERVICE = {"file": "PGSERVICEFILE"}


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Generator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture
def notes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, bao: OpenBao) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    monkeypatch.setenv("REPORTS_NOTES", str(folder))
    monkeypatch.setenv("REPORTS_PORT", str(bao.postgres.port))
    monkeypatch.setenv("BAO_TOKEN", bao.gateway_token())
    monkeypatch.setenv("SERVER_PATH", str(ROOT))
    return folder


def configured(bao: OpenBao, folder: Path, hand_over: dict[str, Any], ttl: str = "300s") -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    credential = {"kind": "openbao", "broker": "bao", "path": PATH, "ttl": ttl, "hand_over": hand_over}
    upstream = {
        "command": [sys.executable, "-m", "tests.servers.reports"],
        "cwd": str(ROOT),
        "env": {"REPORTS_PORT": "${REPORTS_PORT}", "REPORTS_NOTES": "${REPORTS_NOTES}"},
        "files": {"write": ["${REPORTS_NOTES}"]},
        "network": True,
        "audience": "https://reports.example",
        "environment": "test",
        "tools": {
            "*": {"effect": "read", "egress": False, "sensitivity": "internal"},
            "query_again": {"sensitivity": "confidential"},
        },
        "credential": {**credential, "scopes": {"read": ["ro"]}},
    }
    broker = {"kind": "openbao", "url": bao.url, "auth": {"token": "${BAO_TOKEN}"}, "policies": ["tasks"]}
    return yaml.safe_dump(
        {
            "identity": [{"kind": "development"}],
            # A call of that tool may carry less time, so it renews the lease.
            "authority": {"ttl": {"default": "300s", "by_sensitivity": {"confidential": "120s"}}},
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "brokers": {"bao": broker},
            "upstreams": {"reports": upstream},
        }
    )


class Task:
    """A declared task of one agent, and its calls."""

    def __init__(self, gateway: GatewayProcess, agent: Caller) -> None:
        self._agent = agent
        self._origin = gateway.origin
        self._headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
        self.opened = self._post("/tasks", {"goal": "read", "expires_in": 600})

    def _post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = httpx2.post(f"{self._origin}{path}", json=body, headers=self._headers, timeout=300)
        return answer.raise_for_status().json()

    def query(self, sql: str = "SELECT current_user", tool: str = "query") -> tuple[int, str]:
        """Return the process that asked, and the database's answer."""
        process, _, answer = self.call(tool, sql=sql).partition(" ")
        return int(process), answer

    def call(self, tool: str, **arguments: Any) -> str:
        sent = call(tool, stateless, **arguments)
        return self._agent.ask(sent, headers={"opagate-task": self.opened["token"]}).text

    def complete(self) -> None:
        self._post(f"/tasks/{self.opened['id']}/complete")

    def leases(self, folder: Path) -> list[dict[str, Any]]:
        return [entry for entry in entries(folder, "lease") if entry["task"] == self.opened["id"]]


@dataclass(frozen=True, slots=True)
class Given:
    """What a process was given for its latest query. The answers of the database do not tell: the gateway conceals a login."""

    user: str
    password: str
    files: tuple[Path, ...]


def given(notes: Path, process: int) -> Given:
    text = (notes / str(process)).read_text()
    users = re.findall(r"^user=(\S+)|^\*:\*:\*:([^:]+):", text, re.MULTILINE)
    passwords = re.findall(r"^password=(\S+)|^\*:\*:\*:[^:]+:(\S+)", text, re.MULTILINE)
    files = tuple({Path(line) for line in text.splitlines() if line.startswith("/")})
    return Given("".join(users[-1]), "".join(passwords[-1]), files)


def test_two_tasks_have_two_logins_and_the_end_of_one_takes_its_process_and_login(
    bao: OpenBao, notes: Path, tmp_path: Path
):
    with mortal_gateway(configured(bao, tmp_path, SERVICE), tmp_path) as gateway:
        ann = caller(gateway, "ann", "reports")
        one, other = Task(gateway, ann), Task(gateway, ann)
        (first, shown), (second, _) = one.query(), other.query()
        mine, its = given(notes, first), given(notes, second)
        assert (first != second, mine.user != its.user, shown) == (True, True, "[credential of the gateway]")
        one.call("leave")
        assert bao.postgres.may_log_in(mine.user, mine.password)
        (file,) = mine.files
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

        one.complete()
        until(lambda: "revoked" in {entry["event"] for entry in one.leases(tmp_path)})

        assert [entry["event"] for entry in one.leases(tmp_path)] == [
            "requested",
            "issued",
            "ending",
            "withdrawn",
            "revoked",
        ]
        ended = one.leases(tmp_path)[-1]
        assert (ended["processes"], ended["proof"]["kind"]) == ("absent", "lookup")
        assert not is_inhabited(first), "neither by the server nor by its helper"
        assert not file.exists()
        assert not bao.postgres.may_log_in(mine.user, mine.password)
        assert other.query(COUNT) == (second, "0")
        gateway.process.terminate()
        gateway.process.wait(60)
    assert not is_inhabited(second)
    last = {entry["id"]: entry["event"] for entry in entries(tmp_path, "lease")}
    assert set(last.values()) == {"revoked"}
    written = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert values_shown([mine.password, its.password], *written) == []
    assert verified(tmp_path).ok


def test_a_renewal_replaces_the_login_in_the_running_process(bao: OpenBao, notes: Path, tmp_path: Path):
    with mortal_gateway(configured(bao, tmp_path, SERVICE), tmp_path) as gateway:
        task = Task(gateway, caller(gateway, "ann", "reports"))
        process, _ = task.query()
        first = given(notes, process)

        assert task.query(COUNT, "query_again") == (process, "0")
        assert given(notes, process).user != first.user
        assert bao.postgres.may_log_in(first.user, first.password), "a query under way may still need it"

        (lease,) = [entry for entry in task.leases(tmp_path) if entry["event"] == "issued"][:1]
        with connect_to_gateway(gateway.folder / "state/control.sock") as operator:
            operator.ask("leases/revoke", id=lease["id"])
        until(lambda: not bao.postgres.may_log_in(first.user, first.password))
        assert task.query(COUNT, "query_again") == (process, "0")


def test_a_password_file_with_the_user_in_a_variable_logs_in(bao: OpenBao, notes: Path, tmp_path: Path):
    hand_over = {"file": "PGPASSFILE", "variables": {"PGUSER": "{username}"}}
    with mortal_gateway(configured(bao, tmp_path, hand_over), tmp_path) as gateway:
        task = Task(gateway, caller(gateway, "ann", "reports"))
        process, answer = task.query(COUNT)

        assert answer == "0"
        assert given(notes, process).user.startswith("v-")


def test_a_killed_gateway_leaves_no_process_no_file_and_no_login(bao: OpenBao, notes: Path, tmp_path: Path):
    config, port = configured(bao, tmp_path, SERVICE), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        task = Task(gateway, caller(gateway, "ann", "reports"))
        process, _ = task.query()
        task.call("leave")
        mine = given(notes, process)
        gateway.process.kill()
        gateway.process.wait(30)
        until(lambda: not is_inhabited(process))
        until(lambda: not any(path.exists() for path in mine.files))
    with mortal_gateway(config, tmp_path, port=port):
        until(lambda: not bao.postgres.may_log_in(mine.user, mine.password))


async def test_a_client_of_the_handshake_era_works_over_the_end_of_a_lease(bao: OpenBao, notes: Path, tmp_path: Path):
    config = configured(bao, tmp_path, {"env": "DATABASE", "template": "{username}"})
    with mortal_gateway(config, tmp_path) as gateway:
        headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=300) as http,
            streamable_http_client(gateway.mcp("reports"), http_client=http) as streams,
            ClientSession(*streams[:2]) as session,
        ):
            await session.initialize()
            seen: list[int] = []
            for _ in range(2):
                answer = await session.call_tool("query", {"sql": "SELECT 1"})
                assert not answer.is_error, answer
                (content,) = answer.content
                seen.append(int(json.loads(content.model_dump_json())["text"].partition(" ")[0]))
                with connect_to_gateway(gateway.folder / "state/control.sock") as operator:
                    assert operator.ask("leases/revoke", all=True)["ended"] >= 1
            assert seen[0] != seen[1]
