"""A hostile server behind a real gateway: each way from the server into the gateway's authority, in three settings.

The settings: the account of the tests, an account without privileges, and a container that permits no namespaces. At the end: a
gateway of root whose servers have accounts of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.upstreams.stdio.isolation.machine import LAUNCH, get_filter
from tests.e2e.wire import stateless, until
from tests.gateway_process import ANYONE_ANYTHING, free_port
from tests.machine import needs_proc, skip_or_fail
from tests.servers.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

pytestmark = needs_proc

BURGLAR: Final = ROOT / "tests/servers/burglar.py"
MARKER: Final = "the-gateways-own-secret-7c1f"
NOBODY: Final = 65534
SETTINGS: Final = ("same-account", "unprivileged", "container")
ACCOUNTS: Final = {"burglar": "games", "online": "news", "victim": "nobody"}
"""Accounts of each Linux that have no login, one for each server."""


@dataclass(frozen=True, slots=True)
class Break:
    """A running gateway with a hostile server, and the ways that the server tries."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    setting: str

    def attempt(self, way: str, upstream: str = "burglar", **given: Any) -> dict[str, Any]:
        """Have the server try a way. Return what it tells."""
        sent = stateless("tools/call", name="attempt", arguments={"way": way, "with": given})
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **sent.headers}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/mcp/{upstream}", sent.body, headers)
        with urllib.request.urlopen(request, timeout=300) as answer:
            text = answer.read().decode()
        data = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
        document = json.loads(data[-1] if data else text)
        assert "content" in document.get("result", {}), document
        told = document["result"]["content"][0]["text"]
        assert told.startswith("{"), f"the gateway refused the call: {told}"
        return json.loads(told)

    def refused(self, way: str, **given: Any) -> bool:
        return "refused" in self.attempt(way, **given)


def configuration(folder: Path, python: str, port: int, *, has_accounts: bool) -> str:
    """Return a configuration: a hostile server with a writable folder, one with the network, and one with a secret."""
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    (folder / "key.txt").write_text(MARKER, "utf-8")
    server = {
        "command": [python, "-I", "-S", str(BURGLAR)],
        "environment": "test",
        "trust": "trusted",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
    }
    limits = {"memory": "400MiB", "processes": 60, "files": 200}
    upstreams: dict[str, dict[str, Any]] = {
        "burglar": {"files": {"write": [str(folder / "drop")]}, "process_limits": limits},
        "online": {"network": True},
        "victim": {"env": {"TOKEN": "${OPAGATE_TEST_SECRET}", "KEY": "file:key.txt"}},
    }
    if has_accounts:
        # An account bounds neither files nor the network.
        upstreams = {"burglar": {"process_limits": limits}, "online": {}, "victim": upstreams["victim"]}
        for name, user in ACCOUNTS.items():
            upstreams[name]["isolation"] = {"kind": "account", "user": user}
    return json.dumps(
        {
            "listen": f"127.0.0.1:{port}",
            "identity": [{"kind": "anonymous"}],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "approvals": {"peers": [{"uid": 0, "id": "root"}]},
            "upstreams": {name: {**server, "audience": name, **more} for name, more in upstreams.items()},
        }
    )


@pytest.fixture(scope="module", params=SETTINGS)
def broken_into(request: pytest.FixtureRequest) -> Generator[Break]:
    with running(request.param) as found:
        yield found


@contextmanager
def running(setting: str) -> Generator[Break]:
    python, front = starting(setting)
    folder = Path(tempfile.mkdtemp(prefix="opagate-burglar-"))
    port = free_port()
    (folder / "drop").mkdir()
    (folder / "gateway.yaml").write_text(
        configuration(folder, python, port, has_accounts=setting == "account"), "utf-8"
    )
    gateway = sys.executable
    if front:
        gateway = make_environment(folder.with_suffix(".venv"), python)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent" if front else os.environ["HOME"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPAGATE_TEST_SECRET": MARKER,
    }
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [*front, gateway, "-m", "gateway", "up", "--config", str(folder / "gateway.yaml")],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: is_ready(process, port, folder))
        found = Break(folder, port, process, setting)
        found.attempt("environment", "victim")
        yield found
        assert process.poll() is None, "the gateway outlives all attempts"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
        shutil.rmtree(folder.with_suffix(".venv"), ignore_errors=True)


