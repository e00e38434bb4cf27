"""Closed segments, compressed with Zstandard (RFC 8878) in the seekable format: `zstd -d` reads such a file.

Each frame has `FRAME` bytes of lines, and a table at the end has the sizes of all frames. So a line is found by its offset
in the lines, as in a plain segment. Compression neither hides nor mends an edit: the lines stay the same bytes.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from gateway.base.concurrency.background import ThreadTurns
from gateway.model.errors import JournalError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Self

    from gateway.record.journal.storage import Disk

SUFFIX: Final = ".zst"
FRAME: Final = 256 * 2**10
_SKIPPED: Final = 0x184D2A5E
_MAGIC: Final = 0x8F92EAB1
_HEADER: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<II")
_FOOTER: Final = struct.Struct("<IBI")
_OPTIONS: Final[Mapping[int, int]] = {
    zstd.CompressionParameter.compression_level: 6,
    zstd.CompressionParameter.checksum_flag: 1,
}


class DamagedSegment(JournalError):
    """A compressed segment whose bytes have changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the compressed segment {name} is not as it was written", "run `opagate journal verify`")


def open_compressed(path: Path) -> BinaryIO:
    """Open the lines of a compressed segment. Raises `OSError` and `DamagedSegment`."""
    return cast("BinaryIO", io.BufferedReader(_Frames(path), FRAME))


class _Frames(io.RawIOBase):
    """The lines of a compressed segment, as a file that is read and sought by the offsets of the lines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._name = path.name
        self._file = path.open("rb")
        try:
            self._places, self._size = self._read_table()
        except BaseException:
            self._file.close()
            raise
        self._at = 0
        self._kept = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(begin + offset, 0)
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._at >= self._size:
            return 0
        number, offset = divmod(self._at, FRAME)
        piece = self._read_frame(number)[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _read_frame(self, number: int) -> bytes:
        if self._kept[0] != number:
            begin, end = self._places[number : number + 2]
            size = min(FRAME, self._size - number * FRAME)
            self._file.seek(begin)
            decompressor = zstd.ZstdDecompressor()
            try:
                # Never more than the table says: a crafted frame takes no memory.
                data = decompressor.decompress(self._file.read(end - begin), max_length=size + 1)
            except zstd.ZstdError:
                raise DamagedSegment(self._name) from None
            if len(data) != size or not decompressor.eof or decompressor.unused_data:
                raise DamagedSegment(self._name)
            self._kept = number, data
        return self._kept[1]

    def _read_table(self) -> tuple[list[int], int]:
        """Return where the frames begin, with the end of the last one, and the bytes of all lines."""
        length = self._file.seek(0, os.SEEK_END)
        if length < _HEADER.size + _FOOTER.size:
            raise DamagedSegment(self._name)
        self._file.seek(length - _FOOTER.size)
        count, descriptor, magic = _FOOTER.unpack(self._file.read(_FOOTER.size))
        begin = length - _FOOTER.size - count * _ENTRY.size - _HEADER.size
        if magic != _MAGIC or descriptor or begin < 0:
            raise DamagedSegment(self._name)
        self._file.seek(begin)
        header = _HEADER.unpack(self._file.read(_HEADER.size))
        sizes = list(_ENTRY.iter_unpack(self._file.read(count * _ENTRY.size)))
        places = [0]
        for compressed, _ in sizes:
            places.append(places[-1] + compressed)
        is_whole = all(size == FRAME for _, size in sizes[:-1]) and all(0 < size <= FRAME for _, size in sizes)
        if header != (_SKIPPED, count * _ENTRY.size + _FOOTER.size) or places[-1] != begin or not is_whole:
            raise DamagedSegment(self._name)
        return places, sum(size for _, size in sizes)

    def __enter__(self) -> Self:
        return self


def compress_segment(path: Path, disk: Disk, is_stopped: Callable[[], bool]) -> bool:
    """Put a compressed segment in the place of a closed one. Return whether this is done, and not stopped before.

    The plain file goes after the compressed one is on disk. Raises `OSError`.
    """
    target = path.with_name(path.name + SUFFIX)
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        if not _write_compressed(path, fresh, disk, is_stopped):
            return False
        fresh.rename(target)
    finally:
        fresh.unlink(missing_ok=True)
    disk.sync_folder(path.parent)
    path.unlink()
    disk.sync_folder(path.parent)
    return True


def _write_compressed(path: Path, fresh: Path, disk: Disk, is_stopped: Callable[[], bool]) -> bool:
    descriptor = disk.create(fresh)
    with os.fdopen(descriptor, "wb") as out, path.open("rb") as source:
        sizes = bytearray()
        turns = ThreadTurns()
        while piece := source.read(FRAME):
            if is_stopped():
                return False
            frame = zstd.compress(piece, options=_OPTIONS)
            out.write(frame)
            sizes += _ENTRY.pack(len(frame), len(piece))
            turns.give()
        footer = _FOOTER.pack(len(sizes) // _ENTRY.size, 0, _MAGIC)
        out.write(_HEADER.pack(_SKIPPED, len(sizes) + len(footer)) + sizes + footer)
        out.flush()
        disk.sync(descriptor)
    if not _has_same_lines(path, fresh):
        raise OSError(f"{fresh} cannot be read back")
    return True


def _has_same_lines(path: Path, compressed: Path) -> bool:
    with path.open("rb") as source, open_compressed(compressed) as found:
        while piece := source.read(FRAME):
            if found.read(FRAME) != piece:
                return False
        return not found.read(1)
