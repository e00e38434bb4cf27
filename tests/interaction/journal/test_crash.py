"""A gateway that is killed while it writes: what was acknowledged is there, and the chain goes on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from gateway.config import JournalSettings
from gateway.model.errors import JournalError
from gateway.record.journal.reader import entries, verify
from gateway.record.journal.verification import Fault
from gateway.record.journal.writer import Journal

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"k" * 32


def opened(folder: Path) -> Journal:
    return Journal.open(JournalSettings(path=folder), key=KEY, fingerprints=KEY, clock=time.time)


def killed_under_load(command: list[str], folder: Path, fsync: str, lines: int) -> set[str]:
    """Run the program, kill it with SIGKILL after so many acknowledgements; all that it acknowledged."""
    with subprocess.Popen([*command, str(folder), fsync, "20000"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    assert seen[0] == "open\n"
    return {line.strip() for line in seen[1:] if line.endswith("\n")}


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
async def test_a_gateway_that_is_killed_under_load_loses_nothing_that_it_acknowledged(
    writer_command: list[str], tmp_path: Path, fsync: str
):
    folder = tmp_path / "journal"
    for turn in range(4):
        acknowledged = await asyncio.to_thread(killed_under_load, writer_command, folder, fsync, 120 + 97 * turn)
        crashed = verify(folder, key=KEY)
        assert {problem.fault for problem in crashed.problems} <= {Fault.TORN}

        journal = opened(folder)
        await journal.close()
        result = verify(folder, key=KEY, head=journal.head)
        assert result.ok, result.problems
        recorded = {f"{e['kind']} {str(e['id']).removeprefix('d-')}" for e in entries(folder) if "id" in e}
        assert acknowledged <= recorded
        assert sum(e["kind"] == "abandoned" for e in entries(folder)) <= 8 * (turn + 1)
        calls = [e["id"] for e in entries(folder) if e["kind"] == "call"]
        ends = [e["id"] for e in entries(folder) if e["kind"] in {"settled", "abandoned"}]
        assert sorted(map(str, calls)) == sorted(map(str, ends))


def test_a_second_gateway_is_refused_while_the_first_runs_and_not_after(writer_command: list[str], tmp_path: Path):
    folder = tmp_path / "journal"
    with subprocess.Popen(
        [*writer_command, str(folder), "never", "1000000000"], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        second = subprocess.run(
            [*writer_command, str(folder), "never", "20000"], capture_output=True, text=True, check=False, timeout=300
        )
        with pytest.raises(JournalError, match="another gateway writes"):
            opened(folder)
        first.kill()
        first.stdout.read()

    assert second.returncode == 1
    assert second.stderr.startswith("refused: another gateway writes to the journal")
    asyncio.run(opened(folder).close())
    assert verify(folder, key=KEY).ok


def test_a_journal_is_verified_while_it_is_written(writer_command: list[str], tmp_path: Path):
    folder = tmp_path / "journal"
    with subprocess.Popen(
        [*writer_command, str(folder), "never", "200000"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(12):
            for _ in range(300):
                process.stdout.readline()
            result = verify(folder, key=KEY)
            assert result.ok, result.problems
            assert not result.stopped
        process.kill()
        process.stdout.read()
