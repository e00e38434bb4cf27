from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.inspection.credentials import forms as module
from gateway.inspection.credentials.forms import BUDGET, Budget, forms, string, whole
from tests import effort

VALUE = b"hunter2-Correct_Horse+battery/9="


def readings(text: bytes) -> dict[str, bytes]:
    return {form.name: form.text for form in forms(text).readings}


def found(text: bytes, value: bytes = VALUE) -> set[str]:
    return {form.name for form in forms(text).readings if value in form.text}


PERCENT = quote(VALUE, safe="").encode()
BASE64 = base64.b64encode(VALUE)
LINES = base64.encodebytes(VALUE * 4)
HEX = VALUE.hex().encode()


def _grouped(sizes: list[int], mark: str) -> str:
    """Return hex of the value in groups of so many digits, again and again."""
    digits, groups, at = VALUE.hex(), list[str](), 0
    while at < len(digits):
        size = sizes[len(groups) % len(sizes)]
        groups.append(digits[at : at + size])
        at += size
    return mark.join(groups)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (VALUE, "raw"),
        (b"".join(b"%%%02x" % byte for byte in VALUE), "percent"),
        (PERCENT, "percent"),
        (BASE64, "base64"),
        (BASE64.rstrip(b"="), "base64"),
        (base64.urlsafe_b64encode(VALUE * 3), "base64"),
        (LINES, "base64"),
        (LINES.replace(b"\n", b"\\n"), "base64"),
        (b" ".join(BASE64[at : at + 5] for at in range(0, len(BASE64), 5)), "base64"),
        (b"Basic " + BASE64, "base64"),
        (b"x" + BASE64, "base64"),
        (b"xy" + BASE64, "base64"),
        (b"xyz" + BASE64 + b" and more prose", "base64"),
        (base64.b64encode(VALUE.decode().encode("utf-16-le")), "base64"),
        (HEX, "hex"),
        (HEX.upper(), "hex"),
        (b"0x" + HEX, "hex"),
        (b"a" + HEX, "hex"),
        (VALUE.hex(":").encode(), "hex"),
        (VALUE.hex(" ").encode(), "hex"),
        (b", ".join(b"0x%02X" % byte for byte in VALUE), "hex"),
        (b"".join(b"\\x%02x" % byte for byte in VALUE), "escape"),
        (b"".join(b"\\u%04x" % byte for byte in VALUE), "escape"),
        (b"".join(b"\\u{%x}" % byte for byte in VALUE), "escape"),
        ("\u200b".join(VALUE.decode()).encode(), "compatible"),
        ("".join(chr(byte + 0xFEE0) if byte > 0x20 else chr(byte) for byte in VALUE).encode(), "compatible"),
        (("plain " + "".join(chr(0xE0000 + byte) for byte in VALUE)).encode(), "compatible"),
        ("\U000e0041".join(VALUE.decode()).encode(), "compatible"),
        (base64.b64encode(BASE64), "base64+base64"),
        (base64.b64encode(HEX), "base64+hex"),
        (quote(base64.b64encode(VALUE), safe="").replace("c", "%63").encode(), "percent+base64"),
    ],
)
def test_each_way_of_writing_is_undone(written: bytes, form: str):
    assert form in found(written)


@pytest.mark.parametrize(
    "written",
    [
        _grouped([8, 4, 4, 4, 12], "-"),
        _grouped([8, 4, 4, 4, 12], "-").upper(),
        "urn:uuid:" + _grouped([8, 4, 4, 4, 12], "-"),
        "#" + _grouped([6], " #"),
        "2001:db8:" + _grouped([4], ":"),
        _grouped([2], ":").upper(),
        _grouped([4], ".") + " (switch)",
        "00-" + _grouped([32, 16], "-") + "-01",
        "{0x" + _grouped([2], ", 0x") + "}",
        "0x" + _grouped([2], "0x"),
        "[" + _grouped([8], "][") + "]",
        _grouped([3], "_"),
        _grouped([1], " "),
        _grouped([5], "\n  "),
        "&#x" + _grouped([2], ";&#x") + ";",
        "U+00" + _grouped([2], " U+00"),
        "\\x" + _grouped([2], "\\x"),
        _grouped([7], "/"),
        _grouped([2], " → "),
    ],
)
def test_hex_is_read_whatever_parts_its_digits(written: str):
    assert found(f"x {written} y".encode())


@given(
    st.lists(st.text("-:;,.#/_ |()[]{}<>*+=~@!?'\n", min_size=1, max_size=3), min_size=64, max_size=64),
    st.integers(1, 9),
)
def test_hex_in_groups_of_any_size_is_read_between_any_marks(marks: list[str], size: int):
    groups = [VALUE.hex()[at : at + size] for at in range(0, 2 * len(VALUE), size)]
    written = "".join(group + mark for group, mark in zip(groups, marks, strict=False))

    assert found(b"~" + written.encode())


@given(st.text(min_size=8, max_size=12), st.sampled_from(["utf-8", "utf-16-le"]), st.sampled_from(["", "a", "a1"]))
def test_hex_of_whatever_reads_as_text_is_undone(text: str, encoding: str, glued: str):
    data = text.encode(encoding, "surrogatepass")
    written = glued.encode() + data.hex().encode()

    pieces = [piece for start in (0, 1) for piece in module._readable([bytes.fromhex(_even(written[start:]))])]

    assert readings(b"~" + written).get("hex", b"").split(b"\n") == (b"\n".join(pieces)).split(b"\n")


