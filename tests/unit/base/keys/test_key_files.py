"""The gateway's own keys: made whole, for its user alone, and refused when somebody else could know or choose them."""

from __future__ import annotations

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.base.keys.key_files import MAX_BYTES, KeyFile
from gateway.model.errors import ConfigurationError, JournalError

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
    assert kept.load_key() == KEY


def test_a_key_is_read_without_being_made(tmp_path: Path):
    assert _file(tmp_path / "key").load_key() is None
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


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666])
def test_a_key_that_others_may_use_is_refused(kept: KeyFile, mode: int):
    kept.path.chmod(mode)

    for attempt in (lambda: kept.load(_never), kept.load_key):
        with pytest.raises(JournalError, match=r"the test's key .* is not safe: others may use") as caught:
            attempt()
        assert caught.value.remedy == f"run: chmod o= {kept.path}"


def test_a_key_that_is_mounted_as_a_link_is_read(tmp_path: Path):
    target = tmp_path / "elsewhere/key"
    _file(target).load(lambda: KEY)
    file = _file(tmp_path / "key")
    file.path.symlink_to(target)

    assert file.load(_never) == file.load_key() == KEY


def test_nothing_is_made_behind_a_link_that_leads_nowhere(tmp_path: Path):
    file = _file(tmp_path / "key")
    file.path.symlink_to(tmp_path / "elsewhere/key")

    with pytest.raises(JournalError, match="cannot be read or made: No such file"):
        file.load(lambda: b"m")
    assert not (tmp_path / "elsewhere").exists()
    assert file.load_key() is None


def test_a_pipe_in_the_place_of_a_key_is_refused_and_not_waited_for(tmp_path: Path):
    file = _file(tmp_path / "key")
    os.mkfifo(file.path, 0o600)

    with pytest.raises(JournalError, match="is not a file"):
        file.load(_never)


def test_more_than_any_key_is_refused(kept: KeyFile):
    kept.path.write_bytes(b"k" * MAX_BYTES)
    assert kept.load_key() == b"k" * MAX_BYTES

    kept.path.write_bytes(b"k" * (MAX_BYTES + 1))
    with pytest.raises(JournalError, match="too large"):
        kept.load_key()


def test_a_folder_that_cannot_be_made_or_looked_into_is_said_to_be_so(tmp_path: Path):
    (tmp_path / "state").write_text("a file")
    file = KeyFile(tmp_path / "state/below/key", "the test's key", ConfigurationError)

    with pytest.raises(ConfigurationError, match="cannot be read or made: Not a directory") as caught:
        file.load(lambda: KEY)
    assert caught.value.remedy
    with pytest.raises(ConfigurationError, match="cannot be read: Not a directory"):
        file.load_key()


def test_a_rotation_keeps_each_earlier_key_in_order(tmp_path: Path):
    file = KeyFile(tmp_path / "key", "the key", ConfigurationError)
    file.load(lambda: b"first")

    assert file.rotate(b"second").path == tmp_path / "key.1"
    assert file.rotate(b"third").path == tmp_path / "key.2"

    assert file.load_key() == b"third"
    assert [each.load_key() for each in file.find_earlier()] == [b"second", b"first"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_no_key_of_rotations_at_the_same_time_is_lost(tmp_path: Path):
    """What was sealed with a lost key could never be read again."""
    file = KeyFile(tmp_path / "key", "the key", ConfigurationError)
    file.load(lambda: b"first")
    made: list[bytes] = [b"first"]

    def rotate(number: int) -> None:
        for time in range(10):
            fresh = b"%d-%d" % (number, time)
            with suppress(ConfigurationError):
                file.rotate(fresh)
                made.append(fresh)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rotate, range(4)))

    assert len(made) > 1
    assert {file.load_key(), *(each.load_key() for each in file.find_earlier())} == set(made)


def test_a_key_that_another_process_replaces_now_stays_and_the_way_is_to_try_again(kept: KeyFile):
    with kept.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JournalError, match="another process replaces") as caught:
            kept.rotate(b"second")

    assert caught.value.remedy == "try again"
    assert kept.load_key() == KEY
    assert kept.find_earlier() == ()


def test_the_age_of_a_key_survives_its_rotation(tmp_path: Path):
    file = KeyFile(tmp_path / "key", "the key", ConfigurationError)
    file.load(lambda: b"first")
    os.utime(file.path, (1_000, 2_000))

    kept = file.rotate(b"second")

    assert kept.read_since() == 2_000
    assert file.read_since() > 2_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_the_owner_of_a_key_is_that_of_the_key_before_and_no_link_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whoever owns the folder puts a link to a file of root in the place of each new file."""
    file, target = _file(tmp_path / "key"), tmp_path / "of-root"
    file.load(lambda: KEY)
    target.write_bytes(b"")
    for path in (tmp_path, file.path):
        os.chown(path, 4711, 4711)
    written = KeyFile._write

    def swapped(key_file: KeyFile, *given: Any, **more: Any) -> Path:
        fresh = written(key_file, *given, **more)
        assert (fresh.stat().st_uid, fresh.stat().st_gid) == (4711, 4711)
        fresh.unlink()
        fresh.symlink_to(target)
        return fresh

    monkeypatch.setattr(KeyFile, "_write", swapped)
    file.rotate(b"n" * 32)

    assert target.stat().st_uid == 0


def test_files_with_other_names_are_no_earlier_keys(tmp_path: Path):
    file = KeyFile(tmp_path / "key", "the key", ConfigurationError)
    file.load(lambda: b"first")
    for name in ("key.0", "key.01", "key.x", "key.1.bak", "other.1", ".key.1"):
        (tmp_path / name).write_bytes(b"x")

    assert file.find_earlier() == ()


def test_a_key_that_cannot_be_replaced_is_named_with_the_way_by_hand(tmp_path: Path):
    file = KeyFile(tmp_path / "key", "the key", ConfigurationError)

    with pytest.raises(ConfigurationError, match=r"the key .* cannot be replaced") as caught:
        file.rotate(b"second")
    assert "as key.1" in caught.value.remedy
    assert not any(tmp_path.iterdir())
