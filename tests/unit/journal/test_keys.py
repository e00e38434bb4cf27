from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal.keys import load_key, read_key

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_key_is_made_below_the_state_folder(tmp_path: Path):
    key = load_key(tmp_path / "state")

    assert len(key) == 32
    assert load_key(tmp_path / "state") == key
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["journal-key"]


def test_the_key_is_read_without_being_made(tmp_path: Path):
    assert read_key(tmp_path) is None

    assert load_key(tmp_path, random=lambda size: b"r" * size) == b"r" * 32
    assert read_key(tmp_path) == b"r" * 32


@pytest.mark.parametrize("content", [b"", b"short", b"l" * 33])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes):
    path = tmp_path / "journal-key"
    path.write_bytes(content)
    path.chmod(0o600)

    for read in (load_key, read_key):
        with pytest.raises(JournalError, match=r"the journal's key .* is damaged"):
            read(tmp_path)
    assert path.read_bytes() == content
