"""A forked command is what the command is: the tests that fork it prove no less."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked_gateway
from tests.machine import skip_or_fail

pytestmark = pytest.mark.skipif(not forked_gateway.CAN_FORK, reason="pidfd_open(2) is of Linux")


@pytest.mark.parametrize("words", [["--version"], ["--nonsense"], ["up", "--config", "missing.yaml"]])
def test_it_prints_and_ends_as_the_command_does(words: list[str], tmp_path: Path):
    environment = os.environ | {"COLUMNS": "80"}
    forked = forked_gateway.run(words, tmp_path, environment)
    command = [sys.executable, "-m", "gateway", *words]
    alone = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )

    assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_it_has_the_environment_that_it_is_given_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UPSTREAM_TOKEN", "of-the-tests")
    (tmp_path / "gateway.yaml").write_text(
        "identity: [{kind: anonymous}]\nupstreams:\n  files: {url: 'http://127.0.0.1:9/', audience: files,"
        " credential: {kind: header, name: x-key, value: '${UPSTREAM_TOKEN}'}}\n"
    )
    without = {name: value for name, value in os.environ.items() if name != "UPSTREAM_TOKEN"}

    done = forked_gateway.run(["check", "--config", "gateway.yaml"], tmp_path, without)

    assert "UPSTREAM_TOKEN is not set" in " ".join((done.stdout + done.stderr).split())


def files_of(process: int) -> set[str]:
    """Return the open files of a gateway, which only CAP_SYS_PTRACE shows."""
    try:
        return {str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()}
    except PermissionError:
        skip_or_fail("the open files of a gateway; run the tests as root")
        return set()


def test_it_holds_no_file_of_another_and_its_end_by_a_signal_is_told(tmp_path: Path):
    os.mkfifo(tmp_path / "gateway.yaml")  # it waits for a writer
    with (tmp_path / "mine").open("wb") as mine, (tmp_path / "out").open("wb") as output:
        os.set_inheritable(mine.fileno(), True)  # noqa: FBT003 - its only argument
        process = forked_gateway.start(["up"], tmp_path, output, os.environ)
        held = files_of(process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()

        assert process.wait(30) == -signal.SIGKILL
    assert str(tmp_path / "mine") not in held
    assert str(tmp_path / "out") in held
