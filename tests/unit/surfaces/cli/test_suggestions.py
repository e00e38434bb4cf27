"""What a command tells its reader to run next can be run as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gateway import config
from gateway.surfaces.cli import trial
from tests.unit.surfaces.cli.conftest import Status


def understood(command: str, status: Status) -> bool:
    """Whether the words are those of the command line; nothing is run."""
    words = [word for word in re.split(r" {2,}", command)[0].split(" ", 1)[1:] for word in shlex.split(word)]
    return status(*words, "--help") == 0


def test_what_init_names_next_can_be_run(status: Status, capsys: pytest.CaptureFixture[str]):
    assert status("init", "--output", "here.yaml") == 0
    said = capsys.readouterr().out.partition("Next\n")[2]
    commands = re.findall(r"^ +(opagate .*)$", said, re.MULTILINE)

    assert len(commands) == 4
    assert [command for command in commands if not understood(command, status)] == []


@pytest.mark.parametrize("on_path", [True, False])
def test_the_program_is_named_as_a_shell_here_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, on_path: bool
):
    own = tmp_path / ".venv/bin/opagate"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(own), "up"])
    monkeypatch.setenv("PATH", str(own.parent) if on_path else "/usr/bin")

    assert trial.program() == ("opagate" if on_path else ".venv/bin/opagate")


def test_another_opagate_on_the_path_is_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for folder in ("own", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "opagate").write_text("#!/bin/sh\n")
        (tmp_path / folder / "opagate").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "own/opagate"), "up"])
    monkeypatch.setenv("PATH", str(tmp_path / "other"))

    assert trial.program() == "own/opagate"


def test_what_can_be_tried_with_the_demo_can_be_run(status: Status):
    configuration = config.parse("identity: [{kind: development}]", base=Path())
    commands = [
        words
        for _, line in trial.suggestions(configuration, "--config state/up.yaml")
        for words in re.findall(r"opagate [^()]*", line)
    ]

    assert len(commands) == 7
    assert [command for command in commands if not understood(command, status)] == []
