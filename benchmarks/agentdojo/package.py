"""The `agentdojo` package in a virtual environment of its own, and what is recorded there, kept until either changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / ".tools/bench/agentdojo"
PACKAGE: Final = "agentdojo==0.1.35"
SCRIPT: Final = Path(__file__).with_name("extract.py")

Recording = Mapping[str, Any]
"""One line of `extract.py record`."""


def recordings() -> list[Recording]:
    """What `extract.py` records, from the cache if nothing changed. The first time installs the package."""
    key = hashlib.sha256(f"{PACKAGE}\n{SCRIPT.read_text()}".encode()).hexdigest()[:12]
    kept = FOLDER / "cache" / f"recordings-{key}.jsonl"
    if not kept.exists():
        python = _python()
        kept.parent.mkdir(exist_ok=True)
        unfinished = kept.with_suffix(".part")
        print("replaying AgentDojo's ground truths", file=sys.stderr)
        subprocess.run([python, str(SCRIPT), "record", str(unfinished)], check=True, timeout=600)
        unfinished.rename(kept)
    return list(_lines(kept.read_text(encoding="utf-8").splitlines()))


def judged(cases: Iterable[Recording], folder: Path) -> list[Recording]:
    """AgentDojo's own word on each attack, if only the injection's calls in `passed` are made: `reached`."""
    asked = folder / "cases.jsonl"
    asked.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    command = [_python(), str(SCRIPT), "judge", str(asked)]
    answer = subprocess.run(command, check=True, timeout=600, stdout=subprocess.PIPE, text=True)
    return list(_lines(answer.stdout.splitlines()))


def _lines(lines: Iterable[str]) -> Iterator[Recording]:
    return (cast("Recording", json.loads(line)) for line in lines)


def _python() -> str:
    if not (FOLDER / ".done").exists():
        print(f"installing {PACKAGE} into {FOLDER.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
        subprocess.run([str(FOLDER / "bin/python"), "-m", "pip", "install", "-q", PACKAGE], check=True)
        (FOLDER / ".done").touch()
    return str(FOLDER / "bin/python")
