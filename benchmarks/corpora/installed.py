"""A corpus' packages in a virtual environment of their own, and the recordings made there. Both are kept until they change."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / ".tools/bench"

Recording = Mapping[str, Any]
"""One line of a recording script: a suite with its tools and directory, a task alone, or a task with an attack."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment. `pinned` are requirements with a hash, installed without their dependencies, many of which
    no recording needs. `needed` are the dependencies that recordings do need."""

    name: str
    pinned: tuple[str, ...]
    needed: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    def record(self, script: Path, *arguments: str, depends: str = "") -> list[Recording]:
        """Return the recordings that a script writes, from the cache if neither script, packages nor `depends` changed."""
        digest = _digest(*self.pinned, *self.needed, script.read_text(encoding="utf-8"), depends)
        kept = self.folder / "cache" / f"{script.stem}-{digest}.jsonl"
        if not kept.exists():
            python = self.python()
            kept.parent.mkdir(exist_ok=True)
            unfinished = kept.with_suffix(".part")
            print(f"recording with {script.name}", file=sys.stderr)
            subprocess.run([python, str(script), str(unfinished), *arguments], check=True, timeout=900)
            unfinished.rename(kept)
        return list(read_lines(kept.read_text(encoding="utf-8")))

    def python(self) -> str:
        """Return the interpreter of the environment. The first time makes it."""
        done = self.folder / f".done-{_digest(*self.pinned, *self.needed)}"
        if not done.exists():
            print(f"installing {self.name} into {self.folder.relative_to(ROOT)}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder)], check=True)
            pins = self.folder / "pinned.txt"
            pins.write_text("\n".join(self.pinned) + "\n", encoding="utf-8")
            install = [str(self.folder / "bin/python"), "-m", "pip", "install", "-q"]
            subprocess.run([*install, "--no-deps", "--require-hashes", "-r", str(pins)], check=True)
            subprocess.run([*install, *self.needed], check=True)
            done.touch()
        return str(self.folder / "bin/python")


def read_lines(text: str) -> Iterator[Recording]:
    return (cast("Recording", json.loads(line)) for line in text.splitlines())


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
