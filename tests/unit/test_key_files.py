"""The gateway's own keys: made whole, for its user alone, and refused when somebody else could know or choose them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigurationError, JournalError
from gateway.key_files import MAX_BYTES, KeyFile

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"k" * 32


def _file(path: Path) -> KeyFile:
    return KeyFile(path, "the test's key", JournalError)


def _never() -> bytes:
    raise AssertionError("a key was made")


@pytest.fixture
def kept(tmp_path: Path) -> KeyFile:
    file = _file(tmp_path / "key")
    assert file.load(lambda: KEY) == KEY
    return file


def test_a_missing_key_is_made_for_its_owner_only(tmp_path: Path):
    state = tmp_path / "deep/state"

    assert _file(state / "key").load(lambda: KEY) == KEY
    assert (state / "key").stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in state.iterdir()] == ["key"]


def test_a_key_that_is_there_is_never_replaced(kept: KeyFile):
    assert kept.load(_never) == KEY
    assert kept.read() == KEY


def test_a_key_is_read_without_being_made(tmp_path: Path):
    assert _file(tmp_path / "key").read() is None
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_another_process_makes_meanwhile_is_taken(tmp_path: Path):
    file = _file(tmp_path / "key")

    def beaten() -> bytes:
        _file(file.path).load(lambda: KEY)
        return b"later"

    assert file.load(beaten) == KEY
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_nothing_is_left_of_a_key_that_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(JournalError, match=r"the test's key .*/key cannot be read or made: No space left"):
        _file(tmp_path / "key").load(lambda: KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_may_use_is_refused(kept: KeyFile, mode: int):
    kept.path.chmod(mode)

    for attempt in (lambda: kept.load(_never), kept.read):
        with pytest.raises(JournalError, match="others may use the test's key") as caught:
            attempt()
        assert caught.value.remedy == f"run: chmod 600 {kept.path}"


def test_a_key_of_another_user_is_refused(kept: KeyFile, monkeypatch: pytest.MonkeyPatch):
    status = os.fstat

    def planted(descriptor: int) -> os.stat_result:
        real = list(status(descriptor))
        real[4] += 4242
        return os.stat_result(real)

    monkeypatch.setattr(os, "fstat", planted)

    with pytest.raises(JournalError, match="belongs to another user"):
        kept.load(_never)


def test_root_may_read_the_key_of_the_user_whose_folder_it_is_in(kept: KeyFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: kept.path.stat().st_uid + 4242)

    assert kept.read() == KEY


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_in_the_place_of_a_key_is_refused(tmp_path: Path, dangling: bool):  # noqa: FBT001 - a parameter of pytest
    target = tmp_path / "elsewhere/key"
    if not dangling:
        _file(target).load(lambda: KEY)
    file = _file(tmp_path / "key")
    file.path.symlink_to(target)

    for attempt in (lambda: file.load(lambda: b"m"), file.read):
        with pytest.raises(JournalError, match=r"the test's key .* is a symbolic link"):
            attempt()
    assert target.exists() is not dangling


def test_a_pipe_in_the_place_of_a_key_is_refused_and_not_waited_for(tmp_path: Path):
    file = _file(tmp_path / "key")
    os.mkfifo(file.path, 0o600)

    with pytest.raises(JournalError, match="is not a file"):
        file.load(_never)


def test_more_than_any_key_is_refused(kept: KeyFile):
    kept.path.write_bytes(b"k" * MAX_BYTES)
    assert kept.read() == b"k" * MAX_BYTES

    kept.path.write_bytes(b"k" * (MAX_BYTES + 1))
    with pytest.raises(JournalError, match="too large"):
        kept.read()


def test_a_folder_that_cannot_be_made_or_looked_into_is_said_to_be_so(tmp_path: Path):
    (tmp_path / "state").write_text("a file")
    file = KeyFile(tmp_path / "state/below/key", "the test's key", ConfigurationError)

    with pytest.raises(ConfigurationError, match="cannot be read or made: Not a directory") as caught:
        file.load(lambda: KEY)
    assert caught.value.remedy
    with pytest.raises(ConfigurationError, match="cannot be read: Not a directory"):
        file.read()