def make_environment(folder: Path, python: str) -> str:
    """Make a virtual environment with this project for an interpreter that each account may run. Return its Python."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(Path(sys.prefix).glob("lib/python*/site-packages"))
    place = next(folder.glob("lib/python*/site-packages"))
    (place / "project.pth").write_text(f"{ROOT}\n{packages}\n", "utf-8")
    return str(folder / "bin/python")


def starting(setting: str) -> tuple[str, Sequence[str]]:
    """Return an interpreter, and the command in front of it that gives the setting."""
    if setting == "same-account":
        return sys.executable, ()
    python = f"/usr/bin/python3.{sys.version_info.minor}"
    if os.geteuid() != 0 or not Path(python).exists() or not os.access(ROOT, os.X_OK):
        skip_or_fail(f"root's rights, and {python} that each account may run, to start a gateway as another account")
    if setting == "account":
        return python, ()
    front = [*LAUNCH, "user", f"{NOBODY}:{NOBODY}"]
    if setting == "container":
        # As the default profile of Docker, it refuses new namespaces and mounts.
        denied = get_filter("all")
        assert denied is not None
        front += ["filter", denied.hex()]
    return python, (*front, "--")


def is_ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "gateway.log").read_text()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def log_of(found: Break) -> str:
    return (found.folder / "gateway.log").read_text()


def test_the_log_says_what_isolates_each_server(broken_into: Break):
    told = [line for line in log_of(broken_into).splitlines() if "upstream.isolation" in line]

    assert len(told) == 3
    expected = "no namespaces" if broken_into.setting == "container" else "a sandbox of namespaces"
    assert all(expected in line for line in told)


def test_the_readiness_probe_says_the_same(broken_into: Break):
    with urllib.request.urlopen(f"http://127.0.0.1:{broken_into.port}/readyz", timeout=300) as answer:
        told = json.load(answer)["isolation"]

    assert set(told) == {"burglar", "online", "victim"}
    assert any("may change" in each for each in told["burglar"]["open"])
    assert any("own port" in each for each in told["online"]["open"])


def test_no_file_of_the_gateway_can_be_read(broken_into: Break):
    own = [path for path in broken_into.folder.rglob("*") if "drop" not in path.parts and not path.is_socket()]
    assert {"gateway.yaml", "grants.yaml", "key.txt", "state", "journal-key"} <= {path.name for path in own}

    assert [path for path in own if not broken_into.refused("read", path=str(path))] == []


def test_no_other_home_or_secret_of_the_machine_can_be_read(broken_into: Break):
    homes = [path for path in Path.home().iterdir() if path.is_file()]
    for path in (
        *homes,
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/var/log",
        "/etc/opagate",
        "/root/.ssh",
        ROOT / ".git",
    ):
        assert broken_into.refused("read", path=str(path)), path


def test_no_path_of_the_gateways_folder_can_be_found(broken_into: Break):
    seen = broken_into.attempt("whole_tree")["got"]

    assert [path for path in seen if str(broken_into.folder) in path and "/drop" not in path] == []
    assert MARKER not in str(seen)


def test_nothing_outside_of_the_declared_folder_can_be_written(broken_into: Break):
    """The server may make such a path in the memory of its sandbox, and no file of the machine changes."""
    folder = broken_into.folder
    before = {path: path.read_bytes() for path in (folder / "grants.yaml", folder / "gateway.yaml", BURGLAR)}
    for path in (folder, folder / "state", *before, "/etc", "/usr/bin", "/etc/passwd", sys.prefix):
        broken_into.attempt("write", "victim", path=str(path))
        broken_into.attempt("replace", "victim", path=str(path))

    assert {path: path.read_bytes() for path in before} == before
    for place in (folder, folder / "state", Path("/etc"), Path("/usr/bin"), Path(sys.prefix)):
        assert [path for path in place.iterdir() if path.name == "planted" or path.suffix == ".fresh"] == []
    assert b"planted" not in Path("/etc/passwd").read_bytes()

    assert broken_into.attempt("write", path=str(folder / "drop"))["got"] == str(folder / "drop/planted")
    assert (folder / "drop/planted").read_text() == "planted\n"


def test_settings_of_the_kernel_cannot_be_written(broken_into: Break):
    """Root's account may write them without any capability, unless they are read-only."""
    for name in ("sys/kernel/core_pattern", "sys/kernel/hostname", "sysrq-trigger", "self/oom_score_adj"):
        assert broken_into.refused("write", path=f"/proc/{name}"), name


def test_a_link_in_the_writable_folder_leads_nowhere(broken_into: Break):
    folder = broken_into.folder
    for to in (
        folder / "state",
        folder / "gateway.yaml",
        "/etc/shadow",
        "/proc/1/root",
        f"/proc/{broken_into.process.pid}/cwd",
    ):
        assert broken_into.refused("link", folder=str(folder / "drop"), to=str(to)), to


def test_a_link_in_the_place_of_the_declared_folder_starts_no_server(broken_into: Break):
    assert broken_into.refused("swap", path=str(broken_into.folder / "drop"), to=str(broken_into.folder / "state"))


def test_no_environment_or_memory_of_another_process_can_be_read(broken_into: Break):
    gateway = broken_into.process.pid

    assert broken_into.refused("environments", marker="OPAGATE_TEST_SECRET=")
    assert broken_into.refused("read", path=f"/proc/{gateway}/environ")
    assert broken_into.refused("memory", process=gateway)
    assert broken_into.refused("trace", process=gateway)
    assert MARKER not in str(broken_into.attempt("environment")["got"])


