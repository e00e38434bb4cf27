from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
    """Run the real command in `tmp_path`; it must never print a traceback."""

    def run(*arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])} | (environment or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert TRACEBACK not in done.stderr + done.stdout, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run
