"""Names and error codes for the gateway alone towards clients, and an upstream's message without these. Pure. With such
names an upstream could pass off its own words as a decision of the gateway. Reserved are names of members beginning
with `io.opagate`, at any depth, in any spelling, and the gateway's codes in JSON-RPC errors. Texts are not changed: a
text may say anything.
"""

from __future__ import annotations

import json
import re
from typing import Final

from gateway.base.json import strict
from gateway.base.json.edit import apply_edits, choose_edits
from gateway.model.error_codes import INTERNAL_ERROR, OWN
from gateway.model.errors import UpstreamBroken

PREFIX: Final = "io.opagate"
"""A name is reserved if it is this, or goes on with `/` or `.`, in any letter case."""

_SIGN: Final = PREFIX.rpartition(".")[2].encode()
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[4-7]")
"""Hardly any writer of JSON escapes a letter of ASCII."""
_ERROR: Final = b'"error"'
_CODE: Final = re.compile(rb'"code"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*"|-[0-9.e+-]+)', re.DOTALL)
_ERROR_PATHS: Final = frozenset(
    {
        ("error", "code"),
        ("result", "error", "code"),
        ("result", "task", "error", "code"),
        ("params", "error", "code"),
        ("params", "task", "error", "code"),
    }
)
"""Where a message of the protocol has the code of an error: its own, or that of a task that has failed (SEP-2663)."""


def _spelling(character: str) -> str:
    """Return an expression for a character of a name as JSON may write it: in either case, as itself or escaped."""
    cases = sorted({character.lower(), character.upper()})
    codes = "|".join(re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", f"{ord(c):02x}") for c in cases)
    return rf"(?:[{re.escape(''.join(cases))}]|\\u00(?:{codes}))"


_NAME: Final = re.compile(
    rf'(?<!\\)"{"".join(map(_spelling, PREFIX))}(?:(?=")|\\?/|\.|\\u002[eEfF])'.encode(),
)
"""The beginning of a string that is a reserved name, from its quotation mark on. A mark after a backslash ends no text."""
_REST: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"[ \t\r\n]*(.)?', re.DOTALL)
"""The rest of a string, and the first character after it: a name has a colon there."""


def without_reserved(message: bytes) -> tuple[bytes, int]:
    """Return an upstream's message without reserved names, and the number of reserved names. The values of such members
    go too. A reserved error code becomes `INTERNAL_ERROR`, and counts as a name. Without reserved names, the message is
    the same object; invalid JSON comes back without a promise. Raises `UpstreamBroken` for a suspicious message with
    too many values or levels to look through.
    """
    if not is_suspect(message):
        return message, 0
    if (bulk := strict.bulk(message)) is not None:
        raise UpstreamBroken(f"the answer cannot be looked through: {bulk.message}", "have the upstream mended")
    names = _ReservedNames()
    edits = choose_edits(message, names)
    return (apply_edits(message, edits), names.count) if edits else (message, 0)


def is_suspect(message: bytes) -> bool:
    """Return whether a message may have reserved names or codes. Cheap, and false for nearly all."""
    lowered = message.lower()
    return (
        _has_escaped_letter(lowered)
        or (_SIGN in lowered and _NAME.search(message) is not None)
        or (_ERROR in lowered and any(is_own_code(match[1]) for match in _CODE.finditer(lowered)))
    )


def _has_escaped_letter(lowered: bytes) -> bool:
    return b"\\u00" in lowered and _ESCAPED_LETTER.search(lowered) is not None


def is_own_code(token: bytes) -> bool:
    """Return whether a reader takes a number, or a text in its place, for an error code of the gateway."""
    try:
        text = json.loads(token) if token.startswith(b'"') else token.decode()
        return float(text) in OWN
    except (ValueError, TypeError, RecursionError):
        return False


# --- whole messages ----------------------------------------------------------------------------------


class _ReservedNames:
    """Choice of reserved members, and of reserved codes in errors. `count` is the number of both so far."""

    longest_path: int = max(map(len, _ERROR_PATHS))

    def __init__(self) -> None:
        self.count = 0

    def is_cut(self, document: bytes, start: int, /) -> bool:
        if _NAME.match(document, start) is None:
            return False
        self.count += 1
        return True

    def replacement(self, path: tuple[str, ...], token: bytes, /) -> bytes | None:
        if path not in _ERROR_PATHS or not is_own_code(token):
            return None
        self.count += 1
        return str(INTERNAL_ERROR).encode()

    def fold_name(self, token: bytes, /) -> str:
        try:
            return strict.fold(json.loads(token))
        except (ValueError, RecursionError):
            return ""


# --- messages that are too large to be held ----------------------------------------------------------


class ReservedNameCheck:
    """Search for reserved names in a message passing in parts. Raises `UpstreamBroken` before a part with such a name
    goes on."""

    __slots__ = ("_name", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._name: bytes | None = None
        """The rest of a string that begins as a reserved name does."""

    def feed(self, part: bytes) -> None:
        if self._name is not None:
            self._finish_name(self._name + part)
        text = self._tail + part
        self._tail = text[-_SPELLED:]
        lowered = text.lower()
        if _SIGN not in lowered and not _has_escaped_letter(lowered):
            return
        # What ends within the tail was looked at with the part before.
        for match in _NAME.finditer(text):
            if match.end() >= len(text) - len(part):
                self._finish_name(text[match.end() :])

    def _finish_name(self, rest: bytes) -> None:
        """Refuse a string before a colon: such a string is a name."""
        match = _REST.match(rest)
        if match is None or match[1] is None:
            if len(rest) > _LONGEST:
                raise _reserved_name_error()
            self._name = rest
            return
        self._name = None
        if match[1] == b":":
            raise _reserved_name_error()


_SPELLED: Final = 6 * (len(PREFIX) + 1) + len(b'\\"')
"""Bytes of the longest spelling of the beginning of a reserved name, with the mark before it."""
_LONGEST: Final = 4096
"""Bytes of the rest of a string, and of the white space after it, beyond which it is taken for a name."""


def _reserved_name_error() -> UpstreamBroken:
    return UpstreamBroken("the answer uses names that only the gateway may use", "have the upstream mended")
