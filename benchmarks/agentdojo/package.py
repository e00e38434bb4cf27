"""The `agentdojo` package: its recordings, and its own check of what an attack reached."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.corpora.installed import Environment, Recording, read_lines

PACKAGE: Final = Environment(
    "agentdojo",
    ("agentdojo==0.1.35 --hash=sha256:364bea4219716b716bf639f504d195943f7f6a5535d312ca41d7098704a2affd",),
    ("agentdojo==0.1.35",),
)
SCRIPT: Final = Path(__file__).with_name("extract.py")


def recordings() -> list[Recording]:
    """Return the recordings of `extract.py`. The first time installs the package."""
    return PACKAGE.record(SCRIPT)


def judged(cases: Iterable[Recording], folder: Path) -> list[Recording]:
    """Return AgentDojo's own word on each attack, if only the injection's calls in `passed` are made: `reached`."""
    asked = folder / "cases.jsonl"
    asked.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    command = [PACKAGE.python(), str(SCRIPT), str(asked), "judge"]
    answer = subprocess.run(command, check=True, timeout=3600, stdout=subprocess.PIPE, text=True)
    return list(read_lines(answer.stdout))
