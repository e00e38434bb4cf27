from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal.keys import load_key, read_key

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_key_is_made_below_the_state_folder(tmp_path: Path):
    key = load_key(tmp_path / "state", tmp_path / "journal")

    assert len(key) == 32
    assert load_key(tmp_path / "state", tmp_path / "journal") == key
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["journal-key"]


def test_the_key_is_read_without_being_made(tmp_path: Path):
    assert read_key(tmp_path) is None

    assert load_key(tmp_path, tmp_path / "journal", random=lambda size: b"r" * size) == b"r" * 32
    assert read_key(tmp_path) == b"r" * 32


@pytest.mark.parametrize("content", [b"", b"short", b"l" * 33])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes):
    path = tmp_path / "journal-key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(JournalError, match=r"the journal's key .* is damaged"):
        read_key(tmp_path)
    with pytest.raises(JournalError, match=r"the journal's key .* is damaged"):
        load_key(tmp_path, tmp_path / "journal")
    assert path.read_bytes() == content


def test_no_new_key_is_made_for_a_journal_that_was_written_with_another(tmp_path: Path):
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "00000001.jsonl").write_bytes(b"")

    with pytest.raises(JournalError, match=r"journal was written with a key that is not there: .*/journal-key") as lost:
        load_key(tmp_path, journal)

    assert "put it back from a copy" in lost.value.remedy
    assert read_key(tmp_path) is None
