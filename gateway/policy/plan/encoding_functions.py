"""Built-in functions on base64, hexadecimal digits and semantic versions. Pure.

A string of Rego here is Unicode. Decoded bytes that are not UTF-8 fail, where OPA gives a string of bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

from gateway.policy.plan.operands import text
from gateway.policy.plan.values import EvaluationFailed, Value

_DIGITS: Final = re.compile("(?:[0-9a-fA-F]{2})*", re.ASCII)
_NUMBER: Final = r"(0|[1-9][0-9]*)"
_IDENTIFIERS: Final = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?", re.ASCII)
_GREATEST: Final = 2**63 - 1
_LINE_BREAKS: Final = str.maketrans("", "", "\r\n")
"""Go leaves line breaks in base64 out."""


def base64_encode(value: Value) -> Value:
    return base64.b64encode(text(value, 1).encode()).decode()


def base64_decode(value: Value) -> Value:
    return _decode(_from_base64(text(value, 1)))


def base64_is_valid(value: Value) -> Value:
    """Return whether a value is a string of base64. Another value is none."""
    if type(value) is not str:
        return False
    try:
        _from_base64(value)
    except EvaluationFailed:
        return False
    return True


def base64url_encode(value: Value) -> Value:
    return base64.urlsafe_b64encode(text(value, 1).encode()).decode()


def base64url_encode_no_pad(value: Value) -> Value:
    return base64.urlsafe_b64encode(text(value, 1).encode()).decode().rstrip("=")


def base64url_decode(value: Value) -> Value:
    """Return the text in base64url, with its padding or without."""
    found = text(value, 1)
    if "+" in found or "/" in found:
        raise EvaluationFailed("illegal base64 data")
    if not found.endswith("="):
        found += {0: "", 2: "==", 3: "="}.get(len(found.encode()) % 4, "=" * 4)
    return _decode(_from_base64(found.replace("-", "+").replace("_", "/")))


def hex_encode(value: Value) -> Value:
    return text(value, 1).encode().hex()


def hex_decode(value: Value) -> Value:
    found = text(value, 1)
    if _DIGITS.fullmatch(found) is None:
        raise EvaluationFailed("the text has other characters than pairs of hexadecimal digits")
    return _decode(bytes.fromhex(found))


def _from_base64(value: str) -> bytes:
    try:
        return binascii.a2b_base64(value.translate(_LINE_BREAKS).encode("ascii"), strict_mode=True)
    except ValueError:
        raise EvaluationFailed("illegal base64 data") from None


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationFailed("the decoded bytes are no text") from None


def semver_compare(a: Value, b: Value) -> Value:
    """Return -1, 0 or 1 for the order of two versions. Build metadata do not count."""
    first, second = _version(text(a, 1)), _version(text(b, 2))
    if first is None or second is None:
        raise EvaluationFailed("a string is no semantic version")
    return (first > second) - (first < second)


def semver_is_valid(value: Value) -> Value:
    return type(value) is str and _version(value) is not None


def _version(value: str) -> tuple[Any, ...] | None:
    """Return a version in a form that compares. A release comes after its pre-releases, and a number before a word."""
    found = _VERSION.fullmatch(value)
    if found is None:
        return None
    numbers = [int(number) for number in found.groups()[:3]]
    before = [] if found[4] is None else found[4].split(".")
    if max(numbers) > _GREATEST or any(part.isdigit() and part[0] == "0" and len(part) > 1 for part in before):
        return None
    # As Go, which takes the greatest integer of 64 bits for greater ones.
    order = [(0, min(int(part), _GREATEST), "") if part.isdigit() else (1, 0, part) for part in before]
    return (*numbers, not before, order)
