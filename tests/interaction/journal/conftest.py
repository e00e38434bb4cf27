"""A program that writes to a journal as fast as it can, to be killed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, itertools, sys, time
from pathlib import Path
from gateway.config import JournalSettings
from gateway.model.errors import JournalError
from gateway.record.journal.writer import Journal
from gateway.record.telemetry import logs

async def call(journal, numbers):
    for number in numbers:
        await journal.append("call", {"id": f"d-{number}", "effect": "allow", "arguments": {"mode": "none"}})
        sys.stdout.write(f"call {number}\\n")
        await journal.append("settled", {"id": f"d-{number}", "outcome": "completed", "pad": "x" * (number % 300)})
        sys.stdout.write(f"settled {number}\\n")
        sys.stdout.flush()

async def main():
    path, fsync, segment = sys.argv[1:]
    settings = JournalSettings.model_validate({"path": Path(path), "fsync": fsync, "segment": int(segment)})
    journal = Journal.open(settings, key=b"k" * 32, fingerprints=b"k" * 32, clock=time.time)
    print("open", flush=True)
    numbers = itertools.count()
    await asyncio.gather(*[call(journal, numbers) for _ in range(8)])

logs.configure("json", "error")
try:
    asyncio.run(main())
except JournalError as error:
    sys.exit(f"refused: {error.message}")
"""


@pytest.fixture
def writer_command(tmp_path: Path) -> list[str]:
    """The program; it takes a folder, an fsync policy and a segment size."""
    (tmp_path / "write.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "write.py")]
