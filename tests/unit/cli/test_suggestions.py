"""What a command tells its reader to run next can be run as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gateway import config
from gateway.cli import trial
from tests.unit.cli.conftest import Status


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


def test_what_can_be_tried_with_the_demo_can_be_run(status: Status):
    configuration = config.parse("identity: [{kind: development}]", base=Path())
    commands = [
        words
        for _, line in trial.suggestions(configuration, "--config state/up.yaml")
        for words in re.findall(r"opagate [^()]*", line)
    ]

    assert len(commands) == 5
    assert [command for command in commands if not understood(command, status)] == []
