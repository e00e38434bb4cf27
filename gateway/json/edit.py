"""Edits of JSON text in place: all bytes beside an edit stay the same. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes in the place of the bytes from `start` to `end`."""

    start: int
    end: int
    instead: bytes


def apply_edits(document: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the document with the edits made. The edits are in order, and none reaches into another."""
    parts: list[bytes] = []
    position = 0
    for edit in edits:
        parts += [document[position : edit.start], edit.instead]
        position = edit.end
    return b"".join([*parts, document[position:]])


def move_edits(edits: Iterable[Edit], place: Callable[[int], int]) -> list[Edit]:
    """Return edits for a text around the document. `place` maps a place in the document to its place in that text."""
    return [Edit(place(edit.start), place(edit.end), edit.instead) for edit in edits]
