"""The lock of a folder: one holder at a time, until the end of the block."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from gateway.base.folder_lock import hold_folder

if TYPE_CHECKING:
    from pathlib import Path


def take_now(folder: Path) -> None:
    """Take the lock as another process would, without waiting. Raises `BlockingIOError` if it is held."""
    other = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_no_other_process_takes_the_lock_during_the_block(tmp_path: Path):
    with hold_folder(tmp_path), pytest.raises(BlockingIOError):
        take_now(tmp_path)
    take_now(tmp_path)


def test_a_failed_block_gives_the_lock_back(tmp_path: Path):
    with pytest.raises(ValueError, match="failed"), hold_folder(tmp_path):
        raise ValueError("failed")
    take_now(tmp_path)
