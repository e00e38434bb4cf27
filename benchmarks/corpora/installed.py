"""A corpus' packages in a virtual environment of their own, and the recordings made there. Both are kept until they change."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
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
        """The place of exactly these packages, so that other releases of a benchmark keep theirs."""
        return FOLDER / f"{self.name}-{_digest(*self.pinned, *self.needed)}"

    def record(self, script: Path, *arguments: str, depends: str = "") -> list[Recording]:
        """Return the recordings that a script writes, from the cache if neither script, packages nor `depends` changed."""
        digest = _digest(script.read_text(encoding="utf-8"), depends)
        kept = self.folder / "cache" / f"{script.stem}-{digest}.jsonl"
        with self._alone():
            if not kept.exists():
                python = self._install()
                kept.parent.mkdir(exist_ok=True)
                unfinished = kept.with_suffix(".part")
                print(f"recording with {script.name}", file=sys.stderr)
                subprocess.run([python, str(script), str(unfinished), *arguments], check=True, timeout=900)
                unfinished.rename(kept)
        return list(read_lines(kept.read_text(encoding="utf-8")))

    def python(self) -> str:
        """Return the interpreter of the environment. The first time makes it."""
        with self._alone():
            return self._install()

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep other processes from the environment meanwhile."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _install(self) -> str:
        done = self.folder / ".done"
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
