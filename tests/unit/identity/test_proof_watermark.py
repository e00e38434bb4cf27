"""How far ahead of the clock proofs were accepted, from one process to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.identity.dpop import FILE, ProofWatermark


def test_what_was_noted_is_known_to_the_next_process(tmp_path: Path):
    mark = ProofWatermark(tmp_path)
    assert mark.until == 0.0
    assert mark.note(10.2)

    assert mark.until == ProofWatermark(tmp_path).until == 11.0


def test_it_is_written_at_most_once_for_the_proofs_of_a_second(tmp_path: Path):
    mark = ProofWatermark(tmp_path)
    mark.note(10.2)
    (tmp_path / FILE).unlink()

    assert mark.note(10.2)
    assert mark.note(11.0)
    assert not (tmp_path / FILE).exists()
    assert mark.note(11.5)
    assert ProofWatermark(tmp_path).until == 12.0


def test_its_folder_is_made_for_its_owner_alone(tmp_path: Path):
    state = tmp_path / "deep" / "state"
    free = os.dup(0)
    os.close(free)

    assert ProofWatermark(state).note(10.0)
    assert (state.stat().st_mode & 0o777, (state / FILE).stat().st_mode & 0o777) == (0o700, 0o600)
    again = os.dup(0)
    os.close(again)
    assert again == free, "no file is left open"


@pytest.mark.parametrize("content", [b"", b"soon", b"1e9", b"\xff"])
def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path, content: bytes):
    (tmp_path / FILE).write_bytes(content)

    assert ProofWatermark(tmp_path).until == 0.0


def test_what_cannot_be_written_is_not_accepted(tmp_path: Path):
    (tmp_path / "state").write_text("a file in the place of the folder", encoding="utf-8")
    mark = ProofWatermark(tmp_path / "state")

    assert not mark.note(10.0)
    assert mark.until == 0.0
