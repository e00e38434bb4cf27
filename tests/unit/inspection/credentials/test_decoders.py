"""Encodings of mail, and of binary data in text."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import quopri
import string
import sys
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.credentials.corpus import negatives
from gateway.inspection.credentials.decoders import base85, decode_uuencoded, quoted_printable
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from tests import effort
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
VALUE = "glpat-2c70e12b7a0646f92279f427"
WORD = "k7Qz-93mW-2tRx-8bLn"


def uu(data: bytes) -> bytes:
    lines = b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45))
    return b"begin 644 note\n" + lines + b"`\nend\n"


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "quoted-printable": lambda data: b"".join(b"=%02X" % byte for byte in data),
    "quoted-printable, soft breaks": lambda data: b"=\r\n".join(data[at : at + 5] for at in range(0, len(data), 5)),
    "quoted-printable, some": lambda data: data.replace(b"7", b"=37").replace(b"2", b"=32"),
    "quoted-printable, lines": lambda data: quopri.encodestring(b"=" + data * 4),
    "uuencode": uu,
    "uuencode, one line": lambda data: binascii.b2a_uu(data).rstrip(b"\n"),
    "base85": base64.b85encode,
    "ascii85": base64.a85encode,
    "ascii85, marked": lambda data: b"<~" + base64.a85encode(data) + b"~>",
    "base85, after a name": lambda data: b"key=" + base64.b85encode(data),
    "base64 of base85": lambda data: base64.b64encode(base64.b85encode(data)),
    "base85 of base64": lambda data: base64.b85encode(base64.b64encode(data)),
    "variation selectors": lambda data: "".join(
        chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in data
    ).encode(),
    "variation selectors between": lambda data: "\ufe0f".join(data.decode()).encode(),
    "other selectors between": lambda data: "\U000e0101".join(data.decode()).encode(),
    "fillers between": lambda data: "\u3164".join(data.decode()).encode(),
    "struck through": lambda data: "\u0336".join(data.decode()).encode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [VALUE, WORD])
def test_a_known_credential_is_found_in_each_of_them(way: str, value: str):
    known = {KEYED.of(value): KEYED.shingles(value)}
    written = WAYS[way](value.encode()).decode()
    for text in (written, f"see {written}", f"Note:\n{written}\nThat is all."):
        if way == "uuencode, one line" and text.startswith("see"):
            continue
        found = DETECTOR.inspect({"x": text}, {}, known, new=False).findings
        assert [item.fingerprint for item in found] == [KEYED.of(value)]


OUT_OF_REACH: dict[str, Callable[[str], str]] = {
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "decimal": lambda text: " ".join(str(byte) for byte in text.encode()),
    "octal": lambda text: " ".join(f"{byte:03o}" for byte in text.encode()),
    "entities": lambda text: "".join(f"&#{byte};" for byte in text.encode()),
    "gzip": lambda text: base64.b64encode(gzip.compress(text.encode())).decode(),
    "three rounds": lambda text: base64.b64encode(base64.b64encode(text.encode().hex().encode())).decode(),
    "three letters between": "xyz".join,
    "look-alikes": lambda text: text.translate(
        {ord("a"): "\u0430", ord("e"): "\u0435", ord("c"): "\u0441", ord("4"): "\u0417"}
    ),
}


@pytest.mark.parametrize("way", OUT_OF_REACH)
def test_what_the_page_says_is_out_of_reach_is(way: str):
    """So that docs/credentials.md stays true."""
    known = {KEYED.of(VALUE): KEYED.shingles(VALUE)}
    assert DETECTOR.inspect({"text": OUT_OF_REACH[way](VALUE)}, {}, known, new=False).findings == ()


def test_random_passwords_in_base85_are_hardly_missed():
    chance, missed = Random(4), 0
    for number in range(400):
        value = "".join(chance.choices(string.ascii_letters + string.digits + "-_!", k=16 + number % 20))
        known = {KEYED.of(value): KEYED.shingles(value)}
        written = (base64.b85encode, base64.a85encode)[number % 2](value.encode()).decode()
        missed += not DETECTOR.inspect({"x": f"see {written}"}, {}, known, new=False).findings
    assert missed <= 20


def test_other_texts_hold_hardly_anything_in_them():
    texts = [text.encode() for _, text in negatives(Random(5), 40)]
    for decode in (base85, decode_uuencoded):
        assert sum(len(b"".join(decode(text))) for text in texts) < sum(map(len, texts)) / 100


@pytest.mark.parametrize("decode", [base85, decode_uuencoded, quoted_printable])
@given(
    data=st.binary(max_size=300)
    | st.text("+-/0123456789ABCDEFGHI!#$%&()*;<=>?@^_`{|}~abc\n", max_size=300).map(str.encode)
)
def test_nothing_makes_them_fail(decode: Callable[[bytes], list[bytes]], data: bytes):
    assert sum(map(len, decode(data))) <= 5 * len(data) + 5


WORST: dict[str, bytes] = {
    "one short run after another": b"%61",
    "groups with odd marks": b"A!aaa",
    "groups that are too high": b"+!!!!",
    "runs of two groups": base64.b85encode(b"p!ssword") + b" ",
    "odd marks apart": b"(a)b",
    "quoted letters": b"=41",
    "quoted letters apart": b"=41a",
    "marks in a row": b"=",
    "soft breaks": b"=\n",
    "padded soft breaks": b"= \r\n",
    "bare carriage returns": b"=\r=41",
    "short lines": b"(        \n",
    "lines of uuencode": binascii.b2a_uu(b"p!ssword"),
}
_OF_TEXT = 64 * 2**10
_STEPS: dict[Callable[[bytes], Iterator[bytes]], int] = {
    base85: 1_000,
    quoted_printable: 100,
    decode_uuencoded: _OF_TEXT,
}


def count_calls(work: Callable[[], object]) -> int:
    """Count the functions that `work` enters, in Python and in C: each one costs the same on every machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("decode", _STEPS)
