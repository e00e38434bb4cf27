"""The room for connections in the open files of a process. Each case is a process of its own, with a limit of its own."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from gateway.wire.http.capacity import RESERVE
from tests.requirements import requirement

PROGRAM = """
import resource, sys
from pathlib import Path
from gateway import config
from gateway.model.errors import ConfigurationError
from gateway.wire.http.capacity import find_room
try:
    print(find_room(config.parse(sys.argv[1], base=Path())), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
except ConfigurationError as error:
    print(error.message, error.remedy)
"""
LIMITS = "limits: {in_flight: 100, streams: 200}\n"
STDIO = "upstreams: {files: {command: [server], audience: files, isolation: none}}\n"


def found(hard: int, settings: str, soft: int = 256) -> str:
    """Return what a process prints that may open so many files."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, settings],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    return ended.stdout.strip()


@requirement("strangers/reserve")
def test_the_soft_limit_is_raised_and_files_are_kept_for_the_gateway_and_its_upstreams():
    assert found(1024, LIMITS) == f"{1024 - RESERVE - 300} 1024"


@requirement("strangers/reserve")
@pytest.mark.parametrize(("hard", "fits"), [(RESERVE + 600, True), (RESERVE + 599, False)])
def test_limits_beyond_the_open_files_are_refused_with_the_number_that_they_need(hard: int, *, fits: bool):
    said = found(hard, LIMITS)
    assert said == f"300 {hard}" if fits else f"need {RESERVE + 600} open files" in said
    assert fits or f"may open {hard}" in said
    assert fits or "LimitNOFILE=" in said


def test_processes_of_stdio_upstreams_have_their_part():
    accepted = STDIO.replace("none", "{kind: none, accepted_by: tests, until: 2999-01-01}")
    assert found(2048, LIMITS + accepted) == f"{2048 - RESERVE - 300 - 320} 2048"
