from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import forked_gateway

ROOT = Path(__file__).resolve().parents[3]
TRACEBACK = "Traceback"


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Opagate = Callable[..., Done]


@pytest.fixture
def opagate(tmp_path: Path) -> Opagate:
    """Run the real command in `tmp_path`."""
    return partial(run_opagate, tmp_path)


def run_opagate(folder: Path, *arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> Done:
    """Run the real command in a folder. It must never print a traceback."""
    own = os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {})
    if "PYTHONPATH" in (environment or {}):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=folder,
            env=own,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    else:
        done = forked_gateway.run(arguments, folder, own, given=stdin, timeout=300)
    assert TRACEBACK not in done.stderr + done.stdout, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Tour:
    """What the scripted agent of `opagate up --once` left: what was printed, and its record."""

    done: Done
    state: Path


@pytest.fixture(scope="session")
def first_tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    folder = tmp_path_factory.mktemp("tour")
    done = run_opagate(folder, "up", "--once", "--state", "state", "--json")
    assert done.status == 0, done.err
    return Tour(done, folder / "state")


@pytest.fixture
def tour(first_tour: Tour, tmp_path: Path) -> Done:
    """A tour whose record is in `state`, for the test alone."""
    shutil.copytree(first_tour.state, tmp_path / "state")
    return first_tour.done