@pytest.mark.parametrize("text", WORST)
def test_a_text_takes_few_steps_however_it_is_written(decode: Callable[[bytes], Iterator[bytes]], text: str):
    """A step of Python for each group took 20 seconds for 7 MB."""
    unit = WORST[text]
    short, long = ((unit * size)[:size] for size in (_OF_TEXT, 4 * _OF_TEXT))
    few, many = (count_calls(lambda text=text: list(decode(text))) for text in (short, long))
    assert few <= _STEPS[decode]
    assert many <= 4.1 * few + 100


def test_base85_in_lines_and_in_part_is_read_to_its_last_byte():
    for encode in (base64.b85encode, base64.a85encode):
        for length in range(12, 40):
            value = (b"Zm-q9!" * 7)[:length]
            for before in range(5):
                written = b"-" * before + b"\n" + encode(value) + b"\n" + encode(value)
                (found,) = base85(written)
                assert found.split(b"\n").count(value) == 2


@pytest.mark.parametrize("text", [b"==41=42", b"=\r=41=42\r\n", b"= \n=41=42", b"=41=42==", b"=4=41=42"])
def test_no_mark_hides_the_quoted_letters_after_it(text: bytes):
    (found,) = quoted_printable(text)
    assert b"AB" in found


@pytest.mark.parametrize("decode", [base85, decode_uuencoded, quoted_printable])
@pytest.mark.parametrize(
    "text", [b"A!aaa" * 40_000, b"=41" * 70_000, b"+!!!!" * 40_000, b"(        \n" * 20_000, b"=" * 200_000]
)
def test_hostile_text_takes_bounded_time(decode: Callable[[bytes], list[bytes]], text: bytes):
    with effort.at_most(5):
        list(decode(text))
