"""Values that the gateway issued or holds, in the texts of every caller."""

from __future__ import annotations

import base64
import binascii
import gc
import time
from collections.abc import Callable, Mapping
from random import Random
from string import ascii_letters, digits

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.base.json.lex import unescape
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.live_values import GRACE, LiveValues
from tests.unit.inspection.credentials.conftest import RULES

DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))
TOKEN = "Rk3vQ8-zL0pWm5xT_9cYb2Nd7uHs4Gj6"
OTHER = "a9Xf4-Kq7Zt2Vw8Lm3Rb6Yp1Nc5"
SHORT = "xK9q-7Tz4w"
MARKS = "?!9;:§$7(&%x"


class Clock:
    """Seconds that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def live(*values: str, audience: str = "crm", clock: Callable[[], float] = time.monotonic) -> LiveValues:
    held = LiveValues(DETECTOR, clock)
    for number, value in enumerate(values):
        held.hold(f"lease-{number}", [value], audience)
    return held


def random_value(seed: int) -> str:
    return "".join(Random(seed).choices(ascii_letters + digits, k=43))


def shows(held: LiveValues, text: str) -> bool:
    near = held.find_near(text.encode("utf-8", "surrogatepass"))
    return bool(near) and bool(held.find_whole(near, [text], lambda value: value.shown))


FORMS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "other case": str.swapcase,
    "spaced": " ".join,
    "dashed": "-".join,
    "reversed": lambda text: text[::-1],
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "base64 of UTF-16 from the high byte on": lambda text: base64.b64encode(f"a{text}".encode("utf-16-be")).decode(),
    "reversed, spaced": lambda text: " ".join(text[::-1]),
    "hex": lambda text: text.encode().hex(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind other bytes": lambda text: base64.b64encode(f"x{text}".encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(f"user:{text}".encode()).decode(),
    "base64 in lines": lambda text: "\n".join(
        base64.b64encode(text.encode()).decode()[at : at + 20] for at in range(0, 60, 20)
    ),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "base64 of it reversed": lambda text: base64.b64encode(text[::-1].encode()).decode(),
    "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "escapes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "quoted-printable": lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    "uuencode": lambda text: binascii.b2a_uu(text.encode()).decode(),
    "base85": lambda text: base64.b85encode(text.encode()).decode(),
    "ascii85": lambda text: base64.a85encode(text.encode()).decode(),
    "full width": lambda text: "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in text),
    "without width": "\u200b".join,
    "tags": lambda text: "".join(chr(0xE0000 + ord(char)) for char in text),
    "two pieces": lambda text: f'"{text[:16]}"}},{{"type":"text","text":"{text[16:]}"',
    "letters with words between": " then ".join,
    "pieces with words between": lambda text: " please ".join(text[at : at + 4] for at in range(0, len(text), 4)),
    "every second letter": "x".join,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_value_is_found_in_each_form_that_the_search_undoes(form: str):
    written = FORMS[form](TOKEN)
    for text in (written, f"so it is\n{written}\nas said", f"It is about this: \n{written}\n"):
        assert shows(live(OTHER, TOKEN), text), text


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_is_not_held_is_not_found(form: str):
    assert not shows(live(OTHER), FORMS[form](TOKEN))


@pytest.mark.parametrize("value", [SHORT, MARKS, "kqzvmwtrplxyhjbn", "kQ7zvmW2trPl"])
@pytest.mark.parametrize("form", ["as it is", "spaced", "reversed"])
def test_a_short_value_is_found_too(value: str, form: str):
    if sum(char.isalnum() for char in value) < 8 and form != "as it is":
        return
    for lead in ("", "a", "ab", "abc", "abcdefg"):
        assert shows(live(value), f"{lead} {FORMS[form](value)} then"), lead


@pytest.mark.parametrize(
    "value", ["admin", "postgres", "application/json", "2026-12-01", "production", "info", "aaaaaaaaaaaa"]
)
def test_a_value_that_ordinary_text_has_is_not_held(value: str):
    assert len(live(value)) == 0


def test_each_piece_of_a_value_is_found_from_eleven_letters_on_wherever_it_stands():
    held = live(TOKEN)
    letters = TOKEN.replace("-", "").replace("_", "")
    for lead in range(8):
        for at in range(len(letters) - 10):
            assert held.find_near(("z" * lead + letters[at : at + 11]).encode())


def test_a_close_look_finds_pieces_of_eight_letters_and_of_nine_backwards():
    held = live(TOKEN)
    letters = TOKEN.replace("-", "").replace("_", "")
    for lead in range(8):
        for at in range(len(letters) - 8):
            ahead, back = letters[at : at + 8], letters[at : at + 9][::-1]
            assert held.find_by_signs(("z" * lead + ahead).encode(), None, closely=True)
            assert held.find_by_signs(("z" * lead + back).encode(), None, closely=True)


def test_the_parts_of_a_value_in_several_texts_are_found_once_they_are_half_of_it():
    held, told = live(TOKEN), 0
    for at in range(0, 32, 12):
        if shows(held, f"the next is {TOKEN[at : at + 12]} here"):
            break
        told += 12
    assert told <= len(TOKEN) / 2


def test_the_parts_that_are_shown_and_those_that_are_sent_are_counted_apart():
    held = live(TOKEN)
    assert not shows(held, TOKEN[:14])
    near = held.find_near(TOKEN[14:26].encode())
    assert held.find_whole(near, [TOKEN[14:26]], lambda value: value.sent) == ()
    assert shows(held, TOKEN[14:26])


# --- the life of a value -------------------------------------------------------------------------------


def test_a_value_is_forgotten_some_minutes_after_its_end():
    clock = Clock()
    held = live(TOKEN, clock=clock)
    held.release("lease-0")
    clock.now += GRACE - 1
    held.forget()
    assert shows(held, TOKEN)
    clock.now += 1
    held.forget()
    assert not shows(held, TOKEN)
    assert (len(held), held._by_run, held._held, held._short) == (0, {}, {}, 0)


def test_a_value_lives_as_long_as_any_of_its_holders():
    clock = Clock()
    held = live(TOKEN, clock=clock)
    held.hold("header", [TOKEN], "tickets")
    held.release("lease-0")
    clock.now += GRACE
    held.forget()
    assert shows(held, TOKEN)
    (value,) = held.find_near(TOKEN.encode())
    assert (value.may_go_to("crm"), value.may_go_to("tickets")) == (False, True)


def test_a_holder_that_takes_a_value_again_keeps_it():
    clock = Clock()
    held = live(TOKEN, clock=clock)
    held.release("lease-0")
    held.hold("lease-0", [TOKEN], "crm")
    clock.now += GRACE
    held.forget()
    assert shows(held, TOKEN)


def test_a_new_value_in_the_place_of_an_earlier_one_is_the_only_one():
    held = live()
    held.replace("connection", TOKEN, "")
    held.replace("connection", OTHER, "")
    assert not shows(held, TOKEN)
    assert shows(held, OTHER)
    assert len(held) == 1


def test_values_that_share_letters_are_forgotten_one_by_one():
    clock, longer = Clock(), f"{TOKEN}/{OTHER}"
    held = live(TOKEN, longer, clock=clock)
    held.release("lease-0")
    clock.now += GRACE
    held.forget()
    assert shows(held, longer)
    held.release("lease-1")
    clock.now += GRACE
    held.forget()
    assert (len(held), held._by_run) == (0, {})


def test_memory_is_bounded_and_those_that_ended_go_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.inspection.credentials.live_values.MAX_RUNS", 100)
    held = live(TOKEN, OTHER)
    held.release("lease-1")
    for number in range(4):
        held.hold(f"more-{number}", [random_value(number)], "crm")
    assert len(held._by_run) <= 100
    assert not shows(held, OTHER)


def test_nothing_written_of_the_registry_shows_a_value():
    held = live(TOKEN)
    assert TOKEN not in repr(held) + repr(held.find_near(TOKEN.encode()))


# --- private keys --------------------------------------------------------------------------------------

KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OLD_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("pem", [PEM, OLD_PEM])
@pytest.mark.parametrize("at", range(420, 1500, 60))
def test_one_full_line_of_a_private_key_tells_it_however_it_is_wrapped(pem: str, at: int):
    body = "".join(pem.splitlines()[1:-1])
    held = live(pem)
    assert shows(held, f"the line is {body[at : at + 64]} there")
    assert shows(held, f"the line is {body[at : at + 30]}\n{body[at + 30 : at + 64]} there")


@pytest.mark.parametrize("pem", [PEM, OLD_PEM])
def test_a_public_key_is_no_part_of_the_private_key(pem: str):
    assert not shows(live(pem), PUBLIC)
    other = rsa.generate_private_key(65537, 2048)
    assert not shows(live(pem), other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


# --- cost ----------------------------------------------------------------------------------------------

ARGUMENTS = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search_issues","arguments":{"query":"open bugs in the parser","limit":20,"repo":"acme/site"}}}'
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"#412 Parser fails on empty input (opened 2026-11-02)\\n#399 Wrong line numbers in errors (opened 2026-10-21)\\n#371 Crash with deep nesting"}],"isError":false}}'


def _microseconds(held: LiveValues) -> float:
    """Return the least processor time of a look at a call and its answer, of many tries."""
    best = float("inf")
    for _ in range(100):
        began = time.thread_time_ns()
        for _ in range(10):
            held.find_near(unescape(ARGUMENTS))
            held.find_near(unescape(ANSWER))
        best = min(best, (time.thread_time_ns() - began) / 10_000)
    return best


def test_ten_thousand_values_cost_a_call_hardly_more_than_one():
    one = live(TOKEN)
    many = live(*(random_value(number) for number in range(10_000)))
    gc.collect()
    first, second = _microseconds(one), _microseconds(many)
    print(f"one value {first:.1f} µs, 10,000 values {second:.1f} µs a call with its answer")  # noqa: T201 - a figure of the docs
    assert second < 3 * first


@pytest.mark.parametrize("at", [0, 40_000, 48_900, 900_000])
def test_a_value_in_a_large_text_is_found_and_a_mention_of_its_beginning_is_none(at: int):
    held, prose = live(TOKEN), "A line of the handbook about the tokens of the house. " * 20_000
    assert shows(held, f"{prose[:at]} {TOKEN} {prose[at:]}")
    assert shows(held, f"{prose[:at]} {' '.join(TOKEN)} {prose[at:]}")
    assert not shows(live(TOKEN), f"{prose[:at]} {TOKEN[:13]} {prose[at:]}")