def _even(digits: bytes) -> str:
    return digits[: len(digits) // 2 * 2].decode()


LETTERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", min_size=10, max_size=60)


@given(st.lists(LETTERS, min_size=1, max_size=8))
def test_what_is_decoded_at_every_alignment_is_as_if_decoded_run_by_run(texts: list[str]):
    runs = [text.encode() for text in texts]
    for start, decoded in enumerate(module._align_runs(runs)):
        rest = [run[start:] for run in runs]
        one_by_one = b"".join(base64.b64decode(run + b"A" * (-len(run) % 4)) for run in rest)
        assert decoded.replace(b"\0", b"") == one_by_one.replace(b"\0", b"")


def test_clean_prose_has_one_reading():
    assert list(readings(b"The quick brown fox jumps over the lazy dog, every day of the week. " * 20)) == ["raw"]


def test_bytes_that_are_no_text_are_read_all_the_same():
    assert string(b"\xed\xa0\x80") == "\ud800"
    assert string(b"\xff!") == "\ufffd!"
    assert "compatible" in readings(b"\xff\xfe not UTF-8")


@pytest.mark.parametrize(
    ("word", "value"), [(b"NDkzODE3", b"493817"), (b"343933383137", b"493817"), (b"aHVudGVyMg==", b"hunter2")]
)
def test_short_words_are_decoded_whole(word: bytes, value: bytes):
    assert value in set(whole(word))


@pytest.mark.parametrize("word", [b"//79/P36", b"a", b"abcde", b"4a4", b"x y z"])
def test_words_that_decode_to_no_text_are_not(word: bytes):
    assert [value for value in whole(word) if value.isascii() and len(value) > 3] == []


@given(st.binary(max_size=600))
@settings(deadline=None)
def test_nothing_makes_it_fail(data: bytes):
    assert forms(data).readings[0].text == data


HOSTILE = {
    "percent": b"%25" * 200_000,
    "base64": base64.b64encode(base64.b64encode(base64.b64encode(b"A" * 200_000))),
    "letters": b"A" * 600_000,
    "hex": b"4" * 600_000,
    "colons": b"41:" * 200_000,
    "escapes": b"\\u0041" * 100_000,
    "backslashes": b"\\" * 600_000,
    "wide": "\uff21".encode() * 200_000,
    "mixed": b"QUFB%41\\u0041 41:42:43 " * 25_000,
    "spaces": b"A " * 300_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_takes_bounded_time_and_memory(kind: str):
    text = HOSTILE[kind]
    with effort.at_most(5):
        got = forms(text)
    assert sum(len(form.text) for form in got.readings) <= 2 * len(text) + BUDGET


def test_what_was_left_undone_is_said():
    budget = Budget(0)
    budget.left = 10

    got = forms(BASE64, budget)

    assert got.incomplete
    assert [form.name for form in got.readings] == ["raw"]
    assert not forms(BASE64).incomplete


PARTS_WITH_BASE64 = st.one_of(
    st.text(min_size=5, max_size=14).map(lambda text: base64.b64encode(text.encode("utf-8", "surrogatepass"))),
    st.text(min_size=6, max_size=12).map(lambda text: base64.b64encode(text.encode("utf-16-le", "surrogatepass"))),
    st.binary(max_size=20).map(base64.b64encode),
    st.text("abcdefghijklmnopqrstuvwxyz ABCgh01+/-_", max_size=40).map(str.encode),
    st.sampled_from([b"n", b"\\n", b" ", b"\n", b".", b"\0", b"=", b"meeting", b"Zm9vYmFyYmF6", "\u00e9".encode()]),
)


def every_base64(text: bytes) -> bytes:
    """Return what `_base64` decodes if it looks at each run."""
    standard = text.translate(module._STANDARD)
    packed = module._LINES.sub(b"", standard).translate(None, module._SPACE)
    runs = module._runs(packed, module._NOT_BASE64, module._SHORTEST_BASE64)
    parts = module._align_runs([*runs, b""])
    if packed != standard:
        written = module._runs(standard, module._NOT_BASE64, module._SHORTEST_BASE64)
        parts.append(module._decoded64([*written, b""]))
    return b"\n".join(module._readable(parts))


@given(st.lists(PARTS_WITH_BASE64, max_size=12).map(b"".join))
@settings(max_examples=500, deadline=None)
def test_a_run_of_base64_is_passed_over_only_where_it_decodes_to_no_text(text: bytes):
    assert module._base64(text) == every_base64(text)


@given(
    st.text(min_size=8, max_size=12) | st.text("a\u00e9\u044f\u4e2d\uffe5\U0001f600\U0010fffd", min_size=7, max_size=9),
    st.integers(0, 3),
    st.integers(0, 3),
)
@settings(max_examples=200, deadline=None)
def test_base64_of_whatever_reads_as_text_is_decoded_behind_any_letters(text: str, before: int, cut: int):
    written = base64.b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=")
    written = b"xyz"[:before] + written[: len(written) - cut]

    assert module._base64(written) == every_base64(written)


def test_text_that_is_full_of_base64_is_decoded_whole():
    words = [base64.b64encode(b"%08d plain" % number) for number in range(400)]

    assert module._base64(b".".join(words)) == every_base64(b".".join(words))
