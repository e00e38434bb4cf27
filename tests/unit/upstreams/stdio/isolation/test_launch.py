"""The start of a server by the configured kind of isolation, and the conditions of each kind."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Upstream
from gateway.config.own_files import OwnFiles
from gateway.model.errors import ConfigurationError
from gateway.upstreams.stdio.isolation import launch as launch_module
from gateway.upstreams.stdio.isolation.description import describe
from gateway.upstreams.stdio.isolation.launch import KEPT_HOME, Launcher, clean, may_use
from gateway.upstreams.stdio.isolation.machine import Machine, examine

ENV = {"PATH": "/usr/bin:/bin", "HOME": "/home/nobody-here", "TMPDIR": "/var/tmp", "OWN": "x"}
NOTHING = Machine(None, 0, "user namespaces are refused")
FENCE = Machine(None, 7, "user namespaces are refused")
NOBODY = pwd.getpwuid(65534)


def launcher_of(state: Path, machine: Machine | None = None, **settings: Any) -> Launcher:
    upstream = Upstream.model_validate({"command": ("true",), "audience": "a", **settings})
    own = OwnFiles((state / "key",))
    return Launcher("files", upstream, own, state, find_machine=lambda: machine or examine())


def test_without_namespaces_and_landlock_no_server_starts(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="user namespaces are refused") as caught:
        launcher_of(tmp_path, NOTHING).prepare(ENV)

    assert "install bubblewrap" in caught.value.remedy
    assert "isolation" in caught.value.remedy


def test_landlock_without_signals_is_no_fence(tmp_path: Path):
    with pytest.raises(ConfigurationError):
        launcher_of(tmp_path, replace(FENCE, landlock=5)).require()


def test_a_list_of_ports_needs_a_kernel_with_such_rules(tmp_path: Path):
    old = Machine("/usr/bin/bwrap", 3)
    launcher_of(tmp_path, old, network=True).require()

    with pytest.raises(ConfigurationError, match="no rules for ports"):
        launcher_of(tmp_path, old, network=[443]).require()


def test_an_accepted_server_starts_as_it_is_until_its_date(tmp_path: Path):
    accepted = {"kind": "none", "accepted_by": "ada", "until": "2999-01-01"}
    found = launcher_of(tmp_path, NOTHING, isolation=accepted).prepare(ENV)
    assert (found.command, dict(found.env), found.has_monitor) == (("true",), ENV, False)

    late = launcher_of(tmp_path, NOTHING, isolation={**accepted, "until": "2020-01-01"})
    with pytest.raises(ConfigurationError, match="which ada accepted until 2020-01-01"):
        late.prepare(ENV)


def test_a_server_behind_the_fence_gets_a_private_scratch_folder_as_its_home(tmp_path: Path):
    launcher = launcher_of(tmp_path, FENCE)
    one, other = launcher.prepare(ENV), launcher.prepare(ENV)

    assert one.scratch != other.scratch
    assert one.scratch is not None
    assert one.scratch.stat().st_mode & 0o777 == 0o700
    assert {one.env["HOME"], one.env["TMPDIR"]} == {str(one.scratch)}
    assert not one.has_monitor

    clean(tmp_path)
    assert not one.scratch.exists()


def test_a_program_that_fetches_packages_keeps_its_home(tmp_path: Path):
    npx = tmp_path / "bin/npx"
    npx.parent.mkdir()
    npx.write_text("#!/bin/sh\n")
    npx.chmod(0o755)
    found = launcher_of(tmp_path / "state", command=(str(npx), "-y", "server@1.0.0")).prepare(ENV)

    assert found.env["HOME"] == str(KEPT_HOME)
    assert (tmp_path / "state/homes/files").stat().st_mode & 0o777 == 0o700
    assert "packages that it fetched" in str(describe(launcher_of(tmp_path, command=(str(npx),))))


def test_a_sandbox_has_no_temporary_folder_of_the_machine(tmp_path: Path):
    found = launcher_of(tmp_path).prepare(ENV)

    assert "TMPDIR" not in found.env
    assert (found.env["OWN"], found.env["HOME"]) == ("x", ENV["HOME"])


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("no-such-account", "there is no account"),
        (pwd.getpwuid(0).pw_name, "the superuser"),
        (pwd.getpwuid(os.geteuid()).pw_name, "superuser or"),
    ],
)
def test_an_account_has_to_be_another_one(tmp_path: Path, user: str, expected: str):
    with pytest.raises(ConfigurationError, match=expected):
        launcher_of(tmp_path, isolation={"kind": "account", "user": user}).require()


def test_an_account_needs_the_rights_to_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch_module.machine, "may_change_accounts", lambda: False)
    wanted = {"kind": "account", "user": NOBODY.pw_name}

    with pytest.raises(ConfigurationError, match="may not start processes of another account") as caught:
        launcher_of(tmp_path, isolation=wanted).require()
    assert "CAP_SETUID" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="MISSING TOOL: root's rights, to take another account")
def test_a_server_runs_as_its_account_without_rights_and_cannot_use_own_files(tmp_path: Path):
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key").chmod(0o600)
    wanted = {"kind": "account", "user": NOBODY.pw_name}
    command = ("/bin/sh", "-c", f"id -u; id -G; grep CapEff /proc/self/status; cat {tmp_path / 'key'}")
    found = launcher_of(tmp_path, command=command, isolation=wanted).prepare(ENV)

    told = subprocess.run(found.command, env=dict(found.env), capture_output=True, text=True, check=False)

    assert told.stdout.split() == [str(NOBODY.pw_uid), str(NOBODY.pw_gid), "CapEff:", "0000000000000000"]
    assert "Permission denied" in told.stderr


def _may_use_keys(_account: pwd.struct_passwd, path: Path) -> bool:
    return path.name == "key"


def test_an_account_that_can_use_an_own_file_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch_module.machine, "may_change_accounts", lambda: True)
    monkeypatch.setattr(launch_module, "may_use", _may_use_keys)

    with pytest.raises(ConfigurationError, match=r"can use .*key, which is the gateway's own"):
        launcher_of(tmp_path, isolation={"kind": "account", "user": NOBODY.pw_name}).require()


@pytest.mark.parametrize(
    ("folder", "file", "expected"),
    [(0o755, 0o644, True), (0o755, 0o640, False), (0o755, 0o602, True), (0o700, 0o644, False), (0o711, 0o644, True)],
)
def test_the_modes_of_a_file_and_its_folders_say_who_may_use_it(folder: int, file: int, expected: bool):  # noqa: FBT001 - a parameter
    place = Path("/tmp") / f"opagate-modes-{os.getpid()}"
    place.mkdir()
    try:
        (place / "a").write_text("x")
        (place / "a").chmod(file)
        place.chmod(folder)
        assert may_use(NOBODY, place / "a") is expected
    finally:
        place.chmod(0o700)
        (place / "a").unlink()
        place.rmdir()


def test_the_description_names_what_is_open(tmp_path: Path):
    box = Machine("/usr/bin/bwrap", 7, is_counted=True)
    closed = describe(launcher_of(tmp_path, box))
    online = describe(launcher_of(tmp_path, box, network=True, files={"write": ["/srv/x"]}))
    ports = describe(launcher_of(tmp_path, box, network=[443, 5432]))
    fence = describe(launcher_of(tmp_path, FENCE))
    nothing = describe(launcher_of(tmp_path, isolation={"kind": "none", "accepted_by": "ada", "until": "2999-01-01"}))

    assert (closed.leaves_open, closed.is_open) == ((), False)
    assert "the gateway's own port" in str(online.leaves_open)
    assert "/srv/x" in str(online.leaves_open)
    assert "TCP ports 443, 5432" in str(ports.leaves_open)
    assert "no namespaces: user namespaces are refused" in fence.by
    assert "command lines of other processes" in str(fence.leaves_open)
    assert (nothing.is_open, "ada accepts that until 2999-01-01" in nothing.by) == (True, True)


def run(launcher: Launcher) -> subprocess.CompletedProcess[str]:
    found = launcher.prepare({"PATH": os.environ["PATH"], "HOME": "/root"})
    return subprocess.run(found.command, env=dict(found.env), capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("machine", [None, FENCE], ids=["namespaces", "fence"])
def test_a_port_outside_of_the_list_is_refused(tmp_path: Path, machine: Machine | None):
    import socket  # noqa: PLC0415 - for this test alone

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
        script = tmp_path / "app/ask.py"
        script.parent.mkdir()
        script.write_text(
            "import socket, sys\n"
            "for port in sys.argv[1:]:\n"
            "    try: socket.create_connection(('127.0.0.1', int(port)), 5); print('open')\n"
            "    except OSError as error: print(error.strerror)\n"
        )
        command = (sys.executable, "-I", str(script), *map(str, ports))
        told = run(launcher_of(tmp_path / "state", machine, command=command, network=[ports[0]]))

    assert told.stdout.splitlines() == ["open", "Permission denied"], told.stderr


@pytest.mark.parametrize("machine", [None, FENCE], ids=["namespaces", "fence"])
def test_a_status_and_a_missing_program_are_told(tmp_path: Path, machine: Machine | None):
    assert run(launcher_of(tmp_path, machine, command=("/bin/sh", "-c", "exit 7"))).returncode == 7
    with pytest.raises(FileNotFoundError):
        launcher_of(tmp_path, machine, command=("no-such-program",)).prepare(ENV)


@pytest.mark.parametrize("machine", [None, FENCE], ids=["namespaces", "fence"])
def test_a_project_that_is_installed_to_be_edited_can_be_imported_without_its_hidden_files(
    tmp_path: Path, machine: Machine | None
):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    place = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    project = tmp_path / "project"
    (project / "package").mkdir(parents=True)
    (project / "package/__init__.py").write_text("FOUND = 'found'\n")
    (project / ".env").write_text("secret\n")
    (place / "edited.pth").write_text(f"{project}\n")
    code = f"import package; print(package.FOUND); print(open({str(project / '.env')!r}).read())"

    told = run(launcher_of(tmp_path / "state", machine, command=(str(tmp_path / "venv/bin/python"), "-c", code)))

    assert told.stdout == "found\n"
    assert ".env" in told.stderr


@pytest.mark.parametrize("machine", [None, FENCE], ids=["namespaces", "fence"])
def test_the_loader_takes_no_code_of_a_server_into_the_processes_around_it(tmp_path: Path, machine: Machine | None):
    """Its library would run outside of the sandbox, with the authority of the gateway."""
    env = {"PATH": os.environ["PATH"], "LD_PRELOAD": str(tmp_path / "own.so"), "GLIBC_TUNABLES": "glibc.malloc.check=1"}
    found = launcher_of(tmp_path, machine, command=("/bin/sh", "-c", "echo $LD_PRELOAD $GLIBC_TUNABLES")).prepare(env)

    assert not {"LD_PRELOAD", "GLIBC_TUNABLES"} & set(found.env)
    told = subprocess.run(found.command, env=dict(found.env), capture_output=True, text=True, check=False, timeout=300)
    assert told.stdout == f"{tmp_path / 'own.so'} glibc.malloc.check=1\n"
