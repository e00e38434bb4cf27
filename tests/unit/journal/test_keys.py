from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal.keys import load_key, read_key

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_key_is_made_for_its_owner_only(tmp_path: Path):
    key = load_key(tmp_path / "state")

    assert len(key) == 32
    assert load_key(tmp_path / "state") == key
    assert (tmp_path / "state/journal-key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["journal-key"]


def test_the_key_is_read_without_being_made(tmp_path: Path):
    assert read_key(tmp_path) is None

    assert load_key(tmp_path, random=lambda size: b"r" * size) == b"r" * 32
    assert read_key(tmp_path) == b"r" * 32


def test_a_key_that_another_process_made_first_is_kept(tmp_path: Path):
    def random(size: int) -> bytes:
        load_key_of_the_other = tmp_path / "journal-key"
        load_key_of_the_other.write_bytes(b"o" * size)
        load_key_of_the_other.chmod(0o600)
        return b"m" * size

    assert load_key(tmp_path, random=random) == b"o" * 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int):
    load_key(tmp_path)
    (tmp_path / "journal-key").chmod(mode)

    with pytest.raises(JournalError, match="others may use") as caught:
        load_key(tmp_path)
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"short", b"l" * 33])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes):
    path = tmp_path / "journal-key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(JournalError, match="is damaged"):
        load_key(tmp_path)
    assert path.read_bytes() == content


def test_a_link_in_the_place_of_the_key_is_refused(tmp_path: Path):
    (tmp_path / "elsewhere").write_bytes(b"e" * 32)
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "journal-key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(JournalError, match="cannot be read"):
        load_key(tmp_path)
    with pytest.raises(JournalError, match="cannot be read"):
        read_key(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_said_to_be_so(tmp_path: Path):
    (tmp_path / "state").write_text("a file")

    with pytest.raises(JournalError, match=r"cannot be read or made: Not a directory"):
        load_key(tmp_path / "state/below")
