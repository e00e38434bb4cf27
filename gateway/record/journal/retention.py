"""Pruning of the oldest segments of a journal, so that the rest can still be verified. Only whole segments go, in
order, and only from a journal without faults. The floor (see `floor`) is on disk before the first removal. A crash in
between leaves segments below the floor for the next run. The last segment always stays, so pruning may run beside the
gateway."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from gateway.model.errors import JournalError
from gateway.record.journal import reader, verification
from gateway.record.journal.chain import Chain, ChainKeys
from gateway.record.journal.storage import Disk, hold_pruning, segments, write_all
from gateway.record.journal.verification import PruningMark

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pruned:
    """The removed segments and their bytes, and the new start of the journal."""

    segments: int
    bytes: int
    floor: PruningMark | None


def prune(
    folder: Path, *, key: ChainKeys, before: str, time: str, archive: Path | None = None, disk: Disk | None = None
) -> Pruned:
    """Let the segments go all of whose entries are from earlier than `before`; with `archive`, into that folder.

    `before` and `time`, which is now, are as `chain.timestamp` gives them. Raises `JournalError` if something is wrong
    with the journal, and when a file cannot be read, written or removed.
    """
    disk = disk or Disk()
    try:
        with hold_pruning(folder):
            return _prune(folder, key=key, before=before, time=time, archive=archive, disk=disk)
    except BlockingIOError:
        raise JournalError(
            f"the journal {folder} is being pruned or compressed already", "wait until that is done"
        ) from None
    except OSError as error:
        raise JournalError(
            f"the journal {folder} cannot be pruned: {error.strerror}: {error.filename}",
            "run this as the gateway's user, with room for the archive",
        ) from error


def _prune(folder: Path, *, key: ChainKeys, before: str, time: str, archive: Path | None, disk: Disk) -> Pruned:
    chain = Chain.of(key)
    found, floor = segments(folder), reader.floor_of(folder, chain)
    going = _older(found, before, 0 if floor is None else floor.segment)
    if not going:
        return Pruned(0, 0, floor)
    verified = reader.verify(folder, key=key)
    if not verified.ok:
        raise JournalError(
            f"the journal {folder} is not as it was written: {verified.problems[0].message}",
            "run `opagate journal verify`: pruning could take away what shows who changed it",
        )
    if archive is not None:
        _archive(going, archive, None if floor is None else verification.write_mark(chain, floor), disk)
    heading = next(reader.lines_of(found[len(going)][1]))
    below = PruningMark(
        cast("str", heading["journal"]),
        going[-1][0],
        cast("int", heading["seq"]) - 1,
        cast("str", heading["prev"]),
        time,
    )
    size = sum(path.stat().st_size for _, path in going)
    _write(
        folder, verification.write_mark(chain, below if floor is None or floor.segment < below.segment else floor), disk
    )
    for _, path in going:
        path.unlink()
    disk.sync_folder(folder)
    return Pruned(len(going), size, reader.floor_of(folder, chain))


def _older(found: Sequence[tuple[int, Path]], before: str, floor: int) -> list[tuple[int, Path]]:
    """Return the first segments with a successor begun before that time, and segments left by an earlier run."""
    going: list[tuple[int, Path]] = []
    for (number, path), (_, successor) in pairwise(found):
        begun = next((cast("str", entry["time"]) for entry in reader.lines_of(successor)), before)
        if number > floor and begun >= before:
            break
        going.append((number, path))
    return going


def _archive(going: Sequence[tuple[int, Path]], archive: Path, floor: bytes | None, disk: Disk) -> None:
    """Copy the segments for their owner only, on disk before any removal. An existing copy must be equal. A later
    archive than the journal's start has its own floor, and is verified like a journal."""
    archive.mkdir(mode=0o700, parents=True, exist_ok=True)
    if floor is not None and not segments(archive):
        _write(archive, floor, disk)
    for _, path in going:
        target = archive / path.name
        if target.exists():
            if target.read_bytes() != path.read_bytes():
                raise JournalError(f"{target} is there already, with other content", "name another folder")
            continue
        fresh = target.with_name(f".{target.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = disk.create(fresh)
        with os.fdopen(descriptor, "wb") as copy, path.open("rb") as original:
            shutil.copyfileobj(original, copy)
            copy.flush()
            disk.sync(descriptor)
        fresh.rename(target)
    disk.sync_folder(archive)


def _write(folder: Path, line: bytes, disk: Disk) -> None:
    """Write the floor, whole or as it was."""
    fresh = folder / f".{verification.FLOOR_FILE}.new"
    fresh.unlink(missing_ok=True)
    descriptor = disk.create(fresh)
    try:
        write_all(disk, descriptor, line)
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    fresh.rename(folder / verification.FLOOR_FILE)
    disk.sync_folder(folder)
