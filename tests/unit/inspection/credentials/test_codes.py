from __future__ import annotations

import json

import pytest

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.stream import Scanner
from gateway.inspection.credentials.surroundings import bare
from tests import effort
from tests.unit.inspection.credentials.conftest import RULES

DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))


def found(text: str) -> list[tuple[str, str]]:
    return [(hit.detector, hit.value) for hit in DETECTOR.hits(text.encode())]


@pytest.mark.parametrize(
    "text",
    [
        "Your code:\n\n  482913\n", "Your code is 482913", "Use 482 913 to sign in", "Use 482913 as your login code",
        "482913 is your Acme verification code", "Enter this code: 482913", "Your Acme sign-in code is:\r\n\r\n482913\r\n",
        "Your one-time\npasscode is 482 913", "G-482913 is your Google verification code", "<p>Your verification code is <b>482913</b></p>",
        "**Verification code:** `482913`", "otp: 482913", "OTP 482913 for your transaction", "smsOtp482913", "smsOtp482 913", "otp482913", "Dein Bestätigungscode lautet 482913",
        "Login code\n=> 482-913", "Your verification =\ncode is\n482913", "> Your verification\n> code is\n> 482913",
        "The code 482913 expires in 10 minutes", "Your Acme code is 482913", "Tu código de verificación es 482913", "验证码：482913",
        "Your code for the Acme portal is 48-29-13", "48-29-13 is your sign-in code", "Please open https://bank.example/verify?code=482913",
        "Your one-time password is 482913.", "one time password: 482913", "The one-time passcode for the portal is 482913", "OTP 482913, 2026-12-01",
        "Subject: Your OTP - 2026-12-01\nYour code is 482913", "OTP 2026\nOTP 482913", "https://bank.example/login?t=482913", "https://bank.example/auth?next=%2F&otp=482913#x", "Sign in with https://x.example/go?code=482913.",
    ],
)  # fmt: skip
def test_a_message_gives_a_code(text: str):
    assert found(text) == [("one-time-code", "482913")]


@pytest.mark.parametrize(
    "text",
    [
        "Order 482913 shipped", "error code 500123", "zip code 94103", "Your booking code is 482913", "promo code 482913",
        "status code: 404404", "https://shop.example/item?code=482913", "https://youtu.be/x?t=1200", "Invoice number 482913, code of conduct",
        "country code 0049", "HTTP 500 code 482913 at line 12", "source code 2024", "code=200", "Use 4 eggs to sign", "exit code: 137137",
        "Use 2024 to log things", "Your discount code: SAVE2020", "code is used 12345", "the code 2024-01", "const code = 482913;",
        "https://shop.example/verify?c=red12", "ICD-10 code E11.9", "area code 415-555", "Your code reviews: 12", "your code 1.2.3.4.5",
        "OTP 2026", "OTP 2026-12-01 12:40", "OTP (2026)", "Your OTP | 2025 | unread", "passcode 2026/12/01", "OTP: 2026-12-01", "OTP - 1999 archive",
        "acme/response v1.2.3 h1:3fCiKEUFf0dwwxraVbiotp373mu+vspGE8A7DnAF+Yo=",
    ],
)  # fmt: skip
def test_other_codes_open_nothing(text: str):
    assert found(text) == []


@pytest.mark.parametrize("text", ["Your OTP is 2026", "otp: 2026", '{"otp":"2026"}', "Your one-time password is 2026"])
def test_a_year_that_the_text_calls_the_code_is_one(text: str):
    assert found(text) == [("one-time-code", "2026")]


@pytest.mark.parametrize(
    "text", ["The one-time password is tulip-river-99", "The password is Tulip482913", "login password: 4829137"]
)
def test_a_password_of_words_and_one_without_a_time_stay_passwords(text: str):
    assert [detector for detector, _ in found(text)] == ["named-password"]


def test_a_code_of_letters_and_digits_is_one():
    assert found("Your security code: A1B2C3") == [("one-time-code", "A1B2C3")]


@pytest.mark.parametrize(("value", "meant"), [("482 913", "482913"), ("G-482913", "482913"), ("48-29-13", "482913")])
def test_the_marks_in_a_code_are_no_part_of_it(value: str, meant: str):
    assert bare(value) == meant


@pytest.mark.parametrize("value", ["482913", "2345-6789-1234-5678", "a1-b2", "hunter 2x", "", "2026-11-28x"])
def test_other_values_stay_as_they_are(value: str):
    assert bare(value) == value


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_code_in_a_streamed_result_is_found(size: int):
    text = json.dumps(
        {"content": [{"type": "text", "text": "Hello,\n\nyour verification code is:\n\n482913\n\nBye"}]}
    ).encode()
    scanner = Scanner(DETECTOR)

    seen = [item for at in range(0, len(text), size) for item in scanner.feed(text[at : at + size])]

    assert [item.detector for item in (*seen, *scanner.finish())] == ["one-time-code"]


@pytest.mark.parametrize(
    "text",
    ["code " * 20_000, "code<" * 20_000, "your code for to " * 8_000, "use 12345 to " * 8_000, "?code=" * 16_000],
)
def test_hostile_texts_take_no_time(text: str):
    with effort.at_most(2):
        found(text)