def test_the_gateway_cannot_be_signalled(broken_into: Break):
    assert broken_into.refused("stop", process=broken_into.process.pid)
    assert broken_into.refused("stop", process=os.getpid())
    assert broken_into.refused("starve", process=broken_into.process.pid)


def test_no_socket_of_the_gateway_can_be_reached(broken_into: Break):
    sockets = list(broken_into.folder.rglob("*.sock"))
    assert {"control.sock"} <= {path.name for path in sockets}

    for path in sockets:
        for upstream in ("burglar", "online"):
            assert "refused" in broken_into.attempt("knock", upstream, path=str(path)), path


def test_no_abstract_socket_of_the_machine_can_be_reached(broken_into: Break):
    """They have no path, and belong to the network namespace, which this server shares."""
    name = f"opagate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        for upstream in ("burglar", "online"):
            assert "refused" in broken_into.attempt("knock", upstream, path=f"@{name}"), upstream


def test_the_gateways_port_is_for_servers_with_the_network_alone(broken_into: Break):
    assert broken_into.refused("call", port=broken_into.port)
    assert "200" in broken_into.attempt("call", "online", port=broken_into.port)["got"]


def test_a_server_has_no_descriptor_beside_its_pipes(broken_into: Break):
    assert broken_into.attempt("descriptors")["got"] == []


def test_no_namespace_mount_or_terminal_can_be_had(broken_into: Break):
    for way, given in (("unshare", {}), ("mount", {"where": "/tmp"}), ("type_in", {})):
        assert broken_into.refused(way, **given), way


def test_memory_files_and_scratch_are_bounded(broken_into: Break):
    assert broken_into.attempt("grow", most=2000)["got"] < 400
    assert broken_into.attempt("open_many", most=1000)["got"] < 200


def test_processes_are_bounded(broken_into: Break):
    assert broken_into.attempt("multiply", most=1000)["got"] < 400


def test_the_honest_part_works(broken_into: Break):
    """The sandbox keeps a home, a place for temporary files, and names of accounts."""
    told = broken_into.attempt("environment")["got"]

    assert "got" in broken_into.attempt("write", path=told["HOME"])
    assert "got" in broken_into.attempt("write", path=told.get("TMPDIR", "/tmp"))
    assert "root" in broken_into.attempt("read", path="/etc/passwd")["got"]


def test_a_kill_of_all_processes_leaves_the_gateway_and_its_other_servers(broken_into: Break):
    broken_into.attempt("stop_all")

    assert broken_into.process.poll() is None
    assert "got" in broken_into.attempt("environment", "victim")


# --- accounts of their own -------------------------------------------------------------------------------


@pytest.fixture
def apart() -> Generator[Break]:
    """A gateway of root with hostile servers under accounts of their own.

    One of the tests kills all processes of an account, so a lock keeps the tests of other workers waiting.
    """
    with (Path(tempfile.gettempdir()) / "opagate-accounts.lock").open("a") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        with running("account") as found:
            yield found


def test_a_server_under_its_account_reads_nothing_of_the_gateway(apart: Break):
    own = [path for path in apart.folder.rglob("*") if path.is_file()]
    assert {"gateway.yaml", "grants.yaml", "key.txt", "journal-key"} <= {path.name for path in own}

    for upstream in ACCOUNTS:
        assert [path for path in own if "refused" not in apart.attempt("read", upstream, path=str(path))] == []
    assert apart.refused("read", path="/etc/shadow")


def test_a_server_under_its_account_writes_nothing_of_the_gateway(apart: Break):
    for path in (apart.folder, apart.folder / "grants.yaml", apart.folder / "state", BURGLAR, Path("/etc/passwd")):
        assert apart.refused("write", path=str(path)), path
        assert apart.refused("replace", path=str(path)), path


def test_a_server_under_its_account_reaches_no_other_process(apart: Break):
    gateway = apart.process.pid

    assert apart.refused("environments", marker="OPAGATE_TEST_SECRET=")
    assert apart.refused("environments", marker=f"TOKEN={MARKER[:4]}"), "of the server with the secret"
    assert apart.refused("memory", process=gateway)
    assert apart.refused("trace", process=gateway)
    assert apart.refused("stop", process=gateway)
    assert MARKER not in str(apart.attempt("environment")["got"])


def test_a_server_under_its_account_reaches_no_socket_of_the_gateway(apart: Break):
    sockets = list(apart.folder.rglob("*.sock"))
    assert sockets
    assert [path for path in sockets if not apart.refused("knock", path=str(path))] == []


def test_a_kill_under_an_account_leaves_the_gateway_and_servers_of_other_accounts(apart: Break):
    apart.attempt("stop_all")

    assert apart.process.poll() is None
    assert "got" in apart.attempt("environment", "victim")
