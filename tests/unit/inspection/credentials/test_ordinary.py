"""Which values other text may hold too, so that they prove nothing there, and which are generated."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.credentials.passwords import GENERATORS
from gateway.inspection.credentials.ordinary import is_ordinary

WORDS = [
    "postgres", "password", "PASSWORD", "Oxford", "hunter2", "Summer2024", "admin123", "correct horse 9", "growth",
    "Geschwindigkeit", "Überweisung", "bibliothèque", "contraseña", "szczęście", "määrittely", "пароль", "密码",
    "Jean-Pierre", "O'Brien", "maria.johnson", "",
]  # fmt: skip
NUMBERS = [
    "2026-07-28", "20260728", "2026-11-28T10:15:30", "482109", "48213377", "10:45", "+49 30 1234567", "+4915112345678", "3.14159", "25kg",
    "1,250.00", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19",
]  # fmt: skip
NAMES = [
    "claude-code", "clientCapabilities", "python-httpx/0.28.1", "s3_list_objects", "x86_64-v2", "customer_4711_eu1", "INV-2026-0042",
    "getUserById", "parseJSONResponse", "search_issues_and_pull_requests", "text/event-stream", "application/json", "2025-06-18",
    "io.modelcontextprotocol/clientInfo", "Mozilla/5.0", "en-US", "ada@corp.example", "rent@eiffeltowercarrental.com", "IMG_20261128_101530.jpg",
    "quarterly-report-final.docx", "src/components/login/page.tsx", "k8s-prod-eu1", "iPhone", "base64url", "sha256sum", "feature/add-login-page",
    "db01.prod.corp.example:5432",
]  # fmt: skip
GENERATED = [
    "Tr0ub4dor&3", "9f86d081884c7d65", "a1B2-c3D4-e5", "482109351234", "0f8e4c1a-58f4-4a0b-9b6e-6c9d3f0f3f11", "Summer2024!", "xkqzvbtw",
    "XkQpLmRtZv", "kQ7mPx2V", "correct horse battery staple", "correct-horse-battery-staple", "CorrectHorseBatteryStaple",
    "correcthorsebatterystaple", "hoqpyr-xokcyS-3jydvo", "JBSWY3DPEHPK3PXP", "QWZRTKPLMN", "ab12cd34e", "4111-1111-1111-1111",
    "P4ssw0rd", "k3y=Zq;9+w", "a" * 65, "DE88370400440532013000",
    "ASIARZPUZDIKOMSAJV27", "AKIAOUUESPLGIOLUAB64",
]  # fmt: skip


@pytest.mark.parametrize("value", WORDS + NUMBERS + NAMES)
def test_ordinary_text_may_hold_words_numbers_and_names(value: str):
    assert is_ordinary(value)


@pytest.mark.parametrize("value", GENERATED)
def test_ordinary_text_holds_no_generated_value(value: str):
    assert not is_ordinary(value)


ORDINARY = {
    "8 decimal digits": 100,
    "a word and two digits": 100,
    "syllables, 8 (pwgen)": 25,
    "8 lower-case letters": 12,
    "12 lower-case letters": 6,
    "three words and a digit (Bitwarden)": 10,
}
"""Percent of the passwords of a generator that may count as ordinary: a number or a word is one, whoever made it."""


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_passwords_hardly_ever_count_as_ordinary(name: str):
    random = Random(20_261_128)
    values = [GENERATORS[name](random) for _ in range(400)]
    assert sum(map(is_ordinary, values)) * 100 / len(values) <= ORDINARY.get(name, 3)
