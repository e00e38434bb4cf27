"""A running gateway is copied, and another one goes on from the copy: it ends the open leases, and its journal goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.left_behind import check_all_ended, open_leases
from tests.e2e.running import mortal_gateway
from tests.e2e.test_leases import carried, configured
from tests.e2e.wire import caller, entries, until, verified
from tests.requirements import requirement
from tests.servers.serving import ServerProcess


def opagate(*arguments: str, expected: int = 0) -> str:
    command = [sys.executable, "-c", "from gateway.surfaces.cli.root import main; main()", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == expected, result.stdout + result.stderr
    return result.stdout + result.stderr


@requirement("operations/backup")
def test_a_copy_of_a_running_gateway_ends_its_leases_where_it_is_restored(echo_server: ServerProcess, tmp_path: Path):
    first, second, copy = tmp_path / "first", tmp_path / "second", tmp_path / "copy"
    first.mkdir()
    second.mkdir()
    config = configured(first, echo_server.mcp)
    configured(second, echo_server.mcp)
    with mortal_gateway(config, first) as gateway:
        ann = caller(gateway, "ann", "task")
        ann.call("echo", text="before-the-copy")
        opagate("journal", "state", "backup", str(copy), "--with-keys", "--config", str(first / "gateway.yaml"))
        ann.call("echo", text="after-the-copy")
        gateway.process.kill()
        gateway.process.wait(30)
    before = len(entries(first))

    (second / "gateway.yaml").write_text((first / "gateway.yaml").read_text("utf-8"), "utf-8")
    opagate("journal", "state", "restore", str(copy), "--config", str(second / "gateway.yaml"))
    assert len(open_leases(second)) >= 1
    assert 0 < len(entries(second)) < before
    with mortal_gateway(config, second) as gateway:
        until(lambda: "restart" in {entry.get("cause") for entry in entries(second, "lease")})
        caller(gateway, "ann", "task").call("echo", text="from-the-copy")
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    (noted,) = entries(second, "restored")
    assert noted["made"]
    assert verified(second).ok
    check_all_ended(second, [carried(echo_server, "before-the-copy"), carried(echo_server, "from-the-copy")])
    shutil.rmtree(copy)


@requirement("operations/backup")
def test_a_start_that_cannot_read_an_open_lease_names_it_and_does_not_go_on(echo_server: ServerProcess, tmp_path: Path):
    config = configured(tmp_path, echo_server.mcp)
    with mortal_gateway(config, tmp_path) as gateway:
        caller(gateway, "ann", "task").call("echo", text="left-open")
        gateway.process.kill()
        gateway.process.wait(30)
    at = ("--config", str(tmp_path / "gateway.yaml"))
    key = tmp_path / "state/sealing-key"
    key.write_bytes(bytes(32))

    said = opagate("up", *at, expected=2)
    # The kill may come between the end of a lease and its entry in the journal.
    left = [name for name in sorted(open_leases(tmp_path)) if name in said]
    assert left
    assert "opagate journal state forget lease" in said
    checked = opagate("journal", "state", "check", *at, expected=1)
    assert all(name in checked for name in left)
    forgotten = opagate("journal", "state", "forget", "lease", *at)
    assert all(name in forgotten for name in left)
    assert [entry["ids"] for entry in entries(tmp_path, "forgotten")] == [left]
    opagate("journal", "state", "check", *at)
