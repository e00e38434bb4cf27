"""Words that may be a credential, or a piece of one."""

from __future__ import annotations

import pytest

from gateway.inspection.credentials.ordinary import has_uncommon


@pytest.mark.parametrize(
    "text",
    [
        "the latest invoice of 2026-11-28, number 4711",
        "Read Customers and their subscriptions, please",
        "python-httpx2/2.1.0 (x86_64; Linux)",
        "application/json, text/event-stream",
        "io.modelcontextprotocol/clientCapabilities",
        "requestId progressToken getUser HTTPServer v12 Q3 64k",
        "08:15:30 12,345.67",
        "",
    ],
)
def test_common_words_are_not(text: str):
    assert not has_uncommon(text)


@pytest.mark.parametrize(
    "text",
    [
        "k7Qz-93mW-2tRx-8bLn",
        "k7Qz 93mW",
        "XkTpWqLm",
        "kqzvmwtrpl",
        "use hunter2x there",
        "482109",
        "glpat-2c70e12b7a0646f92279f427",
        "пароль-долгий-секретный",
        "VXNlIHRoZSBrZXk",
    ],
)
def test_passwords_and_pieces_of_them_are(text: str):
    assert has_uncommon(text)
    assert has_uncommon(f"please use {text} for it")
