"""The command line, in the process of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.surfaces.cli import root

Status = Callable[..., int]


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Status:
    """Runs the command line in an empty folder, and gives its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["opagate", *words])
        with pytest.raises(SystemExit) as ended:
            root.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run
