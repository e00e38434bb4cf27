"""`opagate init service` writes a unit after showing what changes, and takes it away."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.surfaces.cli.service import FILE
from tests.interaction.cli.conftest import Opagate

ROOT = Path(__file__).resolve().parents[3]
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def run(opagate: Opagate, home: Path, *arguments: str, answer: str = ""):
    return opagate("init", "service", "--user", *arguments, stdin=answer, environment={"XDG_CONFIG_HOME": str(home)})


def test_a_unit_is_shown_and_written_after_a_yes_and_not_after_a_no(opagate: Opagate, tmp_path: Path):
    opagate("init")
    target = tmp_path / "home/systemd/user" / FILE

    refused = run(opagate, tmp_path / "home", answer="n\n")
    there = target.exists()
    written = run(opagate, tmp_path / "home", answer="y\n")

    assert (refused.status, there, written.status) == (1, False, 0)
    assert f"+ExecStart={shutil.which('true')}" not in written.out
    assert f"up --config {tmp_path}/gateway.yaml" in target.read_text("utf-8")
    assert f"+++ {target}" in written.out
    assert "systemctl --user daemon-reload" in written.err


def test_an_equal_unit_is_left_and_a_changed_one_is_shown_as_a_difference(opagate: Opagate, tmp_path: Path):
    opagate("init")
    run(opagate, tmp_path / "home", "--yes")

    again = run(opagate, tmp_path / "home")
    changed = run(opagate, tmp_path / "home", "--yes", "--credential", "chain=/etc/opagate/credentials/chain")

    assert (again.status, again.out) == (0, "")
    assert "as it should be" in again.err
    added = [row for row in changed.out.splitlines() if row.startswith("+") and not row.startswith("+++")]
    assert "+LoadCredential=chain:/etc/opagate/credentials/chain" in added
    assert len(added) <= 4


def test_a_unit_is_removed_and_a_second_removal_has_nothing_to_do(opagate: Opagate, tmp_path: Path):
    opagate("init")
    run(opagate, tmp_path / "home", "--yes")

    removed = run(opagate, tmp_path / "home", "--remove", "--yes")
    again = run(opagate, tmp_path / "home", "--remove", "--yes")

    assert (removed.status, again.status) == (0, 0)
    assert not (tmp_path / "home/systemd/user" / FILE).exists()
    assert "-ExecStart=" in removed.out
    assert "not there" in again.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "missing.yaml"),
        ("--credential", "chain"),
        ("--credential", "chain=relative"),
        ("--credential", "a b=/x"),
        ("--credential", "x=/y\nExecStartPre=/bin/sh"),
        ("--credential", "\u00e9=/x"),
        ("--credential", "x=/y\tz"),
    ],
)
def test_what_is_no_unit_is_refused_in_a_sentence(arguments: tuple[str, ...], opagate: Opagate, tmp_path: Path):
    opagate("init")

    refused = run(opagate, tmp_path / "home", "--yes", *arguments)

    assert refused.status == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("account", ["a\nExecStartPre=/bin/sh", "%i", "a b", "-a", ""])
def test_a_name_that_is_no_account_is_refused(account: str, opagate: Opagate):
    opagate("init")

    # Without a yes nothing is written, on a machine with a system unit too.
    refused = opagate("init", "service", "--account", account, stdin="n\n")

    assert refused.status == 2
    assert "no name of an account" in refused.err


@needs_systemd
@pytest.mark.parametrize("folder", ["plain", "with space", "100%"])
def test_systemd_takes_the_unit(folder: str, opagate: Opagate, tmp_path: Path):
    (tmp_path / folder).mkdir()
    opagate("init", "--output", f"{folder}/gateway.yaml")
    credential = f"chain={tmp_path / folder}/chain"
    run(opagate, tmp_path / "home", "--yes", "--config", f"{folder}/gateway.yaml", "--credential", credential)
    target = tmp_path / "home/systemd/user" / FILE

    verified = subprocess.run(
        ["systemd-analyze", "verify", str(target)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (verified.returncode, [row for row in verified.stderr.splitlines() if FILE in row]) == (0, [])


@needs_systemd
def test_systemd_takes_the_unit_of_the_repository_and_finds_it_closed(tmp_path: Path):
    text = (ROOT / "deploy/systemd" / FILE).read_text("utf-8")
    copy = tmp_path / FILE
    copy.write_text(text.replace("/opt/opagate/.venv/bin/opagate", "/bin/true"), "utf-8")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=35", str(copy)]

    verified = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    rated = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert (verified.returncode, [row for row in verified.stderr.splitlines() if FILE in row]) == (0, [])
    assert rated.returncode == 0, rated.stdout[-200:]
