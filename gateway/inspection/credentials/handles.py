"""Handles in the arguments of a call, and the call with their contents. A handle is replaced by the text that stood in
a result, within its JSON string; all other bytes of the body stay the same. Policy has seen the handle, so the value
must not change the judged call. A value with more than a plain word is put back only as the whole of an argument
labelled `credential`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.base.json.edit import Edit, apply_edits
from gateway.base.json.lex import ScalarSpan, read_string, scalars, unescape
from gateway.model.target import Role
from gateway.model.wire import Headers
from gateway.wire.protocol.headers import NAME, PARAM_PREFIX, decode, encode

_MARK: Final = re.compile(r"cred://(?=[A-Za-z0-9_-])", re.IGNORECASE)
_HANDLE: Final = re.compile(r"cred://[A-Za-z0-9_-]{11}/[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")
_BEFORE: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]{0,31} )?")
SIGN: Final = b"://"
BACKSLASH: Final = ord("\\")
"""Each message with a handle has one of these."""
_WORD: Final = re.compile(r"[A-Za-z0-9_~+=-]+(?:\.[A-Za-z0-9_~+=-]+)*")


@dataclass(frozen=True, slots=True)
class Place:
    """A string with handles: its place in the body, its text, and the places of the handles in it."""

    scalar: ScalarSpan
    text: str
    handles: tuple[tuple[int, int], ...]

    def named(self) -> Iterator[str]:
        """Yield the handles."""
        return (self.text[start:end] for start, end in self.handles)

    def restored(self, values: Mapping[str, str]) -> str:
        """Return the text with their values in their place."""
        parts: list[str] = []
        position = 0
        for start, end in self.handles:
            parts += [self.text[position:start], values[self.text[start:end]]]
            position = end
        return "".join([*parts, self.text[position:]])


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A handle, or a text like a handle, in a place where no credential can be put back."""

    message: str


def places(body: bytes, decided: str | None) -> tuple[Place, ...] | Misplaced:
    """Return the handles of a call. `body` is its message, strictly read; `decided` the member of `params` that policy
    sees and in which handles are put back, if there is one.

    Every `cred://` that a word follows is a handle, in any spelling of JSON.
    """
    if BACKSLASH not in body:
        if SIGN not in body or b"cred://" not in body.lower():
            return ()
    elif b"cred://" not in body.lower() and b"cred://" not in unescape(body).lower():
        return ()
    found: list[Place] = []
    for scalar in scalars(body):
        text = "" if scalar.kind == "other" else read_string(body[scalar.start : scalar.end])
        marks = [match.start() for match in _MARK.finditer(text)]
        if not marks:
            continue
        if scalar.path[:2] != ("params", decided):
            return Misplaced("A handle stands outside of the arguments, where none is put back.")
        if scalar.kind == "name":
            return Misplaced("A handle stands in the name of an argument, where none is put back.")
        handles = [match.span() for mark in marks if (match := _HANDLE.match(text, mark)) is not None]
        if len(handles) != len(marks):
            return Misplaced("An argument holds something like a handle that is none.")
        found.append(Place(scalar, text, tuple(handles)))
    return tuple(found)


def fits(place: Place, value: str, span: tuple[int, int], role: Role | None, *, uri: bool) -> bool:
    """Return whether a value may replace the handle at `span` without changing the call that policy has judged."""
    start, end = span
    before = place.text[:start]
    alone = _BEFORE.fullmatch(before) is not None and end == len(place.text)
    if role is Role.CREDENTIAL and alone:
        return True
    if _WORD.fullmatch(value) is None:
        return False
    asks, _, since = before.rpartition("?")
    within = "//" not in since
    if uri:
        return bool(asks) and within
    return alone or (role is Role.CREDENTIAL and within)


def restored(body: bytes, found: tuple[Place, ...], values: Mapping[str, str]) -> bytes:
    """Return the body with the values in the place of their handles."""
    return apply_edits(
        body,
        [Edit(place.scalar.start, place.scalar.end, json.dumps(place.restored(values)).encode()) for place in found],
    )


def mirror_headers(headers: Headers, found: tuple[Place, ...], values: Mapping[str, str]) -> Headers:
    """Return the headers that repeat a string with a handle, with its new text."""
    said = {place.text: place.restored(values) for place in found}

    def now(name: bytes, value: bytes) -> bytes:
        if name != NAME and not name.startswith(PARAM_PREFIX):
            return value
        text = decode(value.decode("latin-1").strip(" \t"))
        return encode(said[text]) if text in said else value

    return tuple((name, now(name, value)) for name, value in headers)
