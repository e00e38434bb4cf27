"""A real OPA, and a policy for it that can be told to be slow, huge, undefined or wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny_policy

ODD = """
result := {"huge": [x | some x in numbers.range(1, 2000000)]} if input.subject.id == "huge"

result := {"slow": count([1 | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); x == y])} if {
\tinput.subject.id == "slow"
}

result := {"effect": "allow"} if input.subject.id == "wrong"

result := {"at": time.parse_rfc3339_ns(input.subject.at)} if input.subject.id == "strict"
"""
"""Answers that are no decision, for the subjects named so."""


class Opa:
    """An OPA process of this test."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def hang(self) -> None:
        """Returns when all of its threads have stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Opa]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    files = {
        ".manifest": '{"revision": "r1", "roots": ["gateway"]}',
        "gateway/decision/decision.rego": tiny_policy.decision('input.subject.id == "friend"') + ODD,
        "gateway/visibility/visibility.rego": tiny_policy.visibility("input.version == 1"),
    }
    return tiny_policy.write(tmp_path / "policy", files)


@pytest.fixture
def start(opa_path: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts `opa run --server` on an address, with further arguments. All are ended with the test."""
    started: list[Opa] = []

    def run(address: str, *arguments: object) -> Opa:
        log = (tmp_path / f"opa-{len(started)}.log").open("wb")
        command = [opa_path, "run", "--server", "--addr", address, "--log-level", "error", *map(str, arguments)]
        with log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        started.append(Opa(process))
        return started[-1]

    yield run
    for opa in started:
        opa.wake()
        opa.kill()
