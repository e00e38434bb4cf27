"""The files of a journal, read, changed and added to as somebody with an editor would."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SMALL = 900
"""Bytes of a segment that has room for a few entries."""


def lines(folder: Path, number: int = 1) -> list[bytes]:
    return (folder / f"{number:08d}.jsonl").read_bytes().splitlines(keepends=True)


def rewrite(folder: Path, changed: list[bytes], number: int = 1) -> None:
    (folder / f"{number:08d}.jsonl").write_bytes(b"".join(changed))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
